//! What both sides rely on without asking: sizes and offsets of every type that crosses the boundary.
//!
//! ```text
//! grows NAME {            begins with a head that says its size; it is only ever appended to
//!     0, 24: [head 0, call 8, may_wait 16]     as of ABI 1.0: its size, and where its fields are
//!     1, 32: [call_later 24]                   what 1.1 appended
//! }
//! fixed NAME { … }        has one size for ever, since it is an element of a list or has no head
//! ```
//! This does not compile where a field is somewhere else, or is not listed. A field whose name begins
//! with `reserved` means nothing, and a later minor version may put a field in its place.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    ABI_MAJOR, ABI_MINOR, ErrorText, Head, List, Status, Str,
    buffer::{self, Header},
    command::{AnswerTable, ArgValue, CommandDecl},
    declaration::{
        ArcDecl, ConfigEntry, CounterDecl, Declaration, FeatureDecl, NextDecl, NodeDecl, OfferDecl,
        PluginDecl, RequireDecl, ServiceRef, Variant,
    },
    deferred::{SoftirqService, SoftirqSpec, TaskletService, TaskletSpec},
    descriptor::{NameRecord, PluginRecord, RecordHead},
    device::{DeviceClassDecl, InterfaceInfo, InterfaceSpec, RxQueueSpec},
    file::{FileService, FileSpec},
    frame::{Frame, NodeRuntime, ThreadCtx},
    handoff::HandoffService,
    host::{
        BatchService, BufferService, CallSpec, GraphService, HostTable, InterfaceService,
        InterruptService, RpcService, TimerService, TimerSpec,
    },
    log::{ConfigService, LogService},
    process::{DelayedEvent, ProcessService, ProcessSpec, Wait},
    root::{Entry, V1},
    trace::{TraceService, TraceText},
    work::{WorkItemSpec, WorkQueueSpec, WorkService},
};

/// A field of a [`Layout`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// Minor version of the ABI that brought it.
    pub since: u16,
    /// Where it begins.
    pub at: usize,
    /// Bytes of it.
    pub size: usize,
    #[cfg(test)]
    type_name: fn() -> &'static str,
}

/// The agreed layout of one type.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Name.
    pub name: &'static str,
    /// Whether it begins with its size, and may be appended to.
    pub grows: bool,
    /// Alignment.
    pub align: usize,
    /// Its size as of each minor version that changed it; the first is the one that brought it.
    pub sizes: &'static [(u16, usize)],
    /// All its fields.
    pub fields: &'static [Field],
}

impl Layout {
    /// Its size as of ABI minor `minor`; `None` before there was one.
    pub const fn size(&self, minor: u16) -> Option<usize> {
        let (mut at, mut size) = (0, None);
        while at < self.sizes.len() {
            if self.sizes[at].0 <= minor {
                size = Some(self.sizes[at].1);
            }
            at += 1;
        }
        size
    }
}

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

#[cfg(test)]
fn type_name_of_field<T, F>(_: fn(&T) -> &F) -> &'static str {
    core::any::type_name::<F>()
}

/// Lists layouts, and holds each against what the compiler made of the type.
macro_rules! layouts {
    ($($form:ident $name:ident $(<$($arg:tt),+>)? {
        $($minor:literal, $size:literal: [$($field:tt $at:literal),*])+
    })*) => {&[$({
        type This = $name $(<$($arg),+>)?;
        // Does not compile where a field is not listed.
        const _: fn(This) = |all| { let This { $($($field: _,)*)+ } = all; };
        const SIZES: &[(u16, usize)] = &[$(($minor, $size)),+];
        const _: () = {
            assert!(SIZES[SIZES.len() - 1].1 == size_of::<This>(), layouts!(@moved $name));
            $($(assert!(offset_of!(This, $field) == $at, layouts!(@moved $name));)*)+
        };
        Layout {
            name: stringify!($name),
            grows: layouts!(@grows $form),
            align: align_of::<This>(),
            sizes: SIZES,
            fields: &[$($(Field {
                name: stringify!($field),
                since: $minor,
                at: $at,
                size: size_of_field(|whole: &This| &whole.$field),
                #[cfg(test)]
                type_name: || type_name_of_field(|whole: &This| &whole.$field),
            },)*)+],
        }
    }),*]};
    (@moved $name:ident) => {
        concat!("the layout of ", stringify!($name), " is not what was agreed on: undo the change, ",
            "or append instead; see plugin-api/CHANGELOG.md")
    };
    (@grows grows) => { true };
    (@grows fixed) => { false };
}

/// Every type that crosses the boundary.
pub const LAYOUTS: &[Layout] = layouts! {
    fixed Head { 0, 8: [struct_size 0, abi_major 4, abi_minor 6] }
    fixed Str<'static> { 0, 16: [ptr 0, len 8, life 16] }
    fixed List<'static, u64> { 0, 16: [ptr 0, len 8, life 16] }
    fixed Status { 0, 4: [0 0] }
    fixed ErrorText { 0, 512: [len 0, bytes 4] }
    fixed RecordHead { 0, 16: [magic 0, kind 8, reserved 10, size 12] }
    grows PluginRecord {
        0, 288: [
            head 0, abi_major 16, abi_minor 18, flags 20, layout_digest 24, name 32, version 96,
            sdk_version 128, description 160
        ]
    }
    grows NameRecord { 0, 272: [head 0, name 16, detail 80] }
    fixed V1 { 0, 24: [sdk_version 0, declaration 8, initialize 16] }
    grows Entry { 0, 24: [head 0, declaration 8, initialize 16] }
    grows Declaration { 0, 64: [head 0, kind 8, plugin 24, name 40, body 56] }
    fixed ConfigEntry<'static> { 0, 32: [key 0, value 16] }
    grows PluginDecl {
        0, 80: [
            head 0, version 8, description 24, create 40, start 48, stop 56, notify 64, destroy 72
        ]
    }
    fixed NextDecl { 0, 24: [kind 0, severity 4, name 8] }
    fixed CounterDecl { 0, 16: [name 0] }
    fixed Variant { 0, 16: [cpu_level 0, reserved 4, entry 8] }
    grows NodeDecl {
        0, 80: [
            head 0, node_type 8, flags 12, nexts 16, counters 32, variants 48, create 64,
            destroy 72
        ]
        1, 88: [format_trace 80]
    }
    grows ArcDecl { 0, 48: [head 0, starts 8, end 24, by_tx_interface 40, reserved 44] }
    grows FeatureDecl { 0, 64: [head 0, arc 8, before 24, after 40, default_on 56, reserved 60] }
    grows OfferDecl { 0, 32: [head 0, version 8, table 24] }
    grows RequireDecl { 0, 24: [head 0, range 8] }
    fixed ServiceRef { 0, 16: [table 0, context 8] }
    grows CommandDecl { 0, 56: [head 0, grammar 8, help 24, role 40, needs_barrier 44, run 48] }
    fixed ArgValue<'static> { 0, 48: [name 0, text 16, number 32, kind 40, extra 44] }
    grows AnswerTable { 0, 40: [head 0, context 8, line 16, columns 24, cell 32] }
    grows DeviceClassDecl { 0, 56: [head 0, nexts 8, rx 24, tx 32, set_admin 40, destroy 48] }
    fixed RxQueueSpec { 0, 8: [fd 0, reserved 4] }
    grows InterfaceSpec<'static> {
        0, 88: [
            head 0, name 8, class 24, device 40, rx_queues 48, tx_queues 64, flags 68, mtu 72,
            kernel_index 76, mac 80, reserved 86
        ]
    }
    grows InterfaceInfo {
        0, 100: [
            head 0, index 8, flags 12, mtu 16, admin_up 20, link_up 24, mac 28, reserved 34,
            name 36
        ]
    }
    grows HostTable {
        0, 88: [
            head 0, shared 8, log 16, service 24, buffer_alloc 32, buffer_free 40,
            buffer_release 48, enqueue 56, now 64, reserved 72
        ]
    }
    grows InterfaceService {
        0, 64: [
            head 0, create 8, delete 16, info 24, find 32, next 40, set_admin 48, set_link 56
        ]
    }
    grows GraphService { 0, 24: [head 0, add_next 8, set_feature 16] }
    grows BatchService { 0, 16: [head 0, make 8] }
    grows BufferService { 0, 16: [head 0, slot 8] }
    grows TimerSpec<'static> {
        0, 48: [
            head 0, name 8, function 24, data 32, flags 40, reserved 44
        ]
    }
    grows TimerService {
        0, 64: [
            head 0, create 8, destroy 16, add 24, modify 32, delete 40, delete_and_wait 48,
            is_pending 56
        ]
    }
    grows CallSpec { 0, 32: [head 0, function 8, arguments 16, size 24, flags 28] }
    grows RpcService { 0, 24: [head 0, call 8, may_wait 16] }
    grows InterruptService { 0, 24: [head 0, node 8, mark 16] }
    grows FileSpec<'static> {
        0, 80: [
            head 0, name 8, fd 24, flags 28, thread 32, reserved 36, data 40, read 48, write 56,
            error 64, closed 72
        ]
    }
    grows FileService { 0, 32: [head 0, add 8, modify 16, remove 24] }
    grows HandoffService { 0, 24: [head 0, hand_off 8, threads 16] }
    grows ProcessSpec<'static> {
        0, 88: [
            head 0, name 8, entry 24, data 32, drop 40, stack_size 48, restart 56, reserved 60,
            backoff_ns 64, backoff_max_ns 72, watchdog_ns 80
        ]
    }
    grows Wait { 0, 40: [head 0, flags 8, woken 12, events 16, timeout_ns 24, process 32] }
    grows DelayedEvent {
        0, 56: [
            head 0, process 8, events 16, delay_ns 24, deliver 32, data 40, token 48
        ]
    }
    grows ProcessService {
        0, 120: [
            head 0, create 8, retain 16, release 24, current 32, wait 40, should_yield 48,
            signal 56, signal_later 64, take_back 72, name_event 80, cancel 88, restart 96,
            has_ended 104, detach 112
        ]
    }
    grows SoftirqSpec<'static> {
        0, 48: [head 0, name 8, function 24, data 32, number 40, reserved 44]
    }
    grows SoftirqService { 0, 40: [head 0, open 8, close 16, raise 24, after_grace 32] }
    grows TaskletSpec<'static> {
        0, 48: [head 0, name 8, function 24, data 32, flags 40, reserved 44]
    }
    grows TaskletService {
        0, 64: [
            head 0, create 8, destroy 16, schedule 24, disable 32, enable 40, kill 48, is_scheduled 56
        ]
    }
    grows WorkQueueSpec<'static> { 0, 32: [head 0, name 8, kind 24, max_active 28] }
    grows WorkItemSpec<'static> {
        0, 56: [head 0, name 8, run 24, data 32, drop 40, thread 48, reserved 52]
    }
    grows WorkService {
        0, 128: [
            head 0, create_queue 8, close_queue 16, destroy_queue 24, create_item 32,
            destroy_item 40, enqueue 48, enqueue_delayed 56, modify_delay 64, cancel 72,
            cancel_and_wait 80, flush 88, is_pending 96, flush_queue 104, drain 112, call 120
        ]
    }
    grows LogService { 1, 24: [head 0, write 8, enabled 16] }
    grows ConfigService { 1, 16: [head 0, line 8] }
    grows TraceText { 1, 24: [head 0, context 8, write 16] }
    grows TraceService { 1, 24: [head 0, record 8, follow 16] }
    fixed Frame { 0, 56: [n 0, flags 4, indices 8, nexts 16, aux 24, bytes 32, reserved 40] }
    grows ThreadCtx {
        0, 56: [
            head 0, thread_index 8, flags 12, now_ns 16, buffer_base 24, host 32, reserved 40
        ]
    }
    grows NodeRuntime {
        0, 64: [
            head 0, node_index 8, n_nexts 12, flags 14, state 16, counters 24, n_counters 32,
            reserved32 36, wake_at_ns 40, reserved 48
        ]
    }
    fixed Header {
        0, 64: [
            data_off 0, len 2, flags 4, next_buffer 8, chain_len 12, ref_count 16, error 18,
            trace 20, rx_interface 24, tx_interface 28, flow_hash 32, l2_off 36, l3_off 38,
            l4_off 40, arc_position 42, adjacency 44, scratch 48
        ]
    }
};

/// Digest of the layouts as of this build's minor version: what its plugins carry.
pub const DIGEST: u64 = digest(ABI_MINOR);

/// Digest of all that ABI minor `minor` had. A later version gives the same number for it, since it
/// has only appended; so a host knows whether a plugin of an earlier version fits.
pub const fn digest(minor: u16) -> u64 {
    let mut digest = fold(FNV_OFFSET, ABI_MAJOR as usize);
    let mut at = 0;
    while at < LAYOUTS.len() {
        digest = fold_layout(digest, &LAYOUTS[at], minor);
        at += 1;
    }
    digest = fold(digest, buffer::STRIDE);
    digest = fold(digest, buffer::HEADER);
    fold(digest, buffer::HEADROOM)
}

const fn fold_layout(mut digest: u64, layout: &Layout, minor: u16) -> u64 {
    let Some(size) = layout.size(minor) else { return digest };
    digest = fold_text(digest, layout.name);
    digest = fold(digest, layout.align);
    digest = fold(digest, size);
    let mut at = 0;
    while at < layout.fields.len() {
        let field = &layout.fields[at];
        if field.since <= minor && !is_reserved(field.name) {
            digest = fold_text(digest, field.name);
            digest = fold(digest, field.at);
            digest = fold(digest, field.size);
        }
        at += 1;
    }
    digest
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the bytes of `value`.
const fn fold(digest: u64, value: usize) -> u64 {
    fold_bytes(digest, &(value as u64).to_le_bytes())
}

const fn fold_text(digest: u64, text: &str) -> u64 {
    fold_bytes(fold(digest, text.len()), text.as_bytes())
}

const fn fold_bytes(mut digest: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        digest = (digest ^ bytes[at] as u64).wrapping_mul(FNV_PRIME);
        at += 1;
    }
    digest
}

/// Whether a field is only a place for later ones.
const fn is_reserved(name: &str) -> bool {
    starts_with(name.as_bytes(), b"reserved")
}

const fn starts_with(text: &[u8], start: &[u8]) -> bool {
    let mut at = 0;
    while at < start.len() {
        if at >= text.len() || text[at] != start[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The size that the type `name` had in the version that brought it.
///
/// # Panics
/// At compile time, if there is no such type, or it has one size for ever.
pub const fn first_size(name: &str) -> usize {
    let mut at = 0;
    while at < LAYOUTS.len() {
        let known = LAYOUTS[at].name;
        if known.len() == name.len() && starts_with(known.as_bytes(), name.as_bytes()) {
            assert!(LAYOUTS[at].grows, "it does not say its size");
            return LAYOUTS[at].sizes[0].1;
        }
        at += 1;
    }
    panic!("a type that crosses the boundary is listed above")
}

#[cfg(test)]
mod tests;
