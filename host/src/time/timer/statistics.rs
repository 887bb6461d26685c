//! Who starts timers, and how often they expire, over a sample period.

use core::panic::Location;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use plugin_api::ThreadIndex;

use super::{Timer, TimerFunction};
use crate::time::units::Ticks;

/// Most rows, and most places in the code, that are told apart.
const ROWS_MAX: usize = 1024;

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site<'a> {
    /// The file, as the compiler was given it.
    pub file: &'a str,
    /// The line in it.
    pub line: u32,
}

/// A row of `show timers statistics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsRow {
    /// Times such a timer expired.
    pub expired: u64,
    /// Times such a timer was started or moved.
    pub started: u64,
    /// The plugin it belongs to.
    pub owner: String,
    /// The place that started it, `file:line`.
    pub site: String,
    /// What it runs.
    pub function: String,
    /// The thread that runs it.
    pub thread: ThreadIndex,
    /// Whether it is deferrable.
    pub deferrable: bool,
}

/// What `show timers statistics` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsReport {
    /// Whether the sample goes on.
    pub active: bool,
    /// Length of the sample so far, in ticks.
    pub period: u64,
    /// Most expiries first.
    pub rows: Vec<StatisticsRow>,
    /// Events that found no row free.
    pub overflowed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Statistics {
    active: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Names of places, by number less one; kept from sample to sample, as timers keep numbers.
    sites: Vec<String>,
    site_numbers: HashMap<String, u32>,
    rows: HashMap<RowKey, Counts>,
    overflowed: u64,
    from: Ticks,
    until: Option<Ticks>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RowKey {
    owner: String,
    site: u32,
    function: String,
    thread: ThreadIndex,
    deferrable: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    started: u64,
    expired: u64,
}

/// What is counted of a timer.
pub(super) struct Event<'a, F> {
    pub(super) function: &'a F,
    pub(super) site: u32,
    pub(super) thread: ThreadIndex,
    pub(super) deferrable: bool,
}

impl Site<'static> {
    /// Where the caller of a function that tracks its caller stands.
    #[track_caller]
    pub fn caller() -> Self {
        let location = Location::caller();
        Self { file: location.file(), line: location.line() }
    }
}

impl<'a, F> Event<'a, F> {
    pub(super) fn of(timer: &'a Timer<F>, thread: ThreadIndex) -> Self {
        let site = timer.site.load(Ordering::Relaxed);
        Self { function: &timer.function, site, thread, deferrable: timer.deferrable }
    }
}

impl Statistics {
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Begins a sample, `period` ticks long or until it is stopped.
    pub(super) fn start(&self, now: Ticks, period: Option<u64>) {
        let mut table = self.table.lock();
        table.rows.clear();
        table.overflowed = 0;
        table.from = now;
        table.until = period.map(|ticks| now.after(ticks));
        self.active.store(true, Ordering::Relaxed);
    }

    pub(super) fn stop(&self, now: Ticks) {
        let mut table = self.table.lock();
        if self.active.swap(false, Ordering::Relaxed) {
            table.until = Some(table.until.filter(|until| !until.is_after(now)).unwrap_or(now));
        }
    }

    /// The number of a place; 0 for no place.
    pub(super) fn number(&self, site: Site<'_>) -> u32 {
        let name = format!("{}:{}", site.file, site.line);
        let mut table = self.table.lock();
        if let Some(&number) = table.site_numbers.get(&name) {
            return number;
        }
        if table.sites.len() >= ROWS_MAX {
            return 0;
        }
        table.sites.push(name.clone());
        let number = u32::try_from(table.sites.len()).unwrap_or(0);
        table.site_numbers.insert(name, number);
        number
    }

    pub(super) fn count_start<F: TimerFunction>(&self, event: &Event<'_, F>) {
        self.count(event, |counts| counts.started += 1);
    }

    /// Counts an expiry, and ends a sample whose period is over.
    pub(super) fn count_expiry<F: TimerFunction>(&self, event: &Event<'_, F>, now: Ticks) {
        let until = self.table.lock().until;
        if until.is_some_and(|until| now.is_after(until)) {
            self.stop(now);
        } else if event.site != 0 {
            self.count(event, |counts| counts.expired += 1);
        }
    }

    fn count<F: TimerFunction>(&self, event: &Event<'_, F>, add: impl Fn(&mut Counts)) {
        let key = RowKey {
            owner: event.function.owner(),
            site: event.site,
            function: event.function.name(),
            thread: event.thread,
            deferrable: event.deferrable,
        };
        let mut table = self.table.lock();
        let full = table.rows.len() >= ROWS_MAX;
        match table.rows.get_mut(&key) {
            Some(counts) => add(counts),
            None if full => table.overflowed += 1,
            None => add(table.rows.entry(key).or_default()),
        }
    }

    pub(super) fn report(&self, now: Ticks) -> StatisticsReport {
        let table = self.table.lock();
        let end = table.until.filter(|until| !until.is_after(now) || !self.is_active());
        let mut rows: Vec<_> =
            table.rows.iter().map(|(key, counts)| table.row(key, *counts)).collect();
        rows.sort_by(|one, other| {
            let order = |row: &StatisticsRow| (u64::MAX - row.expired, u64::MAX - row.started);
            order(one).cmp(&order(other)).then_with(|| one.site.cmp(&other.site))
        });
        StatisticsReport {
            active: self.is_active() && end.is_none(),
            period: end.unwrap_or(now).since(table.from),
            rows,
            overflowed: table.overflowed,
        }
    }
}

impl Table {
    fn row(&self, key: &RowKey, counts: Counts) -> StatisticsRow {
        let site = key.site.checked_sub(1).and_then(|number| self.sites.get(number as usize));
        StatisticsRow {
            expired: counts.expired,
            started: counts.started,
            owner: key.owner.clone(),
            site: site.cloned().unwrap_or_default(),
            function: key.function.clone(),
            thread: key.thread,
            deferrable: key.deferrable,
        }
    }
}
