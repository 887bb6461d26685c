//! What one `trace add` asked for, and what came of it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::hop::Log;
use crate::{buffer::Pool, graph::NodeIndex};

/// Hops of a packet at most.
pub const HOPS: u32 = 64;

/// Packets to be traced from a node on, and their hops.
#[derive(Debug)]
pub struct Capture {
    /// The node.
    pub node: NodeIndex,
    /// Tells it from others that had its index.
    pub serial: u64,
    /// Mark of the first packet; the others follow.
    first: u32,
    /// Packets that were chosen, or are not to be any more.
    chosen: AtomicU32,
    /// Hops of each packet, whether there was room for them or not.
    hops: Box<[AtomicU32]>,
    /// By thread; there once the thread is.
    logs: Box<[OnceLock<Log>]>,
}

impl Capture {
    /// For `packets` packets, with memory for those threads.
    pub fn new(
        (node, serial): (NodeIndex, u64),
        first: u32,
        packets: u32,
        threads: impl Iterator<Item = u32>,
    ) -> Self {
        let hops = (0..packets).map(|_| AtomicU32::new(0)).collect();
        let logs = (0..Pool::THREADS).map(|_| OnceLock::new()).collect();
        let new = Self { node, serial, first, chosen: AtomicU32::new(0), hops, logs };
        threads.for_each(|thread| new.admit(thread));
        new
    }

    /// Makes the memory of a thread, if there is none. Main, before the thread runs.
    pub fn admit(&self, thread: u32) {
        if let Some(log) = self.logs.get(thread as usize) {
            log.get_or_init(|| Log::new(self.hops.len() * HOPS as usize));
        }
    }

    /// Packets that can be chosen in all.
    pub fn packets(&self) -> u32 {
        u32::try_from(self.hops.len()).unwrap_or(u32::MAX)
    }

    /// Chooses a packet: its mark, unless there are enough. Any thread.
    pub fn choose(&self) -> Option<u32> {
        let more = |chosen| (chosen < self.packets()).then(|| chosen + 1);
        let chosen = self.chosen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        chosen.ok().map(|at| self.first + at)
    }

    /// Chooses no packet any more; how many there might have been.
    pub fn disarm(&self) -> u32 {
        self.packets() - self.chosen.swap(self.packets(), Ordering::Relaxed)
    }

    /// Whether packets are still chosen.
    pub fn is_armed(&self) -> bool {
        self.chosen.load(Ordering::Relaxed) < self.packets()
    }

    /// Whether a mark is one of its.
    pub fn has(&self, mark: u32) -> bool {
        mark >= self.first && mark - self.first < self.packets()
    }

    /// Counts a hop of a packet: its number, from 0.
    pub fn count_hop(&self, mark: u32) -> u32 {
        let hops = self.hops_of(mark);
        hops.map_or(HOPS, |hops| hops.fetch_add(1, Ordering::Relaxed))
    }

    /// Hops that a packet made.
    pub fn hops(&self, mark: u32) -> u32 {
        self.hops_of(mark).map_or(0, |hops| hops.load(Ordering::Relaxed))
    }

    fn hops_of(&self, mark: u32) -> Option<&AtomicU32> {
        self.hops.get(mark.checked_sub(self.first)? as usize)
    }

    /// The log of a thread.
    pub fn log(&self, thread: u32) -> Option<&Log> {
        self.logs.get(thread as usize)?.get()
    }

    /// The logs that there are, by thread.
    pub fn logs(&self) -> impl Iterator<Item = (u32, &Log)> {
        (0..).zip(&self.logs).filter_map(|(thread, log)| Some((thread, log.get()?)))
    }
}

/// All captures since traces were cleared.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// In the order in which they were asked for.
    pub captures: Vec<Arc<Capture>>,
}

impl Session {
    /// The capture of a mark, if it was not cleared.
    pub fn of(&self, mark: u32) -> Option<&Capture> {
        self.captures.iter().map(|capture| &**capture).find(|capture| capture.has(mark))
    }

    /// What packets of a node are to be traced by.
    pub fn armed(&self, node: NodeIndex, serial: u64) -> Option<&Capture> {
        let is_it = |capture: &&Arc<Capture>| {
            capture.node == node && capture.serial == serial && capture.is_armed()
        };
        self.captures.iter().find(is_it).map(|capture| &**capture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(packets: u32) -> Capture {
        Capture::new((NodeIndex(3), 9), 100, packets, [0, 2].into_iter())
    }

    #[test]
    fn no_more_packets_are_chosen_than_were_asked_for_however_many_threads_ask() {
        let capture = capture(500);
        let marks: Vec<u32> = std::thread::scope(|scope| {
            let choose = || std::iter::from_fn(|| capture.choose()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(choose)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut sorted = marks.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (100..600).collect::<Vec<_>>());
        assert!(!capture.is_armed());
    }

    #[test]
    fn a_capture_that_is_disarmed_says_what_it_leaves_and_chooses_no_more() {
        let capture = capture(3);
        assert_eq!(capture.choose(), Some(100));
        assert_eq!((capture.disarm(), capture.disarm()), (2, 0));
        assert_eq!(capture.choose(), None);
    }

    #[test]
    fn hops_are_counted_by_packet_and_threads_that_come_get_memory() {
        let capture = capture(2);
        assert_eq!([100, 100, 101, 102].map(|mark| capture.count_hop(mark)), [0, 1, 0, HOPS]);
        assert_eq!([100, 101, 99].map(|mark| capture.hops(mark)), [2, 1, 0]);
        assert!(capture.log(1).is_none() && capture.log(64).is_none());
        capture.admit(1);
        capture.admit(64);
        assert_eq!(capture.logs().map(|(thread, _)| thread).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
