//! What plugins call: the host's table and its services, each function of which catches its own
//! panics and checks what it is given.
#![expect(unsafe_code, reason = "called by plugins, with what they have")]

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::{PluginHandle, ServiceRef},
    device::{INTERFACE_L3, InterfaceInfo, InterfaceSpec},
    frame::{NodeRuntime, ThreadCtx},
    host::{ALL_INTERFACES, BufferService, GraphService, HostTable, InterfaceService, log_level},
};
use semver::{Version, VersionReq};

use crate::{
    device::{Interface, NewInterface},
    engine::Thread,
    graph::{NodeIndex, Owner},
    host::Host,
    log::Level,
};

/// Version of the host's own services.
const SERVICE_VERSION: Version = Version::new(1, 0, 0);

/// The table of `host`.
pub fn host_table(host: &'static Host) -> &'static HostTable {
    Box::leak(Box::new(HostTable {
        head: Head::of::<HostTable>(),
        shared: std::ptr::from_ref(host).cast(),
        log,
        service,
        buffer_alloc,
        buffer_free,
        buffer_release,
        enqueue,
        now,
        reserved: [std::ptr::null(); 2],
    }))
}

static INTERFACE: InterfaceService = InterfaceService {
    head: Head::of::<InterfaceService>(),
    create: interface_create,
    delete: interface_delete,
    info: interface_info,
    find: interface_find,
    next: interface_next,
    set_admin: interface_set_admin,
    set_link: interface_set_link,
};

static GRAPH: GraphService =
    GraphService { head: Head::of::<GraphService>(), add_next: graph_add_next, set_feature };

static BUFFER: BufferService = BufferService { head: Head::of::<BufferService>(), slot };

/// Runs the host's side of a call; a panic of ours must not cross into the plugin.
fn guard(call: impl FnOnce() -> Status) -> Status {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Status::PANICKED)
}

/// As [`guard`], with the reason of a failure written for the plugin.
///
/// # Safety
/// `error` is null or has room.
unsafe fn answer<E: std::fmt::Display>(
    error: *mut ErrorText,
    call: impl FnOnce() -> Result<(), E>,
) -> Status {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    let (status, text) = match outcome {
        Ok(Ok(())) => return Status::OK,
        Ok(Err(reason)) => (Status::FAILED, reason.to_string()),
        Err(_) => (Status::PANICKED, "the host panicked; its log has the message".to_owned()),
    };
    // SAFETY: by the caller's promise.
    if let Some(error) = unsafe { error.as_mut() } {
        error.set(&text);
    }
    status
}

/// The host behind a table or a service's context.
///
/// # Safety
/// `shared` is what [`host_table`] stored.
unsafe fn host_of<'a>(shared: *const c_void) -> &'a Host {
    // SAFETY: by the caller's promise; the host lives as long as the process.
    unsafe { &*shared.cast::<Host>() }
}

fn level_of(number: u32) -> Level {
    match number {
        log_level::ERROR => Level::Error,
        log_level::WARN => Level::Warn,
        log_level::NOTICE => Level::Notice,
        _ => Level::Debug,
    }
}

unsafe extern "C" fn log(
    table: *const HostTable,
    plugin: PluginHandle,
    level: u32,
    text: Str<'_>,
) {
    guard(|| {
        // SAFETY: the plugin passes the table it was given.
        let shared = unsafe { (*table).shared };
        // SAFETY: as above.
        let host = unsafe { host_of(shared) };
        let name = host.listeners.lock().name(Owner(plugin));
        let class = if plugin == 0 { "plugin" } else { name.as_str() };
        host.log.write(level_of(level), class, text.as_str());
        Status::OK
    });
}

unsafe extern "C" fn service(
    table: *const HostTable,
    _: PluginHandle,
    name: Str<'_>,
    range: Str<'_>,
    found: *mut ServiceRef,
    error: *mut ErrorText,
) -> Status {
    let find = || {
        // SAFETY: the plugin passes the table it was given.
        let shared = unsafe { (*table).shared };
        // SAFETY: as above.
        let host = unsafe { host_of(shared) };
        let (name, range) = (name.as_str(), range.as_str());
        let service = match own_service(name) {
            Some(table) => {
                let wanted = VersionReq::parse(range).map_err(|error| error.to_string())?;
                if !wanted.matches(&SERVICE_VERSION) {
                    return Err(format!("the host offers {name} in version {SERVICE_VERSION}"));
                }
                ServiceRef { table, context: shared.cast_mut() }
            }
            None => {
                host.services.lock().find(name, range).map_err(|error| error.to_string())?
            }
        };
        // SAFETY: the plugin passes room for it.
        unsafe { found.write(service) };
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, find) }
}

fn own_service(name: &str) -> Option<*const c_void> {
    match name {
        "interface" => Some((&raw const INTERFACE).cast()),
        "graph" => Some((&raw const GRAPH).cast()),
        "buffer" => Some((&raw const BUFFER).cast()),
        _ => None,
    }
}

unsafe extern "C" fn buffer_alloc(ctx: *mut ThreadCtx, indices: *mut u32, n: u32) -> u32 {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the caller has room for `n` indices.
    let indices = unsafe { std::slice::from_raw_parts_mut(indices, n as usize) };
    let got = catch_unwind(AssertUnwindSafe(|| thread.cache.alloc(indices)));
    u32::try_from(got.unwrap_or(0)).unwrap_or(0)
}

unsafe extern "C" fn buffer_free(ctx: *mut ThreadCtx, indices: *const u32, n: u32) {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(indices, n as usize) };
    guard(|| {
        thread.cache.free(indices);
        Status::OK
    });
}

unsafe extern "C" fn buffer_release(table: *const HostTable, index: u32) {
    guard(|| {
        // SAFETY: the plugin passes the table it was given.
        let shared = unsafe { (*table).shared };
        // SAFETY: as above.
        unsafe { host_of(shared) }.pool.release(index);
        Status::OK
    });
}

unsafe extern "C" fn enqueue(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    next: u32,
    indices: *const u32,
    n: u32,
) {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the node passes the runtime it was given.
    let index = NodeIndex(unsafe { (*node).node_index });
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(indices, n as usize) };
    guard(|| {
        thread.emit(index, next, indices);
        Status::OK
    });
}

unsafe extern "C" fn now(table: *const HostTable) -> u64 {
    // SAFETY: the plugin passes the table it was given.
    let shared = unsafe { (*table).shared };
    // SAFETY: as above.
    let host = unsafe { host_of(shared) };
    catch_unwind(AssertUnwindSafe(|| host.now().0)).unwrap_or(0)
}

unsafe extern "C" fn interface_create(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const InterfaceSpec<'_>,
    index: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let create = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a specification.
        let spec = unsafe { &*spec };
        let new = NewInterface {
            name: spec.name.as_str().to_owned(),
            class: spec.class.as_str().to_owned(),
            owner: Owner(plugin),
            mac: spec.mac,
            mtu: spec.mtu,
            flags: spec.flags,
            kernel_index: spec.kernel_index,
            rx_fds: spec.rx_queues.as_slice().iter().map(|queue| queue.fd).collect(),
            tx_queues: spec.tx_queues,
        };
        let created = host.create_interface(new, spec.device)?;
        // SAFETY: the plugin passes room for it.
        unsafe { index.write(created) };
        Ok::<_, crate::device::InterfaceError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, create) }
}

unsafe extern "C" fn interface_delete(
    context: *mut c_void,
    plugin: PluginHandle,
    index: u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, || host.delete_interface(index, Owner(plugin))) }
}

unsafe extern "C" fn interface_info(
    context: *mut c_void,
    index: u32,
    info: *mut InterfaceInfo,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let interfaces = host.interfaces.read();
        let Some(interface) = interfaces.get(index) else { return Status::MISSING };
        // SAFETY: the plugin passes room for an answer of the size its head says.
        unsafe { write_info(interface, info) }
    })
}

/// Fills in what the plugin's version of the structure has room for.
///
/// # Safety
/// `info` points to a head that says how much room there is.
unsafe fn write_info(interface: &Interface, info: *mut InterfaceInfo) -> Status {
    use std::sync::atomic::Ordering::Relaxed;
    // SAFETY: by the caller's promise.
    let head = unsafe { (*info).head };
    let mut name = [0; 64];
    let text = &interface.name.as_bytes()[..interface.name.len().min(63)];
    name[..text.len()].copy_from_slice(text);
    let full = InterfaceInfo {
        head,
        index: interface.index,
        flags: if interface.is_l3 { INTERFACE_L3 } else { 0 },
        mtu: interface.mtu,
        admin_up: interface.admin_up.load(Relaxed).into(),
        link_up: interface.link_up.load(Relaxed).into(),
        mac: interface.mac,
        reserved: [0; 2],
        name,
    };
    let size = (head.struct_size as usize).min(size_of::<InterfaceInfo>());
    // SAFETY: by the caller's promise there is room for `struct_size` bytes.
    unsafe { std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), info.cast(), size) };
    Status::OK
}

unsafe extern "C" fn interface_find(
    context: *mut c_void,
    name: Str<'_>,
    index: *mut u32,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let interfaces = host.interfaces.read();
        let Some(found) = interfaces.find(name.as_str()) else { return Status::MISSING };
        // SAFETY: the plugin passes room for it.
        unsafe { index.write(found.index) };
        Status::OK
    })
}

unsafe extern "C" fn interface_next(context: *mut c_void, from: u32, index: *mut u32) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let Some(next) = host.interfaces.read().next(from) else { return Status::MISSING };
        // SAFETY: the plugin passes room for it.
        unsafe { index.write(next) };
        Status::OK
    })
}

unsafe extern "C" fn interface_set_admin(
    context: *mut c_void,
    _: PluginHandle,
    index: u32,
    up: u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, || host.set_admin(index, up != 0)) }
}

unsafe extern "C" fn interface_set_link(
    context: *mut c_void,
    plugin: PluginHandle,
    index: u32,
    up: u32,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let found = host.interfaces.read().get(index).cloned();
        match found.filter(|interface| interface.owner == Owner(plugin)) {
            Some(interface) => {
                host.set_link(&interface, up != 0);
                Status::OK
            }
            None => Status::MISSING,
        }
    })
}

unsafe extern "C" fn graph_add_next(
    context: *mut c_void,
    _: PluginHandle,
    node: Str<'_>,
    target: Str<'_>,
    next: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let add = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let added = host.change_graph(|plan| plan.add_next(node.as_str(), target.as_str()))?;
        // SAFETY: the plugin passes room for it.
        unsafe { next.write(added.into()) };
        Ok::<_, crate::host::GraphError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, add) }
}

unsafe extern "C" fn set_feature(
    context: *mut c_void,
    _: PluginHandle,
    arc: Str<'_>,
    node: Str<'_>,
    interface: u32,
    on: u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let interface = (interface != ALL_INTERFACES).then_some(interface);
    let set = || {
        host.change_graph(|plan| plan.set_feature(arc.as_str(), node.as_str(), interface, on != 0))
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, set) }
}

unsafe extern "C" fn slot(
    context: *mut c_void,
    plugin: PluginHandle,
    name: Str<'_>,
    size: u32,
    align: u32,
    offset: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let reserve = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let reserved =
            host.slots.lock().reserve(name.as_str(), size, align, Owner(plugin))?;
        // SAFETY: the plugin passes room for it.
        unsafe { offset.write(reserved) };
        Ok::<_, super::slots::SlotError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, reserve) }
}
