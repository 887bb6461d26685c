//! Typed events: what is signalled to a process waits in a mailbox until the process takes it.

#![expect(
    clippy::disallowed_types,
    reason = "parking_lot is the host's; nothing here is modelled with loom"
)]

use core::{ffi::c_void, fmt, marker::PhantomData, mem, task::Waker, time::Duration};
use std::{
    cell::Cell,
    collections::{VecDeque, vec_deque},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gristmill_abi::{Head, Status, process::DelayedEvent};

use super::{Process, Reference, Service};
use crate::{Error, Host, plugin::contain};

/// A type of event, not listened for yet: where it is sent, and where it is taken.
pub fn event<T: Send + 'static>() -> (Sender<T>, Events<T>) {
    let mailbox = Arc::new(Mailbox { state: Mutex::new(State::default()) });
    (
        Sender { mailbox: Arc::clone(&mailbox) },
        Events { mailbox, taken: VecDeque::new(), bit: 0, run: 0 },
    )
}

/// Signals events to a process. Any thread; cheap to clone.
pub struct Sender<T> {
    mailbox: Arc<Mailbox<T>>,
}

/// The process has ended: what was sent comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<T>(pub T);

/// Events of one type, on their process's side.
pub struct Events<T> {
    mailbox: Arc<Mailbox<T>>,
    /// Room that is exchanged with the mailbox's, so that no batch allocates.
    taken: VecDeque<T>,
    /// Of the process that listens; 0 before.
    bit: u64,
    /// In which of its runs.
    run: u64,
}

struct Mailbox<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    queue: VecDeque<T>,
    listener: Option<Listener>,
    /// Events that happen later, by token.
    delayed: Vec<Option<T>>,
    free: Vec<usize>,
    /// Who awaits the next one.
    waker: Option<Waker>,
}

struct Listener {
    process: Reference,
    number: u32,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        let (queue, delayed, free) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { queue, listener: None, delayed, free, waker: None }
    }
}

impl<T> Mailbox<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("bit", &self.bit).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Signals an event. Any thread: a node's, a timer's, a device's. An event that comes before
    /// the process listens waits for it.
    ///
    /// Cost: no allocation once the mailbox has been as full before; a lock of the mailbox alone.
    ///
    /// # Errors
    /// [`Ended`], with the event, if the process has ended.
    #[inline]
    pub fn send(&self, event: T) -> Result<(), Ended<T>> {
        let mut state = self.mailbox.lock();
        state.queue.push_back(event);
        let waker = state.waker.take();
        let listener = state.listener.as_ref();
        let ended = listener.is_some_and(|listener| !listener.process.signal(1 << listener.number));
        let refused = if ended { state.queue.pop_back() } else { None };
        drop(state); // A waker is anybody's code.
        if let Some(waker) = waker {
            waker.wake();
        }
        refused.map_or(Ok(()), |event| Err(Ended(event)))
    }

    /// Signals an event later; it happens even if what this returns is dropped. Main.
    ///
    /// # Errors
    /// If no process listens yet, or this is not main.
    pub fn send_later(&self, host: &Host, event: T, delay: Duration) -> Result<Delayed, Error> {
        let mut state = self.mailbox.lock();
        let listener = state.listener.as_ref().ok_or("no process listens for the event yet")?;
        let (process, number) = (listener.process.clone(), listener.number);
        let token = state.free.pop().unwrap_or_else(|| {
            state.delayed.push(None);
            state.delayed.len() - 1
        });
        state.delayed[token] = Some(event);
        drop(state);
        let spec = DelayedEvent {
            head: Head::of::<DelayedEvent>(),
            process: process.process,
            events: 1 << number,
            delay_ns: u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX),
            deliver: deliver::<T>,
            data: Arc::into_raw(Arc::clone(&self.mailbox)).cast_mut().cast(),
            token: token as u64,
        };
        let made = signal_later(host, process.service, &spec);
        if made.is_err() {
            // SAFETY: the host did not take it.
            unsafe { deliver::<T>(spec.data, spec.token, 0) };
        }
        made
    }
}

pub(super) fn signal_later(
    host: &Host,
    service: Service,
    spec: &DelayedEvent,
) -> Result<Delayed, Error> {
    let mut id = 0;
    host.call(|error| {
        // SAFETY: all pointers are good for the call.
        unsafe {
            (service.table.signal_later)(service.context, host.plugin, spec, &raw mut id, error)
        }
    })?;
    Ok(Delayed { service, id, main: PhantomData })
}

/// An event's time has come, or never will.
///
/// # Safety
/// `data` is a count of a `Mailbox<T>`, which ends with this.
unsafe extern "C" fn deliver<T>(data: *mut c_void, token: u64, happened: u32) -> Status {
    // SAFETY: by the caller's promise.
    let mailbox = unsafe { Arc::from_raw(data.cast::<Mailbox<T>>()) };
    let take = || {
        let mut state = mailbox.lock();
        let token = usize::try_from(token).ok()?;
        let event = state.delayed.get_mut(token)?.take()?;
        state.free.push(token);
        if happened == 0 {
            drop(state); // The event's own drop may send another.
            return Some(event);
        }
        state.queue.push_back(event);
        let waker = state.waker.take();
        drop(state); // A waker is anybody's code.
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    };
    contain(move || drop(take())).map_or(Status::PANICKED, |()| Status::OK)
}

/// An event that happens later.
#[derive(Debug)]
pub struct Delayed {
    service: Service,
    id: u64,
    main: PhantomData<*mut ()>,
}

impl Delayed {
    /// Takes the event back; false if it has happened.
    pub fn take_back(self) -> bool {
        // SAFETY: on main, where it was made; a number that is gone is refused.
        unsafe { (self.service.table.take_back)(self.service.context, self.id) }.is_ok()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl Process {
    /// Listens for a type of event from now on; what was sent before is there already.
    ///
    /// # Errors
    /// If another process listens for it, or there are too many types.
    pub fn listen<T: Send + 'static>(
        &mut self,
        name: &str,
        events: &mut Events<T>,
    ) -> Result<(), Error> {
        let own = self.reference();
        let mut state = events.mailbox.lock();
        let before = state.listener.as_ref();
        if before.is_some_and(|listener| listener.process.process != own.process) {
            return Err(format!("another process listens for {name}").into());
        }
        if before.is_some() && events.run == self.run {
            return Ok(()); // It does already.
        }
        let number = self.event_number(before.map(|listener| listener.number))?;
        // SAFETY: a reference that is held.
        unsafe {
            (self.service.table.name_event)(self.service.context, own.process, number, name.into())
        };
        if !state.queue.is_empty() {
            own.signal(1 << number);
        }
        state.listener = Some(Listener { process: own, number });
        drop(state);
        (events.bit, events.run) = (1 << number, self.run);
        Ok(())
    }

    /// An event that happens once: whoever has the first part may signal it, to this process.
    ///
    /// # Errors
    /// If there are too many types of events.
    pub fn one_time<T: Send + 'static>(&mut self, name: &str) -> Result<OneTime<T>, Error> {
        let (sender, mut events) = event();
        self.listen(name, &mut events)?;
        Ok(OneTime { sender: Some(sender), events, over: Rc::clone(&self.over) })
    }
}

impl<T> Events<T> {
    /// Takes all that have happened, in the order in which they were sent.
    ///
    /// Context: the process that listens. Cost: no allocation.
    pub fn take<'a>(&'a mut self, process: &'a Process) -> Batch<'a, T> {
        debug_assert!(self.bit == 0 || self.bit & process.listening != 0, "another's events");
        mem::swap(&mut self.mailbox.lock().queue, &mut self.taken);
        Batch { events: self.taken.drain(..), process: PhantomData }
    }

    /// How many have happened and were not taken.
    pub fn len(&self) -> usize {
        self.mailbox.lock().queue.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Panics
    /// If no process listens for it.
    pub(super) fn bit(&self) -> u64 {
        assert!(self.bit != 0, "a process listens for an event before it waits for it");
        self.bit
    }

    /// Takes the first that has happened, or has `waker` woken by the next.
    pub(super) fn poll(&mut self, waker: &Waker) -> Option<T> {
        let mut state = self.mailbox.lock();
        let first = state.queue.pop_front();
        if first.is_none() {
            state.waker = Some(waker.clone());
        }
        first
    }
}

/// Events that have happened, until the process waits.
#[derive(Debug)]
pub struct Batch<'a, T> {
    events: vec_deque::Drain<'a, T>,
    process: PhantomData<&'a Process>,
}

impl<T> Iterator for Batch<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.events.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.events.size_hint()
    }
}

impl<T> ExactSizeIterator for Batch<'_, T> {}

/// An event that happens once; its number is free again when this is dropped.
#[derive(Debug)]
pub struct OneTime<T: Send + 'static> {
    sender: Option<Sender<T>>,
    events: Events<T>,
    over: Rc<Cell<u64>>,
}

impl<T: Send + 'static> Drop for OneTime<T> {
    fn drop(&mut self) {
        self.over.set(self.over.get() | self.events.bit);
    }
}

impl<T: Send + 'static> OneTime<T> {
    /// The right to signal it, once: `None` the second time.
    pub fn sender(&mut self) -> Option<impl FnOnce(T) -> Result<(), Ended<T>> + Send + use<T>> {
        let sender = self.sender.take()?;
        Some(move |event| sender.send(event))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// [`Cancelled`](super::Cancelled) if the process is to end.
    pub fn wait(mut self, process: &mut Process) -> Result<T, super::Cancelled> {
        loop {
            let first = self.events.take(process).next();
            if let Some(event) = first {
                return Ok(event);
            }
            process.wait_for(&self.events)?;
        }
    }
}
