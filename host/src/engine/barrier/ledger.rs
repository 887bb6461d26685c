//! What stopping the workers cost, by who stopped them.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::Pause;
use crate::engine::latency::Latency;

/// Callers that have a row of their own; all further ones share one.
const ROWS: usize = 256;

/// Costs of one caller.
#[derive(Debug, Default)]
pub struct Costs {
    /// From the request to the last worker parked.
    pub wait: Latency,
    /// From the last worker parked to the release.
    pub hold: Latency,
    /// The longest time of a worker from its own park to its own release.
    pub stall: Latency,
    /// Stops that were put off, for the workers had been stopped just before.
    pub held_down: u64,
    /// Stops that failed because a worker did not come.
    pub late: u64,
}

/// A row of `show barrier`.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the workers were stopped for.
    pub what: &'static str,
    /// Whose doing it was: a plugin, or the host.
    pub plugin: String,
    /// What it cost.
    pub costs: Arc<Mutex<Costs>>,
}

/// What for, and whose doing.
type Key = (&'static str, String);

/// The costs of all callers. Written by main.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<Key, Arc<Mutex<Costs>>>>);

impl Ledger {
    /// Notes a stop that was made.
    pub fn add(&self, what: &'static str, plugin: &str, pause: &Pause, held_down: bool) {
        self.with(what, plugin, |costs| {
            costs.wait.add(pause.wait);
            costs.hold.add(pause.hold);
            costs.stall.add(pause.stall);
            costs.held_down += u64::from(held_down);
        });
    }

    /// Notes a stop that failed.
    pub fn add_late(&self, what: &'static str, plugin: &str) {
        self.with(what, plugin, |costs| costs.late += 1);
    }

    fn with(&self, what: &'static str, plugin: &str, note: impl FnOnce(&mut Costs)) {
        let mut rows = self.0.lock();
        let mut key = (what, plugin.to_owned());
        if rows.len() >= ROWS && !rows.contains_key(&key) {
            key = ("others", String::new());
        }
        note(&mut rows.entry(key).or_default().lock());
    }

    /// All rows, by what and plugin.
    pub fn rows(&self) -> Vec<Row> {
        let rows = self.0.lock();
        let row = |((what, plugin), costs): (&Key, &Arc<Mutex<Costs>>)| Row {
            what,
            plugin: plugin.clone(),
            costs: Arc::clone(costs),
        };
        rows.iter().map(row).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Nanos;

    #[test]
    fn each_caller_has_a_row_and_there_is_an_end_to_them() {
        let ledger = Ledger::default();
        let pause = Pause { wait: Nanos(1), hold: Nanos(2), stall: Nanos(3) };
        ledger.add("feature", "acme", &pause, true);
        ledger.add("feature", "acme", &pause, false);
        ledger.add_late("load", "acme");
        let rows = ledger.rows();
        assert_eq!(rows.iter().map(|row| row.what).collect::<Vec<_>>(), ["feature", "load"]);
        let costs = rows[0].costs.lock();
        assert_eq!((costs.hold.count(), costs.hold.max(), costs.held_down), (2, Nanos(2), 1));
        let load = rows[1].costs.lock();
        assert_eq!((load.late, load.wait.count()), (1, 0));
        drop((costs, load));

        for number in 0..ROWS {
            ledger.add("load", &number.to_string(), &pause, false);
        }
        let rows = ledger.rows();
        let others = rows.iter().find(|row| row.what == "others").unwrap();
        assert_eq!((rows.len(), others.costs.lock().hold.count()), (ROWS + 1, 2));
        ledger.clear();
        assert!(ledger.rows().is_empty());
    }
}
