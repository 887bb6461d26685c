//! Receive queues are placed on threads, and given modes: what main does about it.
//!
//! ```text
//!  new instances of the input nodes ── watch on the new threads ── splice ── watch no more on the old
//! ```
//! For a moment both threads watch a descriptor that moves: the one that does not have the queue, or
//! not yet, ignores it, and what waits in the queue is reported to the other as long as it waits. So
//! no packet is lost and none is late, and what fails has changed nothing.
#![expect(unsafe_code, reason = "watches descriptors that plugins own")]

use std::{
    collections::BTreeMap,
    os::fd::{BorrowedFd, RawFd},
    sync::{Arc, atomic::Ordering},
};

use plugin_api::Interest;

use super::{
    Interface, InterfaceError,
    adaptive::RxMode,
    balance::Placed,
    rx_queue::{QueueName, RxChange, RxQueue},
};
use crate::{
    engine::{Caller, mark::Mark},
    graph::{NodeIndex, Plan},
    host::{GraphError, Host},
    log::Level,
};

/// A descriptor that a thread watches for a receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    fd: RawFd,
    thread: u32,
    mark: Mark,
}

/// An interface whose queues change.
struct Changed {
    interface: Arc<Interface>,
    node: NodeIndex,
    before: Vec<RxQueue>,
    after: Vec<RxQueue>,
}

impl Interface {
    /// Its receive queues and where they are placed.
    pub fn placed(&self) -> Vec<Placed> {
        let interface = self.index;
        let queues = self.rx_queues.lock();
        let placed = (0..).zip(&*queues).map(|(queue, &RxQueue { thread, by_hand, .. })| Placed {
            interface,
            queue,
            thread,
            by_hand,
        });
        placed.collect()
    }
}

impl Host {
    /// Places receive queues elsewhere: all of them, with one splice, or none.
    ///
    /// # Errors
    /// As of [`set_rx_queues`](Self::set_rx_queues).
    pub(crate) fn place(&self, moved: &[Placed]) -> Result<(), InterfaceError> {
        let change = |&Placed { interface, queue, thread, by_hand }: &Placed| RxChange {
            interface,
            queue,
            thread: Some(thread),
            by_hand,
            mode: None,
        };
        self.set_rx_queues(&moved.iter().map(change).collect::<Vec<_>>())
    }

    /// Places receive queues on threads and sets their modes: all of the changes, with one splice,
    /// or none.
    ///
    /// Context: main, outside of nodes.
    ///
    /// # Errors
    /// [`InterfaceError`]; nothing was changed.
    pub fn set_rx_queues(&self, changes: &[RxChange]) -> Result<(), InterfaceError> {
        if !self.may_control() {
            return Err(GraphError::NotNow.into());
        }
        let changed = self.check_rx_changes(changes)?;
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for one in changed.iter().filter(|one| one.interface.admin_up.load(Ordering::Relaxed)) {
            let [before, after] =
                [&one.before, &one.after].map(|queues| watched(&one.interface, one.node, queues));
            on.extend(after.iter().filter(|watch| !before.contains(watch)));
            off.extend(before.into_iter().filter(|watch| !after.contains(watch)));
        }
        self.watch_queues(&on)?;
        for one in &changed {
            one.interface.rx_queues.lock().clone_from(&one.after); // The instances are made by it.
        }
        let spliced = self.change_graph(Caller::host("placement"), |plan| {
            changed.iter().for_each(|one| replace(plan, one));
            Ok(())
        });
        let undo = move |host: &Self| {
            for one in &changed {
                one.interface.rx_queues.lock().clone_from(&one.before);
            }
            host.unwatch_queues(&on);
        };
        if let Err(error) = spliced {
            undo(self);
            return Err(error.into());
        }
        self.when_in_force(move |host| host.unwatch_queues(&off), undo);
        Ok(())
    }

    fn check_rx_changes(&self, changes: &[RxChange]) -> Result<Vec<Changed>, InterfaceError> {
        let plan = self.plan();
        let mut changed: BTreeMap<u32, Changed> = BTreeMap::new();
        for change in changes {
            let interface = self.interface(change.interface)?;
            let name = QueueName { interface: interface.name.clone(), queue: change.queue };
            let fd = interface.rx_fds.get(change.queue as usize).copied();
            let node = plan.find(&interface.input_name());
            let (Some(fd), Some(node)) = (fd, node) else {
                return Err(InterfaceError::NoQueue { name, queues: interface.rx_fds.len() });
            };
            if let Some(thread) = change.thread.filter(|&thread| !self.serves(thread)) {
                return Err(InterfaceError::NoThread { name, thread });
            }
            if change.thread.is_some() && self.stuck_interfaces.lock().contains(&change.interface) {
                return Err(InterfaceError::Stuck(name));
            }
            if let Some(mode) = change.mode.filter(|&mode| fd < 0 && mode != RxMode::Polling) {
                return Err(InterfaceError::NoDescriptor { name, mode });
            }
            let one = changed.entry(change.interface).or_insert_with(|| {
                let before = interface.rx_queues.lock().clone();
                Changed { interface, node, after: before.clone(), before }
            });
            let queue = &mut one.after[change.queue as usize];
            if let Some(thread) = change.thread {
                (queue.thread, queue.by_hand) = (thread, change.by_hand);
            }
            queue.mode = change.mode.unwrap_or(queue.mode);
        }
        Ok(changed.into_values().filter(|one| one.before != one.after).collect())
    }

    /// Has descriptors wake their threads: all or none.
    pub(super) fn watch_queues(&self, queues: &[Watched]) -> Result<(), InterfaceError> {
        for (at, queue) in queues.iter().enumerate() {
            let done = self.files(queue.thread).map_or(Err(rustix::io::Errno::NOENT), |files| {
                let mut watches = self.rx_watches.lock();
                let count = watches.entry((queue.thread, queue.fd)).or_insert(0);
                *count += 1;
                if *count > 1 {
                    return Ok(()); // It is, until a batch that watches it no more is in force.
                }
                // SAFETY: the device keeps its descriptor open as long as it lives.
                let fd = unsafe { BorrowedFd::borrow_raw(queue.fd) };
                files.watch().add(fd, queue.mark.token(), Interest::READ)
            });
            if let Err(source) = done {
                self.rx_watches.lock().remove(&(queue.thread, queue.fd));
                self.unwatch_queues(&queues[..at]);
                return Err(InterfaceError::Watch {
                    thread: queue.thread,
                    queue: queue.mark.queue.unwrap_or_default(),
                    source,
                });
            }
        }
        Ok(())
    }

    /// Has descriptors wake their threads no more.
    pub(super) fn unwatch_queues(&self, queues: &[Watched]) {
        for queue in queues {
            let mut watches = self.rx_watches.lock();
            let Some(count) = watches.get_mut(&(queue.thread, queue.fd)) else { continue };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            watches.remove(&(queue.thread, queue.fd));
            drop(watches);
            let Some(files) = self.files(queue.thread) else { continue };
            // SAFETY: the device keeps its descriptor open as long as it lives.
            let fd = unsafe { BorrowedFd::borrow_raw(queue.fd) };
            if let Err(error) = files.watch().remove(fd) {
                let text = format!("a descriptor of thread {}: {error}", queue.thread);
                self.log.write(Level::Warn, "interface", &text);
            }
        }
    }

    /// What is watched for the queues of an interface that is up.
    pub(super) fn watched_queues(&self, interface: &Interface) -> Vec<Watched> {
        let node = self.plan().find(&interface.input_name());
        let queues = interface.rx_queues.lock().clone();
        node.map_or_else(Vec::new, |node| watched(interface, node, &queues))
    }
}

/// What threads watch for queues that are placed like that. One that is always polled wakes nobody.
fn watched(interface: &Interface, node: NodeIndex, queues: &[RxQueue]) -> Vec<Watched> {
    let all = (0..).zip(&interface.rx_fds).zip(queues);
    let waited = all.filter(|&((_, &fd), queue)| fd >= 0 && queue.mode != RxMode::Polling);
    waited
        .map(|((number, &fd), queue)| Watched {
            fd,
            thread: queue.thread,
            mark: Mark { node, queue: Some(number) },
        })
        .collect()
}

/// Has the input be made anew, on the threads that its queues are on now.
fn replace(plan: &mut Plan, changed: &Changed) {
    if let Some(node) = plan.node_mut(changed.node) {
        node.epoch += 1;
        if changed.interface.admin_up.load(Ordering::Relaxed) {
            node.threads = Some(changed.after.iter().map(|queue| queue.thread).collect());
        }
    }
}

#[cfg(test)]
mod tests;
