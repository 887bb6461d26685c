//! Links that devices find up or down while they receive: told on the main thread.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use crate::engine::ThreadShared;

/// What forwarding threads have to tell main about links.
#[derive(Debug, Default)]
pub struct LinkNews {
    /// There are some: one load for main each turn.
    some: AtomicBool,
    /// Interface and whether its link is up, in the order they were found.
    news: Mutex<Vec<(u32, bool)>>,
    main: OnceLock<Arc<ThreadShared>>,
}

impl LinkNews {
    /// Says whom to wake.
    pub fn set_main(&self, main: Arc<ThreadShared>) {
        let _ = self.main.set(main); // The first is the one.
    }

    /// Tells main. Any thread; takes a lock, as links seldom change.
    pub fn tell(&self, interface: u32, up: bool) {
        self.news.lock().push((interface, up));
        self.some.store(true, Ordering::SeqCst);
        if let Some(main) = self.main.get() {
            main.ring();
        }
    }

    /// What there is to tell.
    pub fn take(&self) -> Vec<(u32, bool)> {
        if !self.some.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut *self.news.lock())
    }

    /// Whether there is anything to tell.
    #[inline(always)]
    pub fn is_some(&self) -> bool {
        self.some.load(Ordering::SeqCst)
    }
}
