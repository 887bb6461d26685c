//! What a generated packet says of itself.
//!
//! ```text
//! 0                14          34       42      46     48         56        62
//! ├────────────────┼───────────┼────────┼───────┼──────┼──────────┼─────────┤
//! │ Ethernet       │ IPv4      │ UDP    │ magic │ flow │ sequence │ sent at │ filler …
//! └────────────────┴───────────┴────────┴───────┴──────┴──────────┴─────────┘
//! ```
//! All numbers are big-endian. `magic` is `gr` and two bytes that tell this generator from
//! others; `sent at` is the low 48 bits of the host's nanoseconds, enough for 78 hours.

use core::ops::Range;

/// Where the tag begins in the packet.
const AT: usize = 42;
const FLOW: Range<usize> = AT + 4..AT + 6;
const SEQUENCE: Range<usize> = AT + 6..AT + 14;
const SENT_AT: Range<usize> = AT + 14..AT + 20;

/// Bytes of the shortest packet that has room for a tag.
pub const SHORTEST: usize = SENT_AT.end;
/// The part of a packet that is made from a template: headers and tag, in one cache line.
pub const HEAD: usize = 64;
const TIME_BITS: u32 = 48;

/// Tells this generator's packets from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Magic(u32);

impl Magic {
    /// The magic of the generator with this salt.
    pub fn new(salt: u16) -> Self {
        let [high, low] = salt.to_be_bytes();
        Self(u32::from_be_bytes([b'g', b'r', high, low]))
    }
}

/// The tag of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Number of the flow.
    pub flow: u16,
    /// Number of the packet in its flow, from 0.
    pub sequence: u64,
    /// When it was made, the low 48 bits of nanoseconds.
    pub sent_at: u64,
}

impl Tag {
    /// The tag of a packet that begins with an Ethernet header; `None` if it has none.
    #[inline(always)]
    pub fn read(packet: &[u8], magic: Magic) -> Option<Self> {
        let head = packet.first_chunk::<SHORTEST>()?;
        let [.., m0, m1, m2, m3, f0, f1, s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5] =
            *head;
        if u32::from_be_bytes([m0, m1, m2, m3]) != magic.0 {
            return None;
        }
        Some(Self {
            flow: u16::from_be_bytes([f0, f1]),
            sequence: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            sent_at: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        })
    }

    /// Nanoseconds from when it was made to `now_ns`; 0 if the clock of another thread is behind.
    #[inline(always)]
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        let age = now_ns.wrapping_sub(self.sent_at) & ((1 << TIME_BITS) - 1);
        if age >> (TIME_BITS - 1) == 0 { age } else { 0 }
    }
}

/// Writes what all packets of a flow have in common.
pub fn write_flow(head: &mut [u8; HEAD], magic: Magic, flow: u16) {
    head[AT..FLOW.start].copy_from_slice(&magic.0.to_be_bytes());
    head[FLOW].copy_from_slice(&flow.to_be_bytes());
}

/// Writes the time.
#[inline(always)]
pub fn write_sent_at(head: &mut [u8; HEAD], now_ns: u64) {
    let [_, _, time @ ..] = now_ns.to_be_bytes();
    head[SENT_AT].copy_from_slice(&time);
}

/// Writes the sequence number.
#[inline(always)]
pub fn write_sequence(head: &mut [u8; HEAD], sequence: u64) {
    head[SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let magic = Magic::new(0xbeef);
        let mut head = [0xaa; HEAD];
        write_flow(&mut head, magic, 0x1234);
        write_sequence(&mut head, u64::MAX - 1);
        write_sent_at(&mut head, 0xdead_0123_4567_89ab);

        let tag = Tag { flow: 0x1234, sequence: u64::MAX - 1, sent_at: 0x0123_4567_89ab };
        assert_eq!(Tag::read(&head[..SHORTEST], magic), Some(tag));
        assert_eq!(head[..AT], [0xaa; AT], "the headers are not touched");
        assert_eq!(head[SHORTEST..], [0xaa; HEAD - SHORTEST]);
    }

    #[test]
    fn a_stranger_or_a_short_packet_has_no_tag() {
        let magic = Magic::new(1);
        let mut head = [0; HEAD];
        write_flow(&mut head, magic, 0);
        assert!(Tag::read(&head, magic).is_some());
        assert_eq!(Tag::read(&head, Magic::new(2)), None);
        assert_eq!(Tag::read(&head[..SHORTEST - 1], magic), None);
        assert_eq!(Tag::read(&[], magic), None);
    }

    #[test]
    fn age_counts_across_the_wrap_of_the_time_and_never_below_zero() {
        let tag = Tag { flow: 0, sequence: 0, sent_at: (1 << 48) - 10 };
        assert_eq!(tag.age_ns((1 << 48) + 5), 15);
        assert_eq!(tag.age_ns((1 << 48) - 12), 0, "the other thread's clock is behind");
    }
}
