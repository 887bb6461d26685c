//! One hop of a traced packet, and the log that a thread writes hops to while others read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use gristmill_abi::{
    frame::{PANICKED, TAKEN},
    trace::TRACE_RECORD,
};

use crate::{graph::NodeIndex, time::Nanos};

/// Words of a hop: five for what is known of all, and the record.
const WORDS: usize = 5 + TRACE_RECORD / 8;
/// Bytes of the packet in a record that the host makes.
pub const SHOWN: usize = 48;

/// In the place of a next: the node has not come back yet.
const OPEN: u16 = 0xfffd;
/// In the place of a next: there was no room on the way to the other thread.
const CONGESTED: u16 = 0xfffc;
/// In the place of a next: one that the node does not have.
const BAD: u16 = 0xfffb;
/// "Stays on this thread" and "no queue".
const NONE: u32 = u32::MAX;

/// What became of a packet in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node has not come back.
    Open,
    /// It took a next of the node's.
    Next(u16),
    /// It takes that next on another thread.
    HandedTo {
        /// The thread.
        thread: u32,
        /// The next.
        next: u16,
    },
    /// It was to go to that thread, which had no room for it.
    Congested {
        /// The thread.
        thread: u32,
    },
    /// The node kept it, sent it or freed it.
    Taken,
    /// The node decided nothing.
    Undecided,
    /// The node sent it to a next that it does not have.
    BadNext,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The packet's length and first bytes.
    Bytes,
    /// As above, received from a queue.
    Received,
    /// As above, sent to a queue.
    Sent,
    /// What the node left.
    Own,
}

/// A packet in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The packet's mark.
    pub mark: u32,
    /// Counts the packet's hops.
    pub number: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// The node.
    pub node: NodeIndex,
    /// Tells it from others that had its index.
    pub serial: u64,
    /// When its dispatch began.
    pub at: Nanos,
    /// Interface by which the packet had come in, as its header says.
    pub rx_interface: u32,
    /// What the record is.
    pub form: Form,
    /// Its bytes.
    pub record: Record,
}

/// Bytes that a node left, or the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    len: usize,
    bytes: [u8; TRACE_RECORD],
}

impl Record {
    /// These bytes; what is too long is cut.
    pub fn new(record: &[u8]) -> Self {
        let len = record.len().min(TRACE_RECORD);
        let mut bytes = [0; TRACE_RECORD];
        bytes[..len].copy_from_slice(&record[..len]);
        Self { len, bytes }
    }

    /// Of a packet: its length, a queue's number, and its first bytes.
    pub fn of_packet(total_len: u32, queue: Option<u32>, data: &[u8]) -> Self {
        let mut record = Self::new(&[0; 8]);
        record.bytes[..4].copy_from_slice(&total_len.to_ne_bytes());
        record.bytes[4..8].copy_from_slice(&queue.unwrap_or(NONE).to_ne_bytes());
        let shown = data.len().min(SHOWN);
        record.bytes[8..8 + shown].copy_from_slice(&data[..shown]);
        record.len = 8 + shown;
        record
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(TRACE_RECORD)]
    }

    /// Of one made by [`of_packet`](Self::of_packet): length, queue and first bytes.
    pub fn packet(&self) -> (u32, Option<u32>, &[u8]) {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes;
        let queue = u32::from_ne_bytes([e, f, g, h]);
        let queue = (queue != NONE).then_some(queue);
        (u32::from_ne_bytes([a, b, c, d]), queue, self.bytes().get(8..).unwrap_or_default())
    }
}

/// The hops of one thread, oldest first; it alone writes, anyone reads. Room for a fixed number.
#[derive(Debug)]
pub struct Log {
    hops: Box<[[AtomicU64; WORDS]]>,
    len: AtomicUsize,
}

/// Where a hop is in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

impl Log {
    /// A log with room for so many hops. Allocates them.
    pub fn new(room: usize) -> Self {
        let hops = (0..room).map(|_| [const { AtomicU64::new(0) }; WORDS]).collect();
        Self { hops, len: AtomicUsize::new(0) }
    }

    /// Appends a hop; `None` if there is no room. The owning thread.
    pub fn push(&self, hop: &Hop) -> Option<Place> {
        let at = self.len.load(Ordering::Relaxed);
        let words = self.hops.get(at)?;
        write_known(words, hop);
        write_record(words, hop.form, &hop.record);
        close(words, hop.mark, hop.number, hop.outcome);
        self.len.store(at + 1, Ordering::Release);
        Some(Place(at))
    }

    /// Exchanges the record of a hop that is open. The owning thread.
    pub fn set_record(&self, Place(at): Place, form: Form, record: &Record) {
        if let Some(words) = self.hops.get(at) {
            write_record(words, form, record);
        }
    }

    /// Says of a hop that is open what its record is. The owning thread.
    pub fn set_form(&self, place: Place, form: Form, queue: u32) {
        if let Some(Hop { record, .. }) = self.read(place) {
            let (len, _, data) = record.packet();
            self.set_record(place, form, &Record::of_packet(len, Some(queue), data));
        }
    }

    /// Says what became of a packet. The owning thread.
    pub fn close(&self, Place(at): Place, mark: u32, number: u16, outcome: Outcome) {
        if let Some(words) = self.hops.get(at) {
            close(words, mark, number, outcome);
        }
    }

    /// The hops that are in it. The record of one that is open is not to be relied on.
    pub fn read_all(&self) -> impl Iterator<Item = Hop> {
        let len = self.len.load(Ordering::Acquire);
        (0..len).filter_map(|at| self.read(Place(at)))
    }

    fn read(&self, Place(at): Place) -> Option<Hop> {
        let words = self.hops.get(at)?;
        let first = words[0].load(Ordering::Acquire); // Before the others: of one that is not open they stay.
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        let (node, rx_interface) = halves(word(1));
        let (form_and_len, thread) = halves(word(4));
        let (mark, number_and_next) = halves(first);
        let (number, next) = (number_and_next >> 16, number_and_next & 0xffff);
        let [form, len, ..] = form_and_len.to_le_bytes();
        let mut record = Record { len: usize::from(len), bytes: [0; TRACE_RECORD] };
        for (to, at) in record.bytes.chunks_exact_mut(8).zip(5..) {
            to.copy_from_slice(&word(at).to_ne_bytes());
        }
        Some(Hop {
            mark,
            number: u16::try_from(number).unwrap_or(u16::MAX),
            outcome: outcome_of(u16::try_from(next).unwrap_or(OPEN), thread),
            node: NodeIndex(node),
            serial: word(2),
            at: Nanos(word(3)),
            rx_interface,
            form: [Form::Bytes, Form::Received, Form::Sent, Form::Own][usize::from(form & 3)],
            record,
        })
    }
}

fn word_of(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// High and low half.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn write_known(words: &[AtomicU64; WORDS], hop: &Hop) {
    words[1].store(word_of(hop.node.0, hop.rx_interface), Ordering::Relaxed);
    words[2].store(hop.serial, Ordering::Relaxed);
    words[3].store(hop.at.0, Ordering::Relaxed);
}

fn write_record(words: &[AtomicU64; WORDS], form: Form, record: &Record) {
    let len = u8::try_from(record.len).unwrap_or(0);
    let form_and_len = u32::from_le_bytes([form as u8, len, 0, 0]);
    words[4].store(word_of(form_and_len, NONE), Ordering::Relaxed);
    for (word, bytes) in words[5..].iter().zip(record.bytes.as_chunks::<8>().0) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
}

/// The last that is written of a hop.
fn close(words: &[AtomicU64; WORDS], mark: u32, number: u16, outcome: Outcome) {
    let (next, thread) = match outcome {
        Outcome::Open => (OPEN, NONE),
        Outcome::Next(next) => (next, NONE),
        Outcome::HandedTo { thread, next } => (next, thread),
        Outcome::Congested { thread } => (CONGESTED, thread),
        Outcome::Taken => (TAKEN, NONE),
        Outcome::Undecided => (PANICKED, NONE),
        Outcome::BadNext => (BAD, NONE),
    };
    let (form_and_len, _) = halves(words[4].load(Ordering::Relaxed));
    words[4].store(word_of(form_and_len, thread), Ordering::Relaxed);
    let number_and_next = u32::from(number) << 16 | u32::from(next);
    words[0].store(word_of(mark, number_and_next), Ordering::Release);
}

fn outcome_of(next: u16, thread: u32) -> Outcome {
    match next {
        OPEN => Outcome::Open,
        CONGESTED => Outcome::Congested { thread },
        BAD => Outcome::BadNext,
        TAKEN => Outcome::Taken,
        PANICKED => Outcome::Undecided,
        next if thread != NONE => Outcome::HandedTo { thread, next },
        next => Outcome::Next(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(outcome: Outcome, record: Record) -> Hop {
        let (node, at) = (NodeIndex(7), Nanos(1 << 40));
        let (mark, number, serial, rx_interface) = (u32::MAX - 1, 63, u64::MAX - 2, 5);
        Hop { mark, number, outcome, node, serial, at, rx_interface, form: Form::Bytes, record }
    }

    #[test]
    fn a_hop_is_read_as_it_was_written_whatever_became_of_the_packet() {
        let log = Log::new(7);
        let outcomes = [
            Outcome::Open,
            Outcome::Next(0xfeff),
            Outcome::HandedTo { thread: 63, next: 3 },
            Outcome::Congested { thread: 1 },
            Outcome::Taken,
            Outcome::Undecided,
            Outcome::BadNext,
        ];
        let record = Record::of_packet(2000, Some(3), &[0xab; 2000]);
        let hops = outcomes.map(|outcome| hop(outcome, record));
        let places = hops.each_ref().map(|hop| log.push(hop).unwrap());
        assert_eq!(log.read_all().collect::<Vec<_>>(), hops);
        assert_eq!(log.push(&hops[0]), None, "it is full");
        assert_eq!(record.packet(), (2000, Some(3), &[0xab; SHOWN][..]));

        log.close(places[0], u32::MAX - 1, 63, Outcome::Taken);
        assert_eq!(log.read_all().next(), Some(Hop { outcome: Outcome::Taken, ..hops[0] }));
    }

    #[test]
    fn the_record_of_an_open_hop_is_exchanged_and_what_is_too_long_is_cut() {
        let log = Log::new(1);
        let place =
            log.push(&hop(Outcome::Open, Record::of_packet(9, None, b"123456789"))).unwrap();
        log.set_form(place, Form::Sent, 4);
        let read = log.read_all().next().unwrap();
        assert_eq!(
            (read.form, read.record.packet()),
            (Form::Sent, (9, Some(4), &b"123456789"[..]))
        );
        log.set_record(place, Form::Own, &Record::new(&[1; 100]));
        let read = log.read_all().next().unwrap();
        assert_eq!((read.form, read.record.bytes()), (Form::Own, &[1; TRACE_RECORD][..]));
    }
}
