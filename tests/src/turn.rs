//! One laboratory at a time on this machine: workers spin, and two hosts on two cores disturb each
//! other's timing.

use std::{
    cell::RefCell,
    fs::File,
    rc::{Rc, Weak},
};

use crate::build::Build;

thread_local! {
    /// The turn of this thread's test; a second host of the same test shares it.
    static TURN: RefCell<Weak<Turn>> = const { RefCell::new(Weak::new()) };
}

/// The right to use the machine; over when the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Unlocked when it is closed.
    _lock: File,
}

impl Turn {
    /// Waits for this test's turn.
    pub(crate) fn wait() -> Rc<Self> {
        TURN.with(|turn| {
            if let Some(turn) = turn.borrow().upgrade() {
                return turn;
            }
            let path = Build::here().directory().join(".gristmill-lab.lock");
            let lock = File::create(&path).expect("the build directory can be written");
            lock.lock().expect("files can be locked");
            let mine = Rc::new(Self { _lock: lock });
            *turn.borrow_mut() = Rc::downgrade(&mine);
            mine
        })
    }
}
