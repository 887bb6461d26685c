//! The bench's host: a pool of buffers and a table of functions.

use core::ffi::c_void;
use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    cell::RefCell,
    sync::{Mutex, OnceLock, atomic::AtomicU64},
};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    buffer::{LINE, STRIDE},
    declaration::{PluginHandle, ServiceRef},
    frame::{NodeRuntime, ThreadCtx},
    handoff::HandoffService,
    host::{HostTable, log_level},
    log::{ConfigService, LogService},
    trace::{TRACE_RECORD, TraceService},
};

use super::work;
use crate::{Error, Packet};

/// Threads that a node on the bench can hand packets to: main and three workers.
pub(super) const BENCH_THREADS: u32 = 4;
/// Buffers of the bench's pool, shared by all benches of a process.
pub(super) const BUFFERS: usize = 8192;
const LINES: u32 = 37;
const _: () = assert!(LINES as usize * LINE == STRIDE);

thread_local! {
    /// What the node of this thread emitted: next number and buffer.
    pub(super) static EMITTED: RefCell<Vec<(u16, u32)>> = const { RefCell::new(Vec::new()) };
}

/// A packet that a node handed to a thread to take a next there.
#[derive(Clone, Copy)]
pub(super) struct Handed {
    pub(super) thread: u16,
    pub(super) next: u16,
    pub(super) index: u32,
}

thread_local! {
    /// What the node of this thread handed to others.
    pub(super) static HANDED: RefCell<Vec<Handed>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    /// Records that the node of this thread left: buffer and bytes.
    pub(super) static RECORDS: RefCell<Vec<(u32, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Pool {
    pub(super) base: *mut u8,
    free: Mutex<Vec<u32>>,
}

// SAFETY: `base` is never written through without owning the buffer.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

pub(super) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let layout = Layout::from_size_align(BUFFERS * STRIDE, LINE).expect("a small layout");
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        let free = (0..u32::try_from(BUFFERS).expect("few")).map(|at| at * LINES).collect();
        Pool { base, free: Mutex::new(free) }
    })
}

pub(super) fn host_table() -> *const HostTable {
    static TABLE: HostTable = HostTable {
        head: Head::of::<HostTable>(),
        shared: core::ptr::null(),
        log,
        service,
        buffer_alloc,
        buffer_free,
        buffer_release,
        enqueue,
        now,
        reserved: [core::ptr::null::<c_void>(); 2],
    };
    &raw const TABLE
}

unsafe extern "C" fn log(_: *const HostTable, _: PluginHandle, level: u32, text: Str<'_>) {
    #[expect(clippy::print_stderr, reason = "the bench's log is the test's output")]
    {
        eprintln!("log({level}): {text}");
    }
}

unsafe extern "C" fn service(
    _: *const HostTable,
    _: PluginHandle,
    name: Str<'_>,
    _: Str<'_>,
    found: *mut ServiceRef,
    error: *mut ErrorText,
) -> Status {
    let table: Option<*const c_void> = match name.as_str() {
        "handoff" => Some((&raw const HANDOFF).cast()),
        "work" => Some((&raw const work::SERVICE).cast()),
        "trace" => Some((&raw const TRACE).cast()),
        "log" => Some((&raw const LOG).cast()),
        "config" => Some((&raw const CONFIG).cast()),
        _ => None,
    };
    if let Some(table) = table {
        // SAFETY: the caller passes room for it.
        unsafe { found.write(ServiceRef { table, context: core::ptr::null_mut() }) };
        return Status::OK;
    }
    let reason = Error::new(format!("the bench has no service {name}"));
    // SAFETY: the caller passes room for an error.
    unsafe { &mut *error }.set(&reason.to_string());
    Status::MISSING
}

pub(super) unsafe extern "C" fn buffer_alloc(_: *mut ThreadCtx, indices: *mut u32, n: u32) -> u32 {
    let mut free = pool().free.lock().expect("no test panics with the lock");
    let mut got = 0;
    while got < n {
        let Some(index) = free.pop() else { break };
        // SAFETY: a free buffer is nobody's.
        unsafe { Packet::at(pool().base, index) }.reset();
        let to = indices.wrapping_add(got as usize);
        // SAFETY: the caller has room for `n` indices.
        unsafe { to.write(index) };
        got += 1;
    }
    got
}

unsafe extern "C" fn buffer_free(_: *mut ThreadCtx, indices: *const u32, n: u32) {
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { core::slice::from_raw_parts(indices, n as usize) };
    for &index in indices {
        release(index);
    }
}

unsafe extern "C" fn buffer_release(_: *const HostTable, index: u32) {
    release(index);
}

pub(super) fn release(index: u32) {
    // Chains are built of buffers of this pool, so each of them goes back to it.
    let mut next = Some(index);
    while let Some(index) = next {
        // SAFETY: the packet was given up by its owner.
        next = unsafe { Packet::at(pool().base, index) }.chained();
        pool().free.lock().expect("no test panics with the lock").push(index);
    }
}

unsafe extern "C" fn enqueue(
    _: *mut ThreadCtx,
    _: *mut NodeRuntime,
    next: u32,
    indices: *const u32,
    n: u32,
) {
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { core::slice::from_raw_parts(indices, n as usize) };
    for &index in indices {
        let next = u16::try_from(next).expect("a next number");
        EMITTED.with_borrow_mut(|emitted| emitted.push((next, index)));
    }
}

static HANDOFF: HandoffService =
    HandoffService { head: Head::of::<HandoffService>(), hand_off, threads };

unsafe extern "C" fn hand_off(
    _: *mut c_void,
    _: *mut ThreadCtx,
    _: *mut NodeRuntime,
    indices: *const u32,
    nexts: *const u16,
    threads: *const u16,
    n: u32,
) -> u32 {
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { core::slice::from_raw_parts(indices, n as usize) };
    // SAFETY: the caller passes `n` nexts.
    let nexts = unsafe { core::slice::from_raw_parts(nexts, n as usize) };
    // SAFETY: the caller passes `n` threads.
    let threads = unsafe { core::slice::from_raw_parts(threads, n as usize) };
    let packets = indices.iter().zip(nexts).zip(threads);
    let handed = packets.map(|((&index, &next), &thread)| Handed { thread, next, index });
    HANDED.with_borrow_mut(|all| all.extend(handed));
    n
}

static LOG: LogService =
    LogService { head: Head::of::<LogService>(), write: log_of_class, enabled };
static CONFIG: ConfigService = ConfigService { head: Head::of::<ConfigService>(), line };

unsafe extern "C" fn log_of_class(
    _: *mut c_void,
    _: PluginHandle,
    class: Str<'_>,
    level: u32,
    text: Str<'_>,
) {
    #[expect(clippy::print_stderr, reason = "the bench's log is the test's output")]
    {
        eprintln!("log({class}, {level}): {text}");
    }
}

unsafe extern "C" fn enabled(_: *mut c_void, _: PluginHandle, _: Str<'_>, level: u32) -> u32 {
    u32::from(level <= log_level::NOTICE)
}

/// All settings of a test stand in one line.
unsafe extern "C" fn line(_: *mut c_void, _: PluginHandle, _: Str<'_>) -> u32 {
    7
}

static TRACE: TraceService =
    TraceService { head: Head::of::<TraceService>(), record: keep_record, follow };

unsafe extern "C" fn keep_record(
    _: *mut c_void,
    _: *mut ThreadCtx,
    packet: u32,
    record: *const u8,
    len: u32,
) {
    // SAFETY: the caller passes `len` bytes.
    let record = unsafe { core::slice::from_raw_parts(record, len as usize) };
    let record = record[..record.len().min(TRACE_RECORD)].to_vec();
    RECORDS.with_borrow_mut(|records| {
        records.retain(|(index, _)| *index != packet);
        records.push((packet, record));
    });
}

unsafe extern "C" fn follow(_: *mut c_void, _: *mut ThreadCtx, _: u32, copy: u32) {
    // SAFETY: the node owns the copy.
    unsafe { Packet::at(pool().base, copy) }.mark_traced();
}

unsafe extern "C" fn threads(_: *mut c_void, words: *mut u32) -> *const u64 {
    static THREADS: AtomicU64 = AtomicU64::new((1 << BENCH_THREADS) - 1);
    // SAFETY: the caller has room for a number.
    unsafe { words.write(1) };
    THREADS.as_ptr().cast_const()
}

unsafe extern "C" fn now(_: *const HostTable) -> u64 {
    0
}
