//! What a watched descriptor's functions are called for, and when they no longer are.

use std::{
    os::unix::net::UnixStream,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::engine::{ThreadShared, poller::Poller};

/// A poller whose thread is "this one", as far as removal asks.
struct Bench {
    files: Arc<Files>,
    poller: Poller,
}

impl Bench {
    fn new() -> Self {
        let shared = ThreadShared::new(1).unwrap();
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let files = Arc::new(Files::new(ThreadIndex(1), poller.watch()));
        crate::host::set_current_thread(1);
        Self { files, poller }
    }

    /// Looks once and serves what is found.
    fn turn(&mut self) -> Vec<FileFault> {
        self.poller.wait(Some(Duration::ZERO)).unwrap();
        let ready = std::mem::take(&mut self.poller.ready);
        ready.into_iter().filter_map(|ready| self.files.serve(ready)).collect()
    }

    fn add(
        &self,
        fd: impl AsFd,
        interest: Interest,
        functions: impl FileFunctions + 'static,
    ) -> FileId {
        let (name, owner) = ("test".to_owned(), Owner(7));
        let spec = FileSpec { name, owner, interest, functions: Arc::new(functions) };
        self.files.add(fd.as_fd(), spec).unwrap()
    }
}

impl<F: Fn(FileEvent) -> Called + Send + Sync> FileFunctions for F {
    fn handle(&self, event: FileEvent) -> Called {
        self(event)
    }
}

/// Notes what it is called for, and answers as the function says.
fn noting(
    answer: impl Fn(FileEvent) -> Called + Send + Sync,
) -> (Arc<Mutex<Vec<FileEvent>>>, impl Fn(FileEvent) -> Called + Send + Sync) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&notes);
    (notes, move |event| {
        own.lock().push(event);
        answer(event)
    })
}

const BOTH: Interest = Interest { read: true, write: true, edge: false };

#[test]
fn reading_comes_before_writing_and_again_while_something_is_left() {
    let mut bench = Bench::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (notes, functions) = noting(|_| Called::Done);
    let id = bench.add(&ours, BOTH, functions);
    rustix::io::write(&theirs, b"x").unwrap();
    assert_eq!(bench.turn(), []);
    assert_eq!(*notes.lock(), [FileEvent::Read, FileEvent::Write]);
    bench.files.modify(id, Interest::READ).unwrap();
    bench.turn();
    assert_eq!(notes.lock()[2..], [FileEvent::Read]);
}

#[test]
fn an_edge_is_served_once_for_each_arrival() {
    let mut bench = Bench::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (notes, functions) = noting(|_| Called::Done);
    bench.add(&ours, Interest { edge: true, ..Interest::READ }, functions);
    for count in 1..=2 {
        rustix::io::write(&theirs, b"x").unwrap();
        bench.turn();
        bench.turn();
        assert_eq!(notes.lock().len(), count);
    }
}

/// A pipe whose reader is gone is in error for its writer.
fn broken_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn an_error_without_a_function_closes_the_descriptor_and_says_so() {
    let mut bench = Bench::new();
    let missing = |event| if event == FileEvent::Error { Called::Missing } else { Called::Done };
    let (notes, functions) = noting(missing);
    let id = bench.add(broken_pipe(), BOTH, functions);
    let fault = FileFault { name: "test".into(), owner: Owner(7), panicked: false, closed: true };
    assert_eq!(bench.turn(), [fault]);
    assert_eq!(*notes.lock(), [FileEvent::Error, FileEvent::Closed]);
    assert_eq!(bench.turn(), [], "it does not come again");
    assert!(!bench.files.remove(id));
    let FilesReport { watched, closed, closed_count } = bench.files.report();
    assert_eq!((watched.len(), closed.len(), closed_count), (0, 1, 1));
    assert_eq!(closed[0].errors, 1);
}

#[test]
fn an_error_with_a_function_is_that_functions_business() {
    let mut bench = Bench::new();
    let (notes, functions) = noting(|_| Called::Done);
    let id = bench.add(broken_pipe(), BOTH, functions);
    assert_eq!(bench.turn(), []);
    assert_eq!(*notes.lock(), [FileEvent::Error]);
    assert!(bench.files.remove(id));
}

#[test]
fn failures_are_counted_and_a_panic_closes() {
    let mut bench = Bench::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    rustix::io::write(&theirs, b"x").unwrap();
    let calls = AtomicUsize::new(0);
    let functions = move |event| match (event, calls.fetch_add(1, Ordering::Relaxed)) {
        (FileEvent::Read, 0 | 1) => Called::Failed,
        (FileEvent::Read, _) => Called::Panicked,
        _ => Called::Done,
    };
    bench.add(&ours, Interest::READ, functions);
    for panicked in [false, false, true] {
        let faults = bench.turn();
        assert_eq!((faults[0].panicked, faults[0].closed), (panicked, panicked));
    }
    let FilesReport { watched, closed, .. } = bench.files.report();
    assert_eq!((watched.len(), closed[0].reads, closed[0].failures), (0, 3, 3));
}

#[test]
fn a_function_may_remove_its_own_descriptor_and_others_that_are_ready() {
    let mut bench = Bench::new();
    let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
    let ids = Arc::new(OnceLock::<[FileId; 2]>::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let added = pairs.iter().map(|(ours, theirs)| {
        rustix::io::write(theirs, b"x").unwrap();
        let (files, ids, calls) = (Arc::clone(&bench.files), Arc::clone(&ids), Arc::clone(&calls));
        bench.add(ours, BOTH, move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            assert!(ids.get().unwrap().iter().all(|&id| files.remove(id)));
            Called::Done
        })
    });
    let added = added.collect::<Vec<_>>();
    ids.set([added[0], added[1]]).unwrap();
    assert_eq!(bench.turn(), []);
    assert_eq!(calls.load(Ordering::Relaxed), 1, "neither the other one nor its own writing");
    assert!(bench.files.report().watched.is_empty());
}

#[test]
fn an_event_on_its_way_does_not_reach_who_came_into_the_place_since() {
    let mut bench = Bench::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    rustix::io::write(&theirs, b"x").unwrap();
    let (old_notes, functions) = noting(|_| Called::Done);
    let old = bench.add(&ours, Interest::READ, functions);
    bench.poller.wait(Some(Duration::ZERO)).unwrap();
    let on_its_way = std::mem::take(&mut bench.poller.ready);
    assert_eq!(on_its_way.len(), 1);

    assert!(bench.files.remove(old));
    let (notes, functions) = noting(|_| Called::Done);
    let new = bench.add(&ours, Interest::READ, functions);
    assert_eq!(new.place, old.place);
    assert!(bench.files.serve(on_its_way[0]).is_none());
    assert!(old_notes.lock().is_empty() && notes.lock().is_empty());
    assert!(!bench.files.remove(old) && bench.files.modify(old, BOTH) == Err(Errno::NOENT));
    bench.turn();
    assert_eq!(*notes.lock(), [FileEvent::Read]);
}

#[test]
fn closing_ones_own_end_does_not_take_the_hosts_away() {
    let mut bench = Bench::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (notes, functions) = noting(|_| Called::Done);
    let id = bench.add(&ours, Interest::READ, functions);
    drop(ours);
    let _reused = UnixStream::pair().unwrap(); // Takes the number.
    rustix::io::write(&theirs, b"x").unwrap();
    bench.turn();
    assert_eq!(*notes.lock(), [FileEvent::Read]);
    assert!(bench.files.remove(id));
    assert!(rustix::io::write(&theirs, b"x").is_err(), "now both are closed");
}

#[test]
fn removal_from_another_thread_waits_for_the_function() {
    let mut bench = Bench::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    rustix::io::write(&theirs, b"x").unwrap();
    let (running, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flags = (Arc::clone(&running), Arc::clone(&ended));
    let id = bench.add(&ours, Interest::READ, move |event| {
        if event == FileEvent::Read {
            flags.0.store(true, Ordering::Release);
            let start = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let past = || rustix::time::clock_gettime(rustix::time::ClockId::Monotonic) - start;
            while Duration::try_from(past()).unwrap() < Duration::from_millis(20) {
                thread::yield_now();
            }
            flags.1.store(true, Ordering::Release);
        }
        Called::Done
    });
    let files = Arc::clone(&bench.files);
    let remover = thread::spawn(move || {
        while !running.load(Ordering::Acquire) {
            thread::yield_now();
        }
        assert!(files.remove(id));
        assert!(ended.load(Ordering::Acquire), "removed while its function ran");
    });
    bench.turn();
    remover.join().unwrap();
}

#[test]
fn what_an_owner_leaves_behind_is_removed_and_told_so() {
    let bench = Bench::new();
    let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
    let (notes, functions) = noting(|_| Called::Done);
    let functions = Arc::new(functions);
    for (pair, owner) in pairs.iter().zip([Owner(7), Owner(8)]) {
        let own = Arc::clone(&functions);
        let functions: Arc<dyn FileFunctions> = Arc::new(move |event| own.handle(event));
        let (name, interest) = ("test".to_owned(), BOTH);
        bench.files.add(pair.0.as_fd(), FileSpec { name, owner, interest, functions }).unwrap();
    }
    assert_eq!(bench.files.remove_owner(Owner(7)), 1);
    assert_eq!(*notes.lock(), [FileEvent::Closed]);
    assert_eq!(bench.files.report().watched[0].owner, Owner(8));
}

#[test]
fn a_regular_file_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let file = tempfile::tempfile().unwrap();
    let (name, owner, interest) = ("file".to_owned(), Owner(1), BOTH);
    let functions: Arc<dyn FileFunctions> = Arc::new(|_| Called::Done);
    let spec = FileSpec { name, owner, interest, functions };
    assert_eq!(bench.files.add(file.as_fd(), spec), Err(Errno::PERM));
    assert!(bench.files.report().watched.is_empty());
    assert_eq!(FileId::of(5), None);
}
