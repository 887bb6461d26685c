//! The plugin: its threads and its settings.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use plugin_api::{Config, Error, Host, Notice, Plugin, ThreadIndex, TimerKind};

use crate::{
    config::{Settings, Timeouts},
    key::Seed,
    shown::Shown,
    table::Table,
    thread::ThreadFlows,
};

/// The plugin.
#[derive(Debug)]
pub struct Flows {
    host: Host,
    flows_max: u32,
    /// [`Timeouts::to_bits`].
    timeouts: AtomicU64,
    seed: Seed,
    /// By the thread's number.
    threads: Mutex<BTreeMap<u32, Arc<ThreadFlows>>>,
}

impl Plugin for Flows {
    const NAME: &'static str = "flows";

    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error> {
        let settings = Settings::read(config)?;
        Ok(Self {
            host,
            flows_max: settings.flows_max,
            timeouts: AtomicU64::new(settings.timeouts.to_bits()),
            seed: Seed::random(),
            threads: Mutex::default(),
        })
    }

    fn start(self: &Arc<Self>) -> Result<(), Error> {
        self.add_timers()
    }

    fn stop(self: &Arc<Self>) {
        for thread in self.threads() {
            if let Some(timer) = thread.timer.get() {
                let _ = timer.delete_and_wait(); // It fails only in the timer's own function.
            }
        }
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        match notice {
            Notice::ThreadAdded(_) => {
                if let Err(error) = self.add_timers() {
                    self.host.log(plugin_api::LogLevel::Error, &error.to_string());
                }
            }
            Notice::ThreadRemoved(ThreadIndex(thread)) => {
                let removed = self.threads.lock().remove(&thread);
                drop(removed); // Not under the lock: its timer is waited for.
            }
            _ => {}
        }
    }
}

impl Flows {
    /// What a thread's nodes share; made for the first of them.
    pub(crate) fn thread(&self, ThreadIndex(thread): ThreadIndex) -> Arc<ThreadFlows> {
        let mut threads = self.threads.lock();
        let made =
            threads.entry(thread).or_insert_with(|| Arc::new(ThreadFlows::new(self.table())));
        Arc::clone(made)
    }

    fn table(&self) -> Table {
        Table::new(self.flows_max, self.seed)
    }

    fn threads(&self) -> Vec<Arc<ThreadFlows>> {
        self.threads.lock().values().cloned().collect()
    }

    /// A timer for each thread that has none: it does nothing but end the thread's sleep, after
    /// which `flows-expire` runs.
    fn add_timers(&self) -> Result<(), Error> {
        let kind = TimerKind { pinned: true, deferrable: false };
        for thread in self.threads().iter().filter(|thread| thread.timer.get().is_none()) {
            let timer = self.host.timer("flows-expire", kind, |_| {})?;
            thread.timer.get_or_init(|| timer);
        }
        Ok(())
    }

    pub(crate) fn host(&self) -> Host {
        self.host
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Settings {
        Settings { flows_max: self.flows_max, timeouts: self.timeouts() }
    }

    /// When flows end, from each one's next packet on.
    #[inline(always)]
    pub fn timeouts(&self) -> Timeouts {
        Timeouts::from_bits(self.timeouts.load(Relaxed))
    }

    /// Sets when flows end.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        self.timeouts.store(timeouts.to_bits(), Relaxed);
    }

    /// Forgets all flows and counts.
    pub fn clear(&self) {
        for thread in self.threads() {
            thread.replace(self.table());
        }
    }

    /// What each thread shows, and the packets it did not count while that was exchanged.
    pub fn shown(&self) -> Vec<(ThreadIndex, Arc<Shown>, u64)> {
        let threads = self.threads.lock();
        let shown = |(&index, thread): (&u32, &Arc<ThreadFlows>)| {
            (ThreadIndex(index), thread.shown(), thread.missed())
        };
        threads.iter().map(shown).collect()
    }
}
