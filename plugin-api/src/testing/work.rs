//! The bench's work queues: a thread for each, which runs one item at a time.

use core::ffi::c_void;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    work::{
        WORK_CLOSED, WORK_PENDING, WorkFn, WorkItemHandle, WorkItemSpec, WorkQueueHandle,
        WorkQueueSpec, WorkService,
    },
};

pub(super) static SERVICE: WorkService = WorkService {
    head: Head::of::<WorkService>(),
    create_queue,
    close_queue,
    destroy_queue,
    create_item,
    destroy_item,
    enqueue,
    enqueue_delayed,
    modify_delay,
    cancel,
    cancel_and_wait,
    flush,
    is_pending,
    flush_queue,
    drain: flush_queue,
    call,
};

/// What an item runs.
struct Work {
    run: WorkFn,
    data: *mut c_void,
    drop: WorkFn,
    once: bool,
}

// SAFETY: what the SDK makes items of is `Send`.
unsafe impl Send for Work {}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: called once, and nothing runs on the data any more.
        unsafe { (self.drop)(self.data) };
    }
}

impl Work {
    fn of(spec: &WorkItemSpec<'_>, once: bool) -> Self {
        Self { run: spec.run, data: spec.data, drop: spec.drop, once }
    }
}

#[derive(Default)]
struct State {
    /// Items by number; that which runs is not there.
    items: BTreeMap<u64, Option<Work>>,
    queued: VecDeque<u64>,
    running: Option<u64>,
    numbers: u64,
    closed: bool,
}

impl State {
    fn add(&mut self, work: Work) -> u64 {
        self.numbers += 1;
        self.items.insert(self.numbers, Some(work));
        self.numbers
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Item {
    shared: Arc<Shared>,
    number: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the lock")
    }

    fn wait_while(&self, waits: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), waits).expect("nothing panics with the lock")
    }

    /// Runs what is queued until the queue is closed.
    fn run(&self) {
        loop {
            let mut state = self.wait_while(|state| state.queued.is_empty() && !state.closed);
            let Some(number) = state.queued.pop_front() else { return };
            let Some(work) = state.items.get_mut(&number).and_then(Option::take) else { continue };
            state.running = Some(number);
            drop(state);
            // SAFETY: the data lives until `drop`, and only this thread runs it.
            let _ = unsafe { (work.run)(work.data) }; // A panic was contained, and said by the hook.
            let mut state = self.lock();
            state.running = None;
            let left = match state.items.get_mut(&number) {
                Some(place) if !work.once => place.replace(work),
                _ => {
                    state.items.remove(&number);
                    Some(work)
                }
            };
            drop(state);
            drop(left);
            self.changed.notify_all();
        }
    }

    /// Cancels all that is queued, waits for what runs, and ends the thread.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queued.clear();
        drop(state);
        self.changed.notify_all();
        drop(self.wait_while(|state| state.running.is_some()));
    }
}

/// # Safety
/// `queue` was made by `create_queue` and not destroyed.
unsafe fn queue_of<'a>(queue: WorkQueueHandle) -> &'a Queue {
    // SAFETY: by the caller's promise.
    unsafe { &*queue.cast::<Queue>() }
}

/// # Safety
/// `item` was made by `create_item` and not destroyed.
unsafe fn item_of<'a>(item: WorkItemHandle) -> &'a Item {
    // SAFETY: by the caller's promise.
    unsafe { &*item.cast::<Item>() }
}

unsafe extern "C" fn create_queue(
    _: *mut c_void,
    _: PluginHandle,
    spec: *const WorkQueueSpec<'_>,
    queue: *mut WorkQueueHandle,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the caller passes a specification.
    let name = unsafe { &*spec }.name.as_str().to_owned();
    let shared = Arc::<Shared>::default();
    let theirs = Arc::clone(&shared);
    match thread::Builder::new().name(name).spawn(move || theirs.run()) {
        Ok(thread) => {
            let made = Box::into_raw(Box::new(Queue { shared, thread: Some(thread) }));
            // SAFETY: the caller passes room for it.
            unsafe { queue.write(made.cast_const().cast()) };
            Status::OK
        }
        Err(reason) => {
            // SAFETY: the caller passes room for an error.
            unsafe { &mut *error }.set(&reason.to_string());
            Status::FAILED
        }
    }
}

unsafe extern "C" fn close_queue(
    _: *mut c_void,
    queue: WorkQueueHandle,
    _: *mut ErrorText,
) -> Status {
    // SAFETY: the caller passes a queue of its own.
    unsafe { queue_of(queue) }.shared.close();
    Status::OK
}

unsafe extern "C" fn destroy_queue(_: *mut c_void, queue: WorkQueueHandle) -> Status {
    // SAFETY: what `create_queue` gave away comes back, once.
    let mut queue = unsafe { Box::from_raw(queue.cast::<Queue>().cast_mut()) };
    queue.shared.close();
    let ended = queue.thread.take().is_none_or(|thread| thread.join().is_ok());
    if ended { Status::OK } else { Status::FAILED }
}

unsafe extern "C" fn create_item(
    _: *mut c_void,
    queue: WorkQueueHandle,
    spec: *const WorkItemSpec<'_>,
    item: *mut WorkItemHandle,
    _: *mut ErrorText,
) -> Status {
    // SAFETY: the caller passes a queue of its own.
    let shared = Arc::clone(&unsafe { queue_of(queue) }.shared);
    // SAFETY: the caller passes a specification.
    let number = shared.lock().add(Work::of(unsafe { &*spec }, false));
    let made = Box::into_raw(Box::new(Item { shared, number }));
    // SAFETY: the caller passes room for it.
    unsafe { item.write(made.cast_const().cast()) };
    Status::OK
}

unsafe extern "C" fn destroy_item(_: *mut c_void, item: WorkItemHandle) -> Status {
    // SAFETY: what `create_item` gave away comes back, once.
    let item = unsafe { Box::from_raw(item.cast::<Item>().cast_mut()) };
    item.cancel();
    let mut state = item.settled();
    let work = state.items.remove(&item.number);
    drop(state);
    drop(work);
    Status::OK
}

impl Item {
    fn cancel(&self) -> bool {
        let mut state = self.shared.lock();
        let before = state.queued.len();
        state.queued.retain(|&number| number != self.number);
        state.queued.len() != before
    }

    /// Neither queued nor running.
    fn settled(&self) -> MutexGuard<'_, State> {
        let number = self.number;
        self.shared.wait_while(|state| {
            state.running == Some(number) || (!state.closed && state.queued.contains(&number))
        })
    }
}

unsafe extern "C" fn enqueue(_: *mut c_void, item: WorkItemHandle) -> Status {
    // SAFETY: the caller passes an item of its own.
    let Item { shared, number } = unsafe { item_of(item) };
    let mut state = shared.lock();
    if state.closed {
        return WORK_CLOSED;
    }
    if state.queued.contains(number) {
        return WORK_PENDING;
    }
    state.queued.push_back(*number);
    drop(state);
    shared.changed.notify_all();
    Status::OK
}

/// The bench has no time that passes.
unsafe extern "C" fn enqueue_delayed(
    _: *mut c_void,
    _: WorkItemHandle,
    _: u64,
    _: Str<'_>,
    _: u32,
) -> Status {
    Status::FAILED
}

unsafe extern "C" fn modify_delay(
    _: *mut c_void,
    _: WorkItemHandle,
    _: u64,
    _: Str<'_>,
    _: u32,
    _: *mut u32,
) -> Status {
    Status::FAILED
}

unsafe extern "C" fn cancel(_: *mut c_void, item: WorkItemHandle) -> u32 {
    // SAFETY: the caller passes an item of its own.
    unsafe { item_of(item) }.cancel().into()
}

unsafe extern "C" fn cancel_and_wait(
    _: *mut c_void,
    item: WorkItemHandle,
    was_pending: *mut u32,
    _: *mut ErrorText,
) -> Status {
    // SAFETY: the caller passes an item of its own.
    let item = unsafe { item_of(item) };
    let pending = item.cancel();
    drop(item.settled());
    // SAFETY: the caller passes room for it.
    unsafe { was_pending.write(pending.into()) };
    Status::OK
}

unsafe extern "C" fn flush(_: *mut c_void, item: WorkItemHandle, _: *mut ErrorText) -> Status {
    // SAFETY: the caller passes an item of its own.
    drop(unsafe { item_of(item) }.settled());
    Status::OK
}

unsafe extern "C" fn is_pending(_: *mut c_void, item: WorkItemHandle) -> u32 {
    // SAFETY: the caller passes an item of its own.
    let Item { shared, number } = unsafe { item_of(item) };
    shared.lock().queued.contains(number).into()
}

unsafe extern "C" fn flush_queue(
    _: *mut c_void,
    queue: WorkQueueHandle,
    _: *mut ErrorText,
) -> Status {
    // SAFETY: the caller passes a queue of its own.
    let shared = &unsafe { queue_of(queue) }.shared;
    drop(shared.wait_while(|state| {
        state.running.is_some() || (!state.closed && !state.queued.is_empty())
    }));
    Status::OK
}

unsafe extern "C" fn call(
    _: *mut c_void,
    queue: WorkQueueHandle,
    spec: *const WorkItemSpec<'_>,
    _: *mut ErrorText,
) -> Status {
    // SAFETY: the caller passes a queue of its own.
    let shared = &unsafe { queue_of(queue) }.shared;
    let mut state = shared.lock();
    if state.closed {
        return WORK_CLOSED;
    }
    // SAFETY: the caller passes a specification.
    let number = state.add(Work::of(unsafe { &*spec }, true));
    state.queued.push_back(number);
    drop(state);
    shared.changed.notify_all();
    Status::OK
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use crate::{Queued, WorkQueueOptions, testing::host};

    #[test]
    fn items_run_in_order_on_a_thread_of_their_own_and_a_closed_queue_takes_none() {
        let queue = host().work_queue(WorkQueueOptions::new("test").ordered()).unwrap();
        let (sender, results) = mpsc::channel();
        let often = sender.clone();
        let item = queue.item("item", move || often.send(0).unwrap()).unwrap();
        assert_eq!(item.queue(), Queued::Now);
        for number in 1..10 {
            let sender = sender.clone();
            queue.run("once", move || sender.send(number).unwrap()).unwrap();
        }
        queue.flush().unwrap();
        assert_eq!(results.try_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(item.queue(), Queued::Now);
        item.flush().unwrap();
        assert!(!item.is_pending() && !item.cancel());
        assert_eq!(results.try_iter().count(), 1);
        queue.close().unwrap();
        assert_eq!(item.queue(), Queued::Closed);
        assert!(queue.run("late", || ()).is_err());
    }
}
