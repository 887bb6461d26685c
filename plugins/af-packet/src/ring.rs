//! The receive ring the kernel writes packets into: TPACKET_V3.
//!
//! ```text
//! ring:    block │ block │ …            a block is the kernel's or ours, by its status word
//! block:   status, number of packets │ packet │ packet │ …        of any length, one after another
//! packet:  tpacket3_hdr │ address │ virtio_net_hdr │ bytes        `tp_mac` says where the bytes are
//! ```

#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::{
    io,
    os::fd::AsRawFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

use libc::{tpacket_block_desc, tpacket_req3, tpacket3_hdr};

use crate::{offload, socket::PacketSocket};

/// Bytes of a block: room for the longest packet there is, 64 KiB and its headers.
const BLOCK: usize = 128 << 10;
/// Blocks. One goes by in each millisecond in which a packet comes, however short: so long may the
/// host look away.
const BLOCKS: usize = 64;
/// Bytes that the kernel counts as a packet when it checks the request; has no other meaning.
const FRAME: usize = 2048;
/// Milliseconds after which the kernel hands over a block that is not full.
const PATIENCE_MS: u32 = 1;

/// A receive ring.
#[derive(Debug)]
pub(crate) struct RxRing {
    base: NonNull<u8>,
    /// The block that is being read, or waited for.
    block: usize,
    /// Packets of it that are left.
    left: u32,
    /// Where the current packet's header is in it.
    offset: usize,
}

// SAFETY: the mapping belongs to the ring.
unsafe impl Send for RxRing {}

/// A packet in the ring.
#[derive(Debug)]
pub(crate) struct RingPacket<'a> {
    /// Its bytes.
    pub(crate) bytes: &'a mut [u8],
    /// The packet was longer; these are its first bytes.
    pub(crate) is_cut: bool,
    /// The VLAN tag that the kernel took out from behind the MAC addresses.
    pub(crate) tag: Option<[u8; 4]>,
    /// The `virtio_net_hdr`.
    pub(crate) offload: [u8; offload::HEADER],
}

impl RxRing {
    /// Gives `socket`, not yet bound, a ring.
    pub(crate) fn new(socket: &PacketSocket) -> io::Result<Self> {
        let version = libc::tpacket_versions::TPACKET_V3 as u32;
        socket.set(libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or_default();
        let request = tpacket_req3 {
            tp_block_size: size(BLOCK),
            tp_block_nr: size(BLOCKS),
            tp_frame_size: size(FRAME),
            tp_frame_nr: size(BLOCKS * (BLOCK / FRAME)),
            tp_retire_blk_tov: PATIENCE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping, of the length that was asked for, at a place the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                BLOCK * BLOCKS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, block: 0, left: 0, offset: 0 })
    }

    /// The current packet; `None` while the kernel has handed over no more.
    pub(crate) fn packet(&mut self) -> Option<RingPacket<'_>> {
        if self.left == 0 && !self.open_block() {
            return None;
        }
        let header = self.header();
        let start = self.offset + usize::from(header.tp_mac);
        let len = header.tp_snaplen as usize;
        assert!(
            start >= self.offset + size_of::<tpacket3_hdr>() + offload::HEADER
                && start + len <= BLOCK,
            "the kernel's packet of {len} bytes at {start} is outside its block"
        );
        let tag = (header.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
            let typed = header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let ether_type = if typed { header.hv1.tp_vlan_tpid } else { 0x8100 };
            let [a, b] = ether_type.to_be_bytes();
            let [.., c, d] = header.hv1.tp_vlan_tci.to_be_bytes();
            [a, b, c, d]
        });
        let bytes = self.bytes(start - offload::HEADER, offload::HEADER + len);
        let (before, bytes) = bytes.split_first_chunk_mut::<{ offload::HEADER }>()?;
        Some(RingPacket { bytes, is_cut: header.tp_len > header.tp_snaplen, tag, offload: *before })
    }

    /// Goes on to the next packet; a block whose last one this was is the kernel's again.
    pub(crate) fn advance(&mut self) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        if left == 0 {
            self.close_block();
        } else {
            self.offset += self.header().tp_next_offset as usize;
        }
    }

    /// Begins with the next block, if it is ours; `true` if there is a packet in it.
    fn open_block(&mut self) -> bool {
        while self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0 {
            // SAFETY: every block begins with a descriptor, and this one is ours.
            let header = unsafe { self.block_start().cast::<tpacket_block_desc>().read() }.hdr;
            // SAFETY: the union has one variant.
            let header = unsafe { header.bh1 };
            if header.num_pkts > 0 {
                self.left = header.num_pkts;
                self.offset = header.offset_to_first_pkt as usize;
                return true;
            }
            self.close_block();
        }
        false
    }

    fn close_block(&mut self) {
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.block = (self.block + 1) % BLOCKS;
        self.left = 0;
    }

    fn block_start(&self) -> NonNull<u8> {
        // SAFETY: the block is inside the mapping.
        unsafe { self.base.add(self.block * BLOCK) }
    }

    fn status(&self) -> &AtomicU32 {
        let at = std::mem::offset_of!(tpacket_block_desc, hdr);
        // SAFETY: the status is the first field of the block's header.
        let status = unsafe { self.block_start().add(at) };
        // SAFETY: it is aligned, and both sides use it atomically.
        unsafe { status.cast().as_ref() }
    }

    fn header(&self) -> tpacket3_hdr {
        assert!(
            self.offset + size_of::<tpacket3_hdr>() <= BLOCK,
            "the kernel's packet at {} is outside its block",
            self.offset
        );
        // SAFETY: it is inside the block, as was just checked.
        let header = unsafe { self.block_start().add(self.offset) };
        // SAFETY: the kernel put a header there before it handed the block over.
        unsafe { header.cast::<tpacket3_hdr>().read_unaligned() }
    }

    /// `len` bytes of the block from `start` on; the caller checked that they are inside.
    fn bytes(&mut self, start: usize, len: usize) -> &mut [u8] {
        assert!(start + len <= BLOCK, "{len} bytes at {start} are outside the block");
        // SAFETY: inside the block, as was just checked.
        let start = unsafe { self.block_start().add(start) };
        // SAFETY: the block is ours until it is closed, and the ring is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) }
    }
}

impl Drop for RxRing {
    fn drop(&mut self) {
        // SAFETY: the mapping is the ring's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), BLOCK * BLOCKS) };
    }
}
