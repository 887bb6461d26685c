//! A call to main: a function and its arguments, as bytes.
#![expect(unsafe_code, reason = "carries a plugin's arguments as bytes to the plugin's function")]

use std::{
    ffi::c_void,
    fmt,
    mem::{ManuallyDrop, MaybeUninit, forget},
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{
    Status,
    host::{CALL_ALIGN, CALL_ARGUMENTS, CALL_CANCELLED, CALL_RUN, CallFn},
};

use crate::{graph::Owner, time::Nanos};

/// Bytes that only the function understands.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Arguments([MaybeUninit<u8>; CALL_ARGUMENTS]);

const _: () = assert!(align_of::<Arguments>() == CALL_ALIGN);

/// A call to main. Its function is called once: with `CALL_RUN`, or, when this is dropped, with
/// `CALL_CANCELLED`, to drop the arguments.
pub struct Call {
    arguments: Arguments,
    function: CallFn,
    /// Whose it is.
    pub owner: Owner,
    /// It runs with the workers at the barrier.
    pub at_barrier: bool,
    /// Its sender does nothing until it has run.
    pub awaited: bool,
    /// Main left it in the queue.
    pub(super) of_main: bool,
    pub(super) sent: Nanos,
}

// SAFETY: the arguments may go to main, by the promise of whoever made the call.
unsafe impl Send for Call {}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call(of {:?})", self.owner)
    }
}

type Closure = Box<dyn FnOnce() + Send>;

impl Call {
    /// A call of `closure`, on behalf of `owner`.
    pub fn new(owner: Owner, closure: impl FnOnce() + Send + 'static) -> Self {
        const { assert!(size_of::<Closure>() <= CALL_ARGUMENTS && align_of::<Closure>() <= CALL_ALIGN) };
        let closure = ManuallyDrop::new(Box::new(closure) as Closure);
        let bytes = (&raw const closure).cast();
        // SAFETY: `run_closure` takes these bytes for the closure, which is `Send` and is not
        // dropped here.
        unsafe { Self::copied(owner, run_closure, bytes, size_of::<Closure>()) }
    }

    /// A call of `function` with a copy of `size` bytes of arguments, at most [`CALL_ARGUMENTS`].
    ///
    /// # Safety
    /// There are so many bytes; the function understands them, on main, and catches its panics. They
    /// are the call's from now on, or the caller's again after [`give_back`](Self::give_back).
    ///
    /// # Panics
    /// If there are too many.
    pub unsafe fn copied(
        owner: Owner,
        function: CallFn,
        bytes: *const c_void,
        size: usize,
    ) -> Self {
        assert!(size <= CALL_ARGUMENTS, "{size} bytes of arguments");
        let mut arguments = Arguments([MaybeUninit::uninit(); CALL_ARGUMENTS]);
        let room = arguments.0.as_mut_ptr();
        if size > 0 {
            // SAFETY: there are so many bytes, by the caller's promise, and the room is our own.
            unsafe { room.copy_from_nonoverlapping(bytes.cast(), size) };
        }
        Self {
            arguments,
            function,
            owner,
            at_barrier: false,
            awaited: false,
            of_main: false,
            sent: Nanos(0),
        }
    }

    /// Runs the function. Main.
    pub(super) fn run(self) -> Status {
        self.end(CALL_RUN)
    }

    /// Calls the function with one of the `CALL_*`. Main.
    pub(super) fn end(self, what: u32) -> Status {
        let mut this = ManuallyDrop::new(self);
        this.call(what)
    }

    /// The arguments are the sender's again: nothing is called.
    pub fn give_back(self) {
        forget(self);
    }

    fn call(&mut self, what: u32) -> Status {
        let arguments = (&raw mut self.arguments).cast();
        // SAFETY: by the promise of `copied`; this is its one call, as the two callers see to.
        unsafe { (self.function)(arguments, what) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.call(CALL_CANCELLED);
    }
}

unsafe extern "C" fn run_closure(arguments: *mut c_void, what: u32) -> Status {
    // SAFETY: `new` put it there, and it is taken once.
    let closure = unsafe { arguments.cast::<Closure>().read() };
    let work = || if what == CALL_RUN { closure() } else { drop(closure) };
    // The payload is leaked: dropping it might panic again.
    let ended = catch_unwind(AssertUnwindSafe(work)).map_err(forget);
    ended.map_or(Status::PANICKED, |()| Status::OK)
}
