//! What a process runs, and the stack it runs on.
#![expect(unsafe_code, reason = "code without an argument for it suspends the process that runs")]

use std::{cell::Cell, ffi::c_void, ptr};

use gristmill_abi::{Status, process::DelayedEvent};

use super::{Coroutine, Stack, Suspend, scheduler::Woken};

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its body returned.
    Done,
    /// It returned that it failed, and why.
    Failed(String),
    /// It panicked, which was contained, and said this.
    Panicked(String),
    /// It was told to end, and did.
    Cancelled,
    /// It was told to end, and waited on: its frames stay where they are.
    Parked,
}

/// What a process runs. Context: main, on the process's stack.
pub trait Body {
    /// Runs from the begin to the end; may wait. Called again where the process begins again.
    fn run(&mut self) -> Ending;
}

/// What is called when an event's time has come, with true, or when it never will.
pub enum Deliver {
    /// A function of the host's.
    Own(Box<dyn FnOnce(bool)>),
    /// A plugin's.
    Plugin(PluginDeliver),
}

/// A plugin's function for that, with its arguments.
#[derive(Debug)]
pub struct PluginDeliver {
    function: unsafe extern "C" fn(data: *mut c_void, token: u64, happened: u32) -> Status,
    data: *mut c_void,
    token: u64,
}

impl PluginDeliver {
    /// The function of an event.
    ///
    /// # Safety
    /// It may be called with its arguments, once, on main, until the event is revoked.
    pub unsafe fn of(event: &DelayedEvent) -> Self {
        Self { function: event.deliver, data: event.data, token: event.token }
    }
}

impl Deliver {
    /// Calls it.
    pub fn call(self, happened: bool) {
        match self {
            Self::Own(function) => function(happened),
            Self::Plugin(PluginDeliver { function, data, token }) => {
                // SAFETY: by the promise of who made it; it is gone with this.
                unsafe { function(data, token, happened.into()) };
            }
        }
    }
}

impl std::fmt::Debug for Deliver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deliver")
    }
}

/// What is left of a run.
pub(super) struct Finished {
    /// For another run.
    pub(super) body: Box<dyn Body>,
    pub(super) ending: Ending,
}

/// A process's frames; boxed, for they are taken out and put back at each resume.
pub(super) type Fiber = Box<Coroutine<Woken, (), Finished>>;

thread_local! {
    /// How the process that runs on this thread suspends itself; null if none runs.
    static CURRENT: Cell<*const Suspend<Woken, ()>> = const { Cell::new(ptr::null()) };
    /// What of the host's is on the stack between the process and here, and must not be suspended.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, the process that runs cannot be suspended: something of the host's is borrowed,
/// or locked, further up its stack.
#[derive(Debug)]
pub struct Hold(());

impl Hold {
    /// Begins.
    #[inline]
    pub fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Self(())
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

/// Whether a process runs on this thread that can be suspended here.
#[inline]
pub(super) fn can_suspend() -> bool {
    !CURRENT.get().is_null() && HELD.get() == 0
}

/// Frames on a stack that will run `body`.
pub(super) fn fiber(stack: Stack, mut body: Box<dyn Body>, label: &str) -> Fiber {
    let run = move |suspend: &Suspend<Woken, ()>, _: Woken| {
        CURRENT.set(suspend);
        let ending = body.run();
        Finished { body, ending }
    };
    Box::new(Coroutine::new(stack, run).labelled(label))
}

/// Suspends the process that runs, until it is resumed with what woke it.
///
/// # Panics
/// If it [cannot](can_suspend) be.
#[inline]
pub(super) fn suspend() -> Woken {
    assert!(can_suspend(), "only a process that runs, with nothing held, is suspended");
    let own = CURRENT.get();
    // SAFETY: set by the body of the coroutine that runs, whose header stays as long as its frames,
    // and this is one of them.
    let woken = unsafe { &*own }.suspend(());
    CURRENT.set(own);
    woken
}

/// Runs a process until it suspends itself or ends.
#[inline]
pub(super) fn resume(fiber: &mut Fiber, woken: Woken) -> super::Step<(), Finished> {
    // What is held is held by whoever resumes it, not by what it does.
    let (outer, held) = (CURRENT.get(), HELD.replace(0));
    let step = fiber.resume(woken);
    HELD.set(held);
    CURRENT.set(outer);
    step
}
