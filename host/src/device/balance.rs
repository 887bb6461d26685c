//! Which thread serves which receive queue, where nobody has said.
//!
//! Queues are spread over the workers, over main where there are none. One that the operator has
//! placed stays while its thread is there; of the others as few are moved as will do.

use std::collections::BTreeMap;

use super::InterfaceError;
use crate::host::Host;

/// A receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Index of its interface.
    pub interface: u32,
    /// Its number there.
    pub queue: u32,
    /// The thread that serves it.
    pub thread: u32,
    /// The operator has placed it there.
    pub by_hand: bool,
}

/// The queues that are to be served by other threads, where `workers` are there; in order.
pub fn balance(queues: &[Placed], workers: &[u32]) -> Vec<Placed> {
    let threads = if workers.is_empty() { &[0][..] } else { workers };
    let stays =
        |queue: &Placed| queue.by_hand && (queue.thread == 0 || threads.contains(&queue.thread));
    let mut load: BTreeMap<u32, usize> = threads.iter().map(|&thread| (thread, 0)).collect();
    for queue in queues.iter().filter(|queue| stays(queue)) {
        load.entry(queue.thread).and_modify(|load| *load += 1);
    }
    let free = queues.iter().filter(|queue| !stays(queue)).count();
    let share = (load.values().sum::<usize>() + free).div_ceil(threads.len());
    let mut homeless = Vec::new();
    for queue in queues.iter().filter(|queue| !stays(queue)) {
        match load.get_mut(&queue.thread).filter(|load| **load < share) {
            Some(load) => *load += 1,
            None => homeless.push(*queue),
        }
    }
    for queue in &mut homeless {
        let least = load.iter_mut().min_by_key(|(_, load)| **load);
        let (&thread, load) = least.expect("there is main at least");
        *load += 1;
        (queue.thread, queue.by_hand) = (thread, false);
    }
    homeless
}

impl Host {
    /// Spreads the receive queues over `workers`, in one stop of the workers if any is to move, and
    /// whether one was. Those of an interface into whose device a thread is stuck stay with it.
    ///
    /// # Errors
    /// [`InterfaceError`]; they stay where they are.
    pub fn balance_queues(&self, workers: &[u32]) -> Result<bool, InterfaceError> {
        let stuck = self.stuck_interfaces.lock().clone();
        let mut queues = Vec::new();
        for interface in self.interfaces.read().iter() {
            if stuck.contains(&interface.index) {
                let name = &interface.name;
                let text = format!("{name}: its queues stay with the thread that is stuck in it");
                self.log.error("threads", text);
                continue;
            }
            queues.extend(interface.placed());
        }
        let moved = balance(&queues, workers);
        if !moved.is_empty() {
            self.place(&moved)?;
        }
        Ok(!moved.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(threads: &[u32]) -> Vec<Placed> {
        let queue = |(interface, &thread)| Placed { interface, queue: 0, thread, by_hand: false };
        (0..).zip(threads).map(queue).collect()
    }

    fn after(queues: &[Placed], workers: &[u32]) -> Vec<u32> {
        let moved = balance(queues, workers);
        let thread = |queue: &Placed| {
            let moved = moved.iter().find(|other| other.interface == queue.interface);
            moved.unwrap_or(queue).thread
        };
        queues.iter().map(thread).collect()
    }

    #[test]
    fn main_serves_where_there_are_no_workers() {
        assert_eq!(after(&queues(&[1, 2, 1]), &[]), [0, 0, 0]);
        assert_eq!(after(&queues(&[0, 0, 0]), &[1, 2]), [1, 2, 1]);
    }

    #[test]
    fn as_few_queues_are_moved_as_will_do() {
        assert_eq!(after(&queues(&[1, 1, 1, 1]), &[1, 2]), [1, 1, 2, 2]);
        assert_eq!(after(&queues(&[1, 2, 1, 2]), &[1, 2]), [1, 2, 1, 2]);
        assert_eq!(after(&queues(&[1, 2, 3, 3]), &[1, 2]), [1, 2, 1, 2]);
        assert_eq!(after(&queues(&[1, 2]), &[2, 3]), [3, 2]);
    }

    #[test]
    fn a_queue_placed_by_hand_stays_while_its_thread_is_there() {
        let mut all = queues(&[1, 1, 0]);
        all.iter_mut().for_each(|queue| queue.by_hand = true);
        assert_eq!(after(&all, &[1, 2]), [1, 1, 0]);
        assert_eq!(after(&all, &[2]), [2, 2, 0]);
        let moved = balance(&all, &[2]);
        assert!(moved.iter().all(|queue| !queue.by_hand), "it is nobody's choice any more");
    }
}
