//! What the packet path knows of each interface. Any thread reads; the main thread writes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use plugin_api::{Error, InterfaceIndex, ThreadSet, wire::FlowSense};

/// Interfaces there is room for.
const CAPACITY: u32 = 4096;

/// [`Slot::state`].
mod state {
    /// It is off.
    pub(super) const OFF: u8 = 0;
    /// It is on.
    pub(super) const ON: u8 = 1;
    /// Besides: the threads are the workers that there are, whichever.
    pub(super) const ALL: u8 = 2;
    /// Besides: the hash is symmetrical.
    pub(super) const SYMMETRICAL: u8 = 4;
}

/// How the packets of an interface are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Over these threads, as far as they are there; `None` is all workers.
    pub threads: Option<ThreadSet>,
    /// Whether both directions of a flow go to one thread.
    pub sense: FlowSense,
}

#[derive(Debug)]
struct Slot {
    threads: AtomicU64,
    state: AtomicU8,
}

/// The choices for all interfaces.
#[derive(Debug)]
pub(crate) struct Choices(Box<[Slot]>);

impl Choices {
    /// None is on.
    pub(crate) fn new() -> Self {
        let slot = |_| Slot { threads: AtomicU64::new(0), state: AtomicU8::new(state::OFF) };
        Self((0..CAPACITY).map(slot).collect())
    }

    /// The choice for an interface, if it is on.
    #[inline(always)]
    pub(crate) fn of(&self, index: InterfaceIndex) -> Option<Choice> {
        let slot = self.0.get(index.0 as usize)?;
        let now = slot.state.load(Relaxed);
        let is = |flag| now & flag != 0;
        let threads = || ThreadSet::from_bits(slot.threads.load(Relaxed));
        is(state::ON).then(|| Choice {
            threads: (!is(state::ALL)).then(threads),
            sense: if is(state::SYMMETRICAL) {
                FlowSense::Symmetrical
            } else {
                FlowSense::Directed
            },
        })
    }

    /// Sets the choice for an interface. A packet that is looked at meanwhile may find the threads
    /// of one and the rest of the other.
    pub(crate) fn set(&self, index: InterfaceIndex, choice: Option<Choice>) -> Result<(), Error> {
        let slot = self.0.get(index.0 as usize).ok_or_else(|| {
            Error::new(format!("interface {index} is beyond the table, which has {CAPACITY}"))
        })?;
        let mut now = state::OFF;
        if let Some(Choice { threads, sense }) = choice {
            now = state::ON;
            match threads {
                Some(threads) => slot.threads.store(threads.bits(), Relaxed),
                None => now |= state::ALL,
            }
            if sense == FlowSense::Symmetrical {
                now |= state::SYMMETRICAL;
            }
        }
        slot.state.store(now, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_what_it_was_set_to() {
        let choices = Choices::new();
        let index = InterfaceIndex(7);
        assert_eq!(choices.of(index), None);
        for threads in [None, Some(ThreadSet::from_bits(0b101)), Some(ThreadSet::default())] {
            for sense in [FlowSense::Directed, FlowSense::Symmetrical] {
                let choice = Some(Choice { threads, sense });
                choices.set(index, choice).unwrap();
                assert_eq!(choices.of(index), choice);
            }
        }
        choices.set(index, None).unwrap();
        assert_eq!(choices.of(index), None);
    }

    #[test]
    fn an_interface_beyond_the_table_is_refused_and_off() {
        let choices = Choices::new();
        let beyond = InterfaceIndex(CAPACITY);
        assert!(choices.set(beyond, None).unwrap_err().to_string().contains("beyond the table"));
        assert_eq!(choices.of(beyond), None);
    }
}
