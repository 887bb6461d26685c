//! A packet buffer: two header lines, headroom, data.
//!
//! ```text
//! 0          64            128         256                          2304       2368
//! ├──────────┼─────────────┼───────────┼────────────────────────────┼──────────┤
//! │ header   │ named slots │ headroom  │ data                       │ spare    │
//! └──────────┴─────────────┴───────────┴────────────────────────────┴──────────┘
//! ```
//! A buffer is named by its offset from the pool's base in 64-byte lines. The stride is an *odd*
//! number of lines: an even one maps all headers onto a quarter of the L1 sets.

use core::sync::atomic::AtomicU16;

/// Bytes of one line, the unit of buffer indices.
pub const LINE: usize = 64;
/// log2 of [`LINE`].
pub const LINE_SHIFT: u32 = 6;
/// Bytes before the headroom: header line and slot line.
pub const HEADER: usize = 128;
/// Bytes before the data that a node may prepend into.
pub const HEADROOM: usize = 128;
/// Data bytes of one buffer behind the headroom.
pub const DATA: usize = 2048;
/// Bytes from one buffer to the next.
pub const STRIDE: usize = 2368;
/// Where line 1, the named slots, begins.
pub const SLOTS_AT: usize = 64;
/// Bytes of named slots.
pub const SLOTS: usize = 64;

/// [`Header::flags`]: the packet goes on in `next_buffer`.
pub const FLAG_NEXT: u32 = 1 << 0;
/// [`Header::flags`]: the IPv4 header checksum is known to be right.
pub const FLAG_IP4_CHECKSUM_OK: u32 = 1 << 1;
/// [`Header::flags`]: made by this host, not received.
pub const FLAG_LOCALLY_ORIGINATED: u32 = 1 << 2;

/// "No interface" in [`Header::rx_interface`] and [`Header::tx_interface`].
pub const NO_INTERFACE: u32 = u32::MAX;

/// Line 0 of a buffer.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Header {
    /// Start of the packet's bytes, counted from the start of the headroom.
    pub data_off: u16,
    /// Bytes of the packet in this buffer.
    pub len: u16,
    /// `FLAG_*`.
    pub flags: u32,
    /// Index of the next buffer of the chain; meaningful with [`FLAG_NEXT`].
    pub next_buffer: u32,
    /// Bytes in the rest of the chain; 0 without one.
    pub chain_len: u32,
    /// Owners. Plain loads and stores while it is 1, atomic beyond.
    pub ref_count: AtomicU16,
    /// Drop reason, an index the host hands out; 0 is none.
    pub error: u16,
    /// Trace record; 0 is none.
    pub trace: u32,
    /// Interface it came in by.
    pub rx_interface: u32,
    /// Interface it leaves by, once known.
    pub tx_interface: u32,
    /// Hash of the flow, 0 if not computed.
    pub flow_hash: u32,
    /// Layer-2 header, counted like `data_off`.
    pub l2_off: u16,
    /// Layer-3 header, counted like `data_off`.
    pub l3_off: u16,
    /// Layer-4 header, counted like `data_off`.
    pub l4_off: u16,
    /// Position on the feature arc the packet is on.
    pub arc_position: u16,
    /// Adjacency chosen by a lookup.
    pub adjacency: u32,
    /// Belongs to a node and its immediate next.
    pub scratch: [u64; 2],
}

impl Header {
    /// Line 0 of a fresh, empty packet with the usual headroom and one owner.
    #[inline(always)]
    pub const fn fresh() -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "128")]
        let data_off = HEADROOM as u16;
        Self {
            data_off,
            len: 0,
            flags: 0,
            next_buffer: 0,
            chain_len: 0,
            ref_count: AtomicU16::new(1),
            error: 0,
            trace: 0,
            rx_interface: NO_INTERFACE,
            tx_interface: NO_INTERFACE,
            flow_hash: 0,
            l2_off: 0,
            l3_off: 0,
            l4_off: 0,
            arc_position: 0,
            adjacency: 0,
            scratch: [0; 2],
        }
    }
}

const _: () = {
    assert!(size_of::<Header>() == LINE);
    assert!(STRIDE % LINE == 0);
    assert!((STRIDE / LINE) % 2 == 1);
    assert!(HEADER + HEADROOM + DATA <= STRIDE);
};
