//! Service `rpc`: calls of plugins to main.

use std::ffi::c_void;

use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::PluginHandle,
    host::{
        CALL_ARGUMENTS, CALL_AT_BARRIER, CALL_CLOSED, CALL_FULL, CALL_MUST_NOT_WAIT,
        CALL_WAIT_FOR_REPLY, CALL_WAIT_FOR_ROOM, CallSpec, RpcService,
    },
};

use super::{guard, host_of, passed};
use crate::{
    engine::rpc::{Call, Reason, Refused},
    graph::Owner,
};

pub(super) static SERVICE: RpcService =
    RpcService { head: Head::of::<RpcService>(), call, may_wait };

unsafe extern "C" fn call(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const CallSpec,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a call, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes room for an error.
        let error = unsafe { &mut *error };
        if spec.size as usize > CALL_ARGUMENTS {
            error.set(&format!("{} bytes of arguments are too many", spec.size));
            return Status::FAILED;
        }
        let flag = |flag| spec.flags & flag != 0;
        if flag(CALL_WAIT_FOR_REPLY) && !host.may_control() && !host.may_wait() {
            return CALL_MUST_NOT_WAIT;
        }
        // SAFETY: the plugin passes so many bytes, which are the function's.
        let mut call = unsafe {
            Call::copied(Owner(plugin), spec.function, spec.arguments, spec.size as usize)
        };
        call.at_barrier = flag(CALL_AT_BARRIER);
        call.awaited = flag(CALL_WAIT_FOR_REPLY);
        let Err(Refused { call, reason }) = host.call_main(call, flag(CALL_WAIT_FOR_ROOM)) else {
            return Status::OK;
        };
        call.give_back();
        error.set(&reason.to_string());
        match reason {
            Reason::Full => CALL_FULL,
            Reason::Closed => CALL_CLOSED,
            Reason::Barrier(_) => Status::FAILED,
        }
    })
}

unsafe extern "C" fn may_wait(context: *mut c_void) -> u32 {
    // SAFETY: the plugin passes the context it was given.
    unsafe { host_of(context) }.may_wait().into()
}
