//! The forwarding threads as all of the host knows them.
#![expect(unsafe_code, reason = "a thread's own part is reached by address while it is parked")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::{GraphError, Host};
use crate::engine::{
    Barrier, Caller, Thread, ThreadShared,
    files::{FileId, FileReport, Files},
    handoff::InboxPlace,
    mark::Mark,
};
use crate::graph::NodeIndex;

/// A forwarding thread, as the main thread holds it.
pub struct ThreadHandle {
    /// What everyone may look at.
    pub shared: Arc<ThreadShared>,
    /// The descriptors it watches.
    pub files: Arc<Files>,
    /// Where what others hand to it comes in.
    pub inbox: Arc<InboxPlace>,
    /// The thread's own; touched only while it is parked, or on it.
    pub(super) thread: *mut Thread,
}

// SAFETY: the pointer is used only where its description allows.
unsafe impl Send for ThreadHandle {}
// SAFETY: as above.
unsafe impl Sync for ThreadHandle {}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Host {
    /// Adds a forwarding thread, which does not run yet, with the graph in force.
    ///
    /// # Errors
    /// If a node cannot be made for it.
    ///
    /// # Safety
    /// `thread` stays where it is until [`remove_thread`](Self::remove_thread) or
    /// [`retire`](Self::retire) has forgotten it, and its loop touches it only between the pause
    /// points of the barrier.
    pub unsafe fn add_thread(&self, thread: *mut Thread) -> Result<(), GraphError> {
        // SAFETY: by the caller's promise; it does not run yet.
        let new = unsafe { &mut *thread };
        new.join(&self.handoff);
        let (shared, files) = (Arc::clone(&new.shared), Arc::clone(&new.files));
        let inbox = Arc::clone(new.inbox());
        if shared.index == 0 {
            self.link_news.set_main(Arc::clone(&shared));
            self.rpc.set_main(Arc::clone(&shared));
        }
        let index = shared.index;
        self.threads.write().insert(index, ThreadHandle { shared, files, inbox, thread });
        self.change_graph(Caller::host("add worker"), |_| Ok(())).inspect_err(|_| {
            self.remove_thread(index);
        })
    }

    /// Forgets a thread, whose loop has ended or will never come to the barrier again: it has no
    /// instances in what is compiled from now on, and the barrier does not wait for it.
    pub fn remove_thread(&self, index: u32) -> Option<ThreadHandle> {
        self.handoff.close(index);
        self.work.unpin(index);
        self.rx_watches.lock().retain(|&(thread, _), _| thread != index);
        self.threads.write().remove(&index)
    }

    /// The shared parts of all threads, main first.
    pub fn threads(&self) -> Vec<Arc<ThreadShared>> {
        self.threads.read().values().map(|thread| Arc::clone(&thread.shared)).collect()
    }

    /// Packets in the frames of all threads, which stand: what a splice has received for them.
    ///
    /// Context: main, outside of nodes.
    pub fn packets_under_way(&self, _: &Barrier) -> usize {
        let threads = self.threads.read();
        // SAFETY: workers are parked, and this is main, outside of nodes.
        threads.values().map(|thread| unsafe { &*thread.thread }.packets_under_way()).sum()
    }

    /// Indices of the workers.
    pub fn workers(&self) -> Vec<u32> {
        self.threads.read().keys().copied().filter(|&index| index != 0).collect()
    }

    /// Whether a thread is there and is not to end.
    pub fn serves(&self, index: u32) -> bool {
        let threads = self.threads.read();
        threads.get(&index).is_some_and(|thread| !thread.shared.quit.load(Ordering::Relaxed))
    }

    /// The shared part of a thread.
    pub fn thread(&self, index: u32) -> Option<Arc<ThreadShared>> {
        self.threads.read().get(&index).map(|thread| Arc::clone(&thread.shared))
    }

    /// Forgets the threads, whose loops have ended, and what they ran.
    pub fn retire(&self) {
        self.threads.write().clear();
        self.forget_graph();
    }

    /// Calls with the shared part of a thread, if there is one. Any thread; it takes no lock that
    /// anyone holds for long.
    pub(crate) fn with_thread<R>(
        &self,
        index: u32,
        with: impl FnOnce(&ThreadShared) -> R,
    ) -> Option<R> {
        self.threads.read().get(&index).map(|thread| with(&thread.shared))
    }

    /// As [`with_thread`](Self::with_thread), for each.
    pub(crate) fn for_each_thread(&self, with: impl FnMut(&ThreadShared)) {
        self.threads.read().values().map(|thread| &*thread.shared).for_each(with);
    }

    /// Wakes thread `index` if it sleeps.
    pub fn ring(&self, index: u32) {
        let _ = self.with_thread(index, ThreadShared::ring);
    }

    /// Has a thread, or all, dispatch a node in its next turn, once however often it was marked by
    /// then; false if there is no such thread. Any thread.
    ///
    /// An input's queues are all polled, a *sched* node is called; other nodes, and those that the
    /// thread does not dispatch, are let be.
    pub fn interrupt(&self, node: NodeIndex, thread: Option<u32>) -> bool {
        let mark = Mark { node, queue: None };
        let threads = self.threads.read();
        match thread {
            Some(index) => threads.get(&index).map(|thread| thread.shared.mark(mark)).is_some(),
            None => {
                threads.values().for_each(|thread| thread.shared.mark(mark));
                true
            }
        }
    }

    /// The descriptors that thread `index` watches.
    pub fn files(&self, index: u32) -> Option<Arc<Files>> {
        self.threads.read().get(&index).map(|thread| Arc::clone(&thread.files))
    }

    /// The descriptors of all threads, by thread, main's first.
    pub fn all_files(&self) -> Vec<(u32, Arc<Files>)> {
        let threads = self.threads.read();
        threads.iter().map(|(&index, thread)| (index, Arc::clone(&thread.files))).collect()
    }

    /// Every watched descriptor, with its thread.
    pub fn watched_files(&self) -> Vec<(u32, FileReport)> {
        self.all_files()
            .into_iter()
            .flat_map(|(thread, files)| {
                files.report().watched.into_iter().map(move |file| (thread, file))
            })
            .collect()
    }

    /// Has `heir` watch the descriptors of a thread that was forgotten and serves them no more. Main.
    pub fn hand_files_on(&self, thread: &ThreadHandle, heir: u32) {
        let Some(to) = self.files(heir) else { return };
        // Locked meanwhile: whoever looks for one of them finds it on either side, or waits.
        let mut moved = self.moved_files.lock();
        let index = thread.shared.index;
        let handed_on = thread.files.hand_on(&to);
        moved.extend(handed_on.into_iter().map(|(old, new)| ((index, old), (heir, new))));
        // Of those that are watched no more, nobody asks; there is an end to the others.
        let is_there =
            |&(thread, id): &(u32, FileId)| self.files(thread).is_some_and(|files| files.has(id));
        let at = |moved: &BTreeMap<_, _>, mut at: (u32, FileId)| {
            while let Some(&next) = moved.get(&at) {
                at = next;
            }
            at
        };
        let keys: Vec<_> = moved.keys().copied().collect();
        let gone: Vec<_> = keys.into_iter().filter(|&key| !is_there(&at(&moved, key))).collect();
        for key in &gone {
            moved.remove(key);
        }
    }

    /// Where the descriptor is that was `id` of thread `thread` when its plugin was told.
    pub fn find_file(&self, thread: u32, id: FileId) -> (u32, FileId) {
        let moved = self.moved_files.lock();
        let mut at = (thread, id);
        while let Some(&next) = moved.get(&at) {
            at = next;
        }
        at
    }
}
