//! Events that happen later, on the wheel of the processes.

use plugin_api::wheel::TimerHandle;

use super::{LATER, Scheduler, TICK, index};
use crate::{
    graph::Owner,
    process::{Deliver, ProcessShared},
    sync::Arc,
    time::Nanos,
};

/// An event that happens later.
#[derive(Debug)]
pub struct Later {
    /// To whom.
    pub process: Arc<ProcessShared>,
    /// Whose it is.
    pub owner: Owner,
    /// A bit per event.
    pub events: u64,
    /// Called before the process is woken.
    pub deliver: Deliver,
}

pub(super) struct LaterPlace {
    pub(super) later: Later,
    number: u32,
    timer: TimerHandle,
}

impl Scheduler {
    /// Adds an event that happens later; gives it a number that is not 0.
    pub(in crate::process) fn later(&mut self, later: Later, delay: Nanos, now: Nanos) -> u64 {
        let at = self.later_free.pop().unwrap_or_else(|| {
            self.later.push(None);
            index(self.later.len() - 1)
        });
        self.later_number = self.later_number.wrapping_add(1).max(1);
        let tick = now.0.saturating_add(delay.0).div_ceil(TICK);
        let interval = tick.saturating_sub(self.wheel.now());
        let timer = self.wheel.start(at | LATER, 0, interval);
        let timer = timer.expect("with overflow every interval fits, and places are few");
        let number = self.later_number;
        self.later[at as usize] = Some(LaterPlace { later, number, timer });
        u64::from(number) << 32 | u64::from(at)
    }

    /// Takes an event back that was to happen later.
    pub(in crate::process) fn take_back(&mut self, id: u64) -> Option<Later> {
        let at = u32::try_from(id & 0xffff_ffff).expect("32 bits");
        let place = self.later.get(at as usize)?.as_ref()?;
        if u64::from(place.number) != id >> 32 {
            return None;
        }
        self.wheel.stop(place.timer);
        self.take_later(at)
    }

    /// Takes all events of `owner` back.
    pub(in crate::process) fn take_back_all(&mut self, owner: Owner) -> Vec<Later> {
        let own = |place: &Option<LaterPlace>| {
            place.as_ref().is_some_and(|place| place.later.owner == owner)
        };
        let places: Vec<_> = (0..self.later.len()).filter(|&at| own(&self.later[at])).collect();
        let taken = places.into_iter().filter_map(|at| {
            self.wheel.stop(self.later[at].as_ref()?.timer);
            self.take_later(index(at))
        });
        taken.collect()
    }

    /// Events that are to happen later.
    pub(in crate::process) fn later_of(&self, owner: Owner) -> usize {
        self.later.iter().flatten().filter(|place| place.later.owner == owner).count()
    }

    pub(in crate::process) fn take_later(&mut self, at: u32) -> Option<Later> {
        let place = self.later[at as usize].take()?;
        self.later_free.push(at);
        Some(place.later)
    }
}
