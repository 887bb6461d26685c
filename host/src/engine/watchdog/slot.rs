//! What a handler captures, in a place made beforehand, until the watchdog's thread has read it.
//!
//! ```text
//!  free ── handler: fill ──▶ captured ── watchdog: read ──▶ free
//! ```
//! While it is captured, further pieces of the thread are counted alone. Beside it is the end of a
//! piece that was told of, which the thread writes and the watchdog's thread takes.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::sight::Held;
use crate::{
    graph::{NodeIndex, Owner},
    process::backtrace::Trace,
    time::Nanos,
};

/// Bytes kept of a name.
const TEXT: usize = 200;

/// What is at work, as far as a handler can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work<T> {
    /// A process; its label says all.
    Process(T),
    /// A job: what it is, its name, and whose.
    Job(T, T, Owner),
    /// A node.
    Node(NodeIndex),
    /// What the loop does between them.
    Loop,
}

/// See above.
#[derive(Debug)]
pub(super) struct Slot {
    captured: AtomicBool,
    piece: AtomicU64,
    first: AtomicU64,
    time: AtomicU64,
    cpu: AtomicU64,
    /// 0 process, 1 job, 2 node, 3 loop.
    kind: AtomicU32,
    /// Owner or node.
    number: AtomicU64,
    text: [AtomicU8; TEXT],
    /// Bytes of the first part of the text, and of both.
    lengths: [AtomicUsize; 2],
    /// Where the thread was.
    pub(super) trace: Trace,
    /// Pieces that found the slot taken.
    missed: AtomicU64,
    ended_piece: AtomicU64,
    /// Nanoseconds; 0 if nothing has ended.
    ended: AtomicU64,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) piece: u64,
    pub(super) work: Work<String>,
    pub(super) time: Nanos,
    pub(super) cpu: Nanos,
    /// Pieces before it of which nothing else is known.
    pub(super) missed: u64,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            captured: AtomicBool::new(false),
            piece: AtomicU64::new(0),
            first: AtomicU64::new(0),
            time: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            kind: AtomicU32::new(0),
            number: AtomicU64::new(0),
            text: [const { AtomicU8::new(0) }; TEXT],
            lengths: [const { AtomicUsize::new(0) }; 2],
            trace: Trace::new(),
            missed: AtomicU64::new(0),
            ended_piece: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }
}

impl Slot {
    /// Fills it, with the trace that `trace` captures; false if it is taken. Signal handler.
    pub(super) fn capture(
        &self,
        piece: u64,
        work: Work<&str>,
        held: Held,
        trace: impl FnOnce(&Trace),
    ) -> bool {
        if self.captured.load(Ordering::Acquire) {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let (kind, number, parts) = match work {
            Work::Process(label) => (0, 0, [label, ""]),
            Work::Job(what, name, owner) => (1, owner.0, [what, name]),
            Work::Node(node) => (2, u64::from(node.0), ["", ""]),
            Work::Loop => (3, 0, ["", ""]),
        };
        let mut length = 0;
        for (part, end) in parts.iter().zip(&self.lengths) {
            for (byte, place) in part.bytes().zip(self.text.iter().skip(length)) {
                place.store(byte, Ordering::Relaxed);
            }
            length = (length + part.len()).min(TEXT);
            end.store(length, Ordering::Relaxed);
        }
        self.kind.store(kind, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
        self.piece.store(piece, Ordering::Relaxed);
        self.first.store(held.first.0, Ordering::Relaxed);
        self.time.store(held.time.0, Ordering::Relaxed);
        self.cpu.store(held.cpu.0, Ordering::Relaxed);
        trace(&self.trace);
        self.captured.store(true, Ordering::Release);
        true
    }

    /// What was captured, if anything was. The watchdog's thread; it [frees](Self::free) the slot
    /// when it has read the trace too.
    pub(super) fn captured(&self) -> Option<Captured> {
        if !self.captured.load(Ordering::Acquire) {
            return None;
        }
        let number = self.number.load(Ordering::Relaxed);
        let text = |range: std::ops::Range<usize>| {
            let bytes = self.text.get(range).unwrap_or(&[]);
            let bytes: Vec<u8> = bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let [first, both] = self.lengths.each_ref().map(|length| length.load(Ordering::Relaxed));
        let work = match self.kind.load(Ordering::Relaxed) {
            0 => Work::Process(text(0..first)),
            1 => Work::Job(text(0..first), text(first..both), Owner(number)),
            2 => Work::Node(NodeIndex(u32::try_from(number).unwrap_or(u32::MAX))),
            _ => Work::Loop,
        };
        Some(Captured {
            piece: self.piece.load(Ordering::Relaxed),
            work,
            time: Nanos(self.time.load(Ordering::Relaxed)),
            cpu: Nanos(self.cpu.load(Ordering::Relaxed)),
            missed: self.missed.swap(0, Ordering::Relaxed),
        })
    }

    /// Frees it for the next capture.
    pub(super) fn free(&self) {
        self.captured.store(false, Ordering::Release);
    }

    /// When the piece last captured was seen first. The thread itself.
    pub(super) fn first(&self) -> Nanos {
        Nanos(self.first.load(Ordering::Relaxed))
    }

    /// The piece last captured has ended after `time`. The thread itself.
    pub(super) fn ended(&self, time: Nanos) {
        self.ended_piece.store(self.piece.load(Ordering::Relaxed), Ordering::Relaxed);
        self.ended.store(time.0.max(1), Ordering::Release);
    }

    /// How long `piece` took in all, once, if it has ended. The watchdog's thread.
    pub(super) fn take_ended(&self, piece: u64) -> Option<Nanos> {
        let time = self.ended.load(Ordering::Acquire);
        if time == 0 || self.ended_piece.load(Ordering::Relaxed) != piece {
            return None;
        }
        self.ended.store(0, Ordering::Relaxed);
        Some(Nanos(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { first: Nanos(5), time: Nanos(7), cpu: Nanos(6) };

    fn capture(slot: &Slot, piece: u64, work: Work<&str>) -> bool {
        slot.capture(piece, work, HELD, |_| ())
    }

    #[test]
    fn what_is_captured_is_read_once_it_is_whole_and_a_taken_slot_counts() {
        let slot = Slot::default();
        assert_eq!(slot.captured(), None);
        assert!(capture(&slot, 3, Work::Job("timer", "acme-tick", Owner(9))));
        assert!(!capture(&slot, 4, Work::Loop));
        assert!(!capture(&slot, 5, Work::Loop));

        let captured = slot.captured().unwrap();

        let work = Work::Job("timer".to_owned(), "acme-tick".to_owned(), Owner(9));
        let expected = Captured { piece: 3, work, time: Nanos(7), cpu: Nanos(6), missed: 2 };
        assert_eq!(captured, expected);
        slot.free();
        assert_eq!(slot.captured(), None);
        assert!(capture(&slot, 6, Work::Node(NodeIndex(12))));
        let captured = slot.captured().unwrap();
        assert_eq!((captured.work, captured.missed), (Work::Node(NodeIndex(12)), 0));
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        let slot = Slot::default();
        let long = "ä".repeat(TEXT);
        assert!(capture(&slot, 1, Work::Job("a", &long, Owner::HOST)));
        let Work::Job(what, name, _) = slot.captured().unwrap().work else { panic!("a job") };
        assert_eq!(what, "a");
        assert!(name.starts_with("ää") && name.chars().count() <= TEXT / 2 + 1, "{name}");
    }

    #[test]
    fn the_end_of_a_piece_is_told_once_and_of_that_piece_alone() {
        let slot = Slot::default();
        assert!(capture(&slot, 3, Work::Loop));
        assert_eq!(slot.take_ended(3), None);
        slot.ended(Nanos(50));
        assert_eq!(slot.take_ended(2), None);
        assert_eq!(slot.take_ended(3), Some(Nanos(50)));
        assert_eq!(slot.take_ended(3), None);
    }
}
