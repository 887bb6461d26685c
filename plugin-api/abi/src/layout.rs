//! A digest of the layouts both sides rely on without asking.
//!
//! It covers the structures that are read before their size could be asked for, and the prefix of
//! those that may grow. A plugin whose digest differs was built against another layout and is
//! refused before any of its code runs.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    Head, List, Str,
    buffer::{self, Header},
    declaration::{Declaration, NextDecl, NodeDecl, PluginDecl, Variant},
    device::DeviceClassDecl,
    frame::{Frame, NodeRuntime, ThreadCtx},
    host::HostTable,
};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the bytes of `value`.
const fn fold(mut digest: u64, value: usize) -> u64 {
    let bytes = (value as u64).to_le_bytes();
    let mut at = 0;
    while at < bytes.len() {
        digest = (digest ^ bytes[at] as u64).wrapping_mul(FNV_PRIME);
        at += 1;
    }
    digest
}

/// Folds in offsets that must not move; sizes only of what may not grow either.
macro_rules! digest {
    ($($type:ty $(, size $size:literal)? : $($field:ident)*;)*) => {{
        let mut digest = fold(FNV_OFFSET, crate::ABI_MAJOR as usize);
        $(
            digest = fold(digest, align_of::<$type>());
            $(digest = fold(digest, size_of::<$type>() * $size);)?
            $(digest = fold(digest, offset_of!($type, $field));)*
        )*
        digest = fold(digest, buffer::STRIDE);
        digest = fold(digest, buffer::HEADER);
        fold(digest, buffer::HEADROOM)
    }};
}

/// Digest of this build's layouts.
pub const DIGEST: u64 = digest! {
    Head, size 1: struct_size abi_major abi_minor;
    Str<'static>, size 1: ;
    List<'static, u8>, size 1: ;
    Header, size 1: data_off len flags next_buffer chain_len ref_count error trace rx_interface
        tx_interface flow_hash l2_off l3_off l4_off arc_position adjacency scratch;
    Frame, size 1: n flags indices nexts aux bytes;
    ThreadCtx: head thread_index now_ns buffer_base host;
    NodeRuntime: head node_index n_nexts state counters n_counters;
    Declaration: head kind plugin name body;
    PluginDecl: head version description create start stop notify destroy;
    NextDecl, size 1: kind severity name;
    Variant, size 1: cpu_level entry;
    NodeDecl: head node_type nexts counters variants create destroy;
    DeviceClassDecl: head nexts rx tx set_admin destroy;
    HostTable: head shared log service buffer_alloc buffer_free buffer_release enqueue now;
};

#[cfg(test)]
mod tests {
    /// A change here is a change of the ABI: it is made on purpose, with a line in the change log.
    #[test]
    fn the_layout_is_the_one_that_was_agreed_on() {
        assert_eq!(format!("{:#018x}", super::DIGEST), "0xdd21af54dc197eb5");
    }
}
