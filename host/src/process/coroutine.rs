//! Coroutines: a body on a stack of its own that suspends itself anywhere and is resumed there.
//!
//! ```text
//!          new            resume                 the body returns or panics
//!  (stack) ───▶ ready ─────────────▶ running ────────────────────────────────▶ ended
//!                 │                  ▲     │                                     │
//!                 │           resume │     │ suspend                             │
//!                 │                  │     ▼                                     │
//!                 │                suspended ──▶ Parked: never runs again        │
//!                 ▼                into_stack, drop                              ▼
//!              Stack ◀─────────────────────── into_stack ─────────────────────── Stack
//! ```
//!
//! A suspended body is never unwound: its frames may be a plugin's, and an unwinding that began in the
//! host aborts when it comes to a plugin's shim or to an `extern "C"` frame. A body is run to its
//! end, or parked: its frames stay where they are, nothing in them is dropped, and it is counted.
//!
//! A panic of the body ends it and comes out as a value. What runs below the body and is not the host's
//! catches its own.
//!
//! A coroutine stays on the thread that made it, for its frames may hold addresses of thread-locals:
//!
//! ```compile_fail
//! fn elsewhere<T: Send>() {}
//! elsewhere::<gristmill::process::Coroutine<(), ()>>();
//! ```
#![expect(unsafe_code, reason = "runs code on stacks of its own making")]

use std::{
    any::Any,
    cell::Cell,
    fmt,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    process::abort,
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    overflow::{self, Running},
    stack::Stack,
    switch::{prepare, switch},
};

/// Bytes at the base of a stack that a header may take.
const HEADER_MAX: usize = 2048;

static PARKED: AtomicUsize = AtomicUsize::new(0);
static PARKED_BYTES: AtomicUsize = AtomicUsize::new(0);

type Body<I, O, R> = Box<dyn FnOnce(&Suspend<I, O>, I) -> R>;

/// What a resumed coroutine did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<O, R> {
    /// It suspended itself with this.
    Suspended(O),
    /// Its body returned this, or panicked. It cannot be resumed again.
    Ended(Result<R, PanicText>),
}

/// What a panic said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicText(pub String);

impl fmt::Display for PanicText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A body on a stack of its own: takes `I` at each resume, gives `O` at each suspend and `R` at its
/// end.
///
/// Context: the thread that made it.
pub struct Coroutine<I: 'static, O: 'static, R: 'static = ()> {
    /// Where the header and the frames are.
    stack: ManuallyDrop<Stack>,
    /// At the base of the stack, and initialised, as long as this lives.
    header: NonNull<Header<I, O, R>>,
    /// What `header.suspend.running` refers to; counted, for others may look at what moves.
    label: ManuallyDrop<Arc<str>>,
}

/// How a body suspends itself; at one address from its first resume to its end, so that code without
/// an argument for it may keep a `*const Suspend`.
#[repr(C)]
pub struct Suspend<I, O> {
    running: Running,
    /// Stack pointer of the coroutine, while it does not run.
    own: Cell<*mut u8>,
    /// Stack pointer of whoever resumed it, while it runs.
    resumer: Cell<*mut u8>,
    input: Cell<Option<I>>,
    output: Cell<Option<O>>,
}

/// What is at the base of a stack.
#[repr(C, align(64))]
struct Header<I: 'static, O: 'static, R: 'static> {
    suspend: Suspend<I, O>,
    /// Until the first resume.
    body: Cell<Option<Body<I, O, R>>>,
    /// From the end until the last resume returns.
    ending: Cell<Option<Result<R, PanicText>>>,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Begun,
    Ended,
}

impl<I: 'static, O: 'static> Suspend<I, O> {
    /// Leaves the body: the resume that runs it returns `output`. Returns what the next resume brings.
    ///
    /// May be called however deep below the body, but not while a panic unwinds. Never returns if
    /// the coroutine is parked.
    ///
    /// # Panics
    /// If the coroutine is not the one that runs on this thread.
    #[inline]
    pub fn suspend(&self, output: O) -> I {
        assert!(overflow::is_current(&self.running), "only the coroutine that runs can suspend");
        self.output.set(Some(output));
        // SAFETY: a resume, on this thread, saved its stack pointer and waits for this; the header
        // stays as long as the frames do.
        unsafe { switch(self.own.as_ptr(), self.resumer.get(), ptr::null()) };
        self.input.take().expect("a resume brings an input")
    }
}

impl<I: 'static, O: 'static, R: 'static> Coroutine<I, O, R> {
    /// A coroutine that will run `body` on `stack` when it is first resumed, with the first input.
    pub fn new(stack: Stack, body: impl FnOnce(&Suspend<I, O>, I) -> R + 'static) -> Self {
        const {
            assert!(size_of::<Header<I, O, R>>() <= HEADER_MAX, "pass large values by pointer");
            assert!(align_of::<Header<I, O, R>>() == 64, "values are not aligned beyond a line");
        }
        let label: Arc<str> = "a coroutine".into();
        // A base is the end of a page, so that this is aligned too.
        let header = stack.base().wrapping_sub(size_of::<Header<I, O, R>>());
        // SAFETY: far inside the stack, which is ours, and aligned.
        let own = unsafe { prepare(header, begin::<I, O, R>) };
        let header: *mut Header<I, O, R> = header.cast();
        let content = Header {
            suspend: Suspend {
                running: Running::new(&stack, &label),
                own: Cell::new(own),
                resumer: Cell::new(ptr::null_mut()),
                input: Cell::new(None),
                output: Cell::new(None),
            },
            body: Cell::new(Some(Box::new(body))),
            ending: Cell::new(None),
            state: Cell::new(State::Ready),
        };
        // SAFETY: as above; what was there before is nobody's.
        unsafe { header.write(content) };
        let header = NonNull::new(header).expect("a stack is not at address 0");
        Self { stack: ManuallyDrop::new(stack), header, label: ManuallyDrop::new(label) }
    }

    /// Names it in the report of an overflow: `process "acme-poll" of plugin acme-dpi 1.2.0`.
    #[must_use]
    pub fn labelled(mut self, label: &str) -> Self {
        let label: Arc<str> = label.into();
        self.header().suspend.running.set_label(&label);
        *self.label = label;
        self
    }

    /// Runs the body until it suspends itself or ends.
    ///
    /// Cost: two switches, no system call, no allocation but at the first and the last.
    ///
    /// # Panics
    /// If it has ended.
    #[inline]
    pub fn resume(&mut self, input: I) -> Step<O, R> {
        let header = self.header();
        match header.state.get() {
            State::Begun => {}
            State::Ready => header.state.set(State::Begun),
            State::Ended => panic!("{} has ended and was resumed", self.label()),
        }
        header.suspend.input.set(Some(input));
        let previous = overflow::enter(&header.suspend.running);
        // SAFETY: the pointer was prepared by `new` or saved by `suspend`, on this thread, for the
        // type is not `Send`. `self` is borrowed, so that the stack stays and only one resume runs.
        unsafe {
            switch(
                header.suspend.resumer.as_ptr(),
                header.suspend.own.get(),
                ptr::from_ref(header).cast(),
            );
        }
        overflow::leave(previous);
        match header.suspend.output.take() {
            Some(output) => Step::Suspended(output),
            None => Step::Ended(header.ending.take().expect("a body that ends says how")),
        }
    }

    /// Whether the body waits in the middle: it can neither be dropped nor give its stack back.
    pub fn is_suspended(&self) -> bool {
        self.header().state.get() == State::Begun
    }

    /// Whether the body is over.
    pub fn is_ended(&self) -> bool {
        self.header().state.get() == State::Ended
    }

    /// What [`labelled`](Self::labelled) said.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The stack that it has.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The stack, for a pool, of a body that has ended or never begun.
    ///
    /// # Errors
    /// [`Parked`] if the body is suspended.
    pub fn into_stack(self) -> Result<Stack, Parked> {
        ManuallyDrop::new(self).end()
    }

    fn header(&self) -> &Header<I, O, R> {
        // SAFETY: initialised by `new`, and on a stack that is as long there as this value. All
        // that changes in it is in cells, of this thread.
        unsafe { self.header.as_ref() }
    }

    /// Takes the parts out; the value must not be used or dropped afterwards.
    fn end(&mut self) -> Result<Stack, Parked> {
        let suspended = self.is_suspended();
        // SAFETY: taken once, for the caller forgets the value.
        let stack = unsafe { ManuallyDrop::take(&mut self.stack) };
        // SAFETY: as above.
        let label = unsafe { ManuallyDrop::take(&mut self.label) };
        if suspended {
            return Err(Parked::new(stack, label));
        }
        // SAFETY: initialised, dropped once, and no frame is left that knows it.
        unsafe { self.header.drop_in_place() };
        Ok(stack)
    }
}

impl<I: 'static, O: 'static, R: 'static> Drop for Coroutine<I, O, R> {
    /// Parks a suspended body for good.
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl<I: 'static, O: 'static, R: 'static> fmt::Debug for Coroutine<I, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine")
            .field("label", &self.label())
            .field("state", &self.header().state.get())
            .field("stack", &*self.stack)
            .finish_non_exhaustive()
    }
}

impl<I, O> fmt::Debug for Suspend<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspend").finish_non_exhaustive()
    }
}

/// The first and last frame of a body.
///
/// # Safety
/// `header` is the header of the coroutine that is resumed for the first time.
unsafe extern "C" fn begin<I: 'static, O: 'static, R: 'static>(header: *const ()) -> ! {
    // SAFETY: as the caller says; a header stays as long as the stack, on which this runs.
    let header = unsafe { &*header.cast::<Header<I, O, R>>() };
    let body = header.body.take().expect("the body is there until it begins");
    let input = header.suspend.input.take().expect("a resume brings an input");
    // What the body leaves in a bad state by a panic is its own; all else it shares by cells or locks.
    let result = catch_unwind(AssertUnwindSafe(|| body(&header.suspend, input)));
    header.ending.set(Some(result.map_err(PanicText::new)));
    header.state.set(State::Ended);
    // SAFETY: as in `suspend`. Nothing in this frame is left to drop: nobody comes back.
    unsafe { switch(header.suspend.own.as_ptr(), header.suspend.resumer.get(), ptr::null()) };
    abort();
}

impl PanicText {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a panic without a text".to_owned()
        };
        // A payload may panic when it is dropped, and the payload of that once more: enough of it.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
        Self(text)
    }
}

/// A body that was suspended and will not be resumed. When this is dropped its stack, and whatever
/// its frames own, stays for good.
#[derive(Debug)]
#[must_use = "dropped, its stack is kept for good"]
pub struct Parked {
    stack: ManuallyDrop<Stack>,
    label: Arc<str>,
}

/// All bodies that are parked in this process, and the memory that they may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedTotals {
    /// Bodies.
    pub count: usize,
    /// Usable bytes of their stacks; what is touched of them is in memory.
    pub bytes: usize,
}

impl Parked {
    fn new(stack: Stack, label: Arc<str>) -> Self {
        PARKED.fetch_add(1, Ordering::Relaxed);
        PARKED_BYTES.fetch_add(stack.size(), Ordering::Relaxed);
        Self { stack: ManuallyDrop::new(stack), label }
    }

    /// All that are parked. Any thread.
    pub fn totals() -> ParkedTotals {
        ParkedTotals {
            count: PARKED.load(Ordering::Relaxed),
            bytes: PARKED_BYTES.load(Ordering::Relaxed),
        }
    }

    /// What the coroutine was labelled.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The stack that it keeps.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Takes the stack away from under the frames, of which nothing is dropped.
    ///
    /// # Safety
    /// Nothing refers to anything in the frames any more: no list has an element there, no thread
    /// was lent a local, nothing is pinned there, no lock's guard is there that somebody waits for.
    pub unsafe fn reclaim(mut self) -> Stack {
        PARKED.fetch_sub(1, Ordering::Relaxed);
        PARKED_BYTES.fetch_sub(self.stack.size(), Ordering::Relaxed);
        // SAFETY: taken once, for `self` ends here and does not drop it.
        unsafe { ManuallyDrop::take(&mut self.stack) }
    }
}

#[cfg(test)]
mod tests;
