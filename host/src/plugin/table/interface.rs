//! Service `interface`.

use std::ffi::c_void;

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    device::{INTERFACE_L3, InterfaceInfo, InterfaceSpec},
    host::InterfaceService,
};

use super::{answer, guard, host_of, passed};
use crate::{
    device::{Interface, InterfaceError, NewInterface},
    graph::Owner,
};

pub(super) static SERVICE: InterfaceService = InterfaceService {
    head: Head::of::<InterfaceService>(),
    create,
    delete,
    info,
    find,
    next,
    set_admin,
    set_link,
};

unsafe extern "C" fn create(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const InterfaceSpec<'_>,
    index: *mut u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a specification, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    let made = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
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
        Ok::<_, InterfaceError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, made) }
}

unsafe extern "C" fn delete(
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

unsafe extern "C" fn info(context: *mut c_void, index: u32, info: *mut InterfaceInfo) -> Status {
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

unsafe extern "C" fn find(context: *mut c_void, name: Str<'_>, index: *mut u32) -> Status {
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

unsafe extern "C" fn next(context: *mut c_void, from: u32, index: *mut u32) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let Some(next) = host.interfaces.read().next(from) else { return Status::MISSING };
        // SAFETY: the plugin passes room for it.
        unsafe { index.write(next) };
        Status::OK
    })
}

unsafe extern "C" fn set_admin(
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

unsafe extern "C" fn set_link(
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
