//! What was: the ways of packets that an operator asked for, hop by hop.
//!
//! ```text
//!  trace add ─▶ capture ─▶ a packet of its node gets a mark in its header, which goes with it
//!                  │            │ through every node, to other threads and into copies
//!                  │            ▼
//!                  └── a log for each thread: a hop for each node that a marked packet is in
//!                                            │
//!  show trace ◀── hops of all threads, sorted by mark, and formatted by the nodes' plugins
//! ```
//! While no packet has a mark and none is to get one, a thread's whole cost is to look whether that is
//! so, once for each frame ([`Marks`]). Memory is made when a trace is asked for, never on the packets'
//! way; the hops of a thread are written by it alone, and read while it goes on.
//!
//! The names of nodes are kept with the hops, for a node may be gone when somebody looks.

mod capture;
mod hop;
mod names;
mod report;
mod thread;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

pub(crate) use self::thread::entry;
pub use self::{
    capture::{Capture, HOPS, Session},
    hop::{Form, Hop, Outcome, Record, SHOWN},
    names::{Known, Names},
    report::{PacketTrace, describe, packets},
    thread::ThreadTrace,
};
use crate::{
    buffer::Marks,
    graph::{NodeIndex, Plan},
};

/// Packets that can be asked for until traces are cleared.
pub const PACKETS: u32 = 1_000;

/// Why packets are not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The node is not there any more.
    #[error("the node is gone")]
    Gone,
    /// None were asked for.
    #[error("0 packets: ask for 1 to {PACKETS}")]
    Nothing,
    /// They are too many.
    #[error(
        "{asked} packets: {left} more can be traced, of {PACKETS} in all; `clear trace' makes room"
    )]
    TooMany {
        /// So many were asked for.
        asked: u32,
        /// So many there is room for.
        left: u32,
    },
}

/// The traces of a host.
#[derive(Debug)]
pub struct Tracer {
    /// Counts the changes of `session`: a thread that has seen another number looks again.
    changes: AtomicU64,
    session: Mutex<Arc<Session>>,
    state: Mutex<State>,
}

/// What main alone uses.
#[derive(Debug)]
struct State {
    /// Threads that there are.
    threads: BTreeSet<u32>,
    /// The next mark.
    next: u32,
    names: Names,
    /// Sessions that threads may still know: ended here, not on the way of a packet.
    retired: Vec<Arc<Session>>,
}

impl Default for Tracer {
    fn default() -> Self {
        let state = State {
            threads: BTreeSet::new(),
            next: 1,
            names: Names::default(),
            retired: Vec::new(),
        };
        Self { changes: AtomicU64::new(0), session: Mutex::default(), state: Mutex::new(state) }
    }
}

impl Tracer {
    /// Has the next `packets` packets traced that come to a node of `plan`, or from it if it receives
    /// or makes them. Main.
    ///
    /// Cost: allocates some 6.5 KB for each packet and thread.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn add(
        &self,
        marks: &Marks,
        plan: &Plan,
        node: NodeIndex,
        packets: u32,
    ) -> Result<(), TraceError> {
        let serial = plan.node(node).ok_or(TraceError::Gone)?.serial;
        let mut state = self.state.lock();
        let old = self.session();
        let asked: u32 = old.captures.iter().map(|capture| capture.packets()).sum();
        let left = PACKETS.saturating_sub(asked);
        if packets == 0 {
            return Err(TraceError::Nothing);
        }
        if packets > left {
            return Err(TraceError::TooMany { asked: packets, left });
        }
        let first = state.next;
        state.next = first.checked_add(packets).unwrap_or(1); // After years of it they begin again.
        let threads = state.threads.iter().copied();
        let capture = Arc::new(Capture::new((node, serial), first, packets, threads));
        state.names.learn(plan);
        let mut new = Session::clone(&old);
        new.captures.push(capture);
        self.exchange(&mut state, new);
        marks.add(packets); // Threads look from now on.
        Ok(())
    }

    /// Forgets all traces. Main.
    pub fn clear(&self, marks: &Marks) {
        let mut state = self.state.lock();
        marks.restart(state.next);
        state.names = Names::default();
        self.exchange(&mut state, Session::default());
    }

    /// What was traced since traces were cleared.
    pub fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.lock())
    }

    /// What the nodes are called that packets were in.
    pub fn names(&self) -> Names {
        self.state.lock().names.clone()
    }

    /// There will be a thread of that index. Main, before it runs.
    pub fn admit(&self, thread: u32) {
        let mut state = self.state.lock();
        state.threads.insert(thread);
        for capture in &self.session().captures {
            capture.admit(thread);
        }
    }

    /// The thread of that index is gone, or given up. Main.
    pub fn retire(&self, thread: u32) {
        self.state.lock().threads.remove(&thread);
    }

    /// Follows the graph: notes the names of new nodes, and chooses no packets of those that are gone.
    /// Main.
    pub fn follow_graph(&self, marks: &Marks, plan: &Plan) {
        let session = self.session();
        if session.captures.is_empty() {
            return;
        }
        self.state.lock().names.learn(plan);
        for capture in &session.captures {
            let is_there =
                |node: NodeIndex| plan.node(node).is_some_and(|node| node.serial == capture.serial);
            if !is_there(capture.node) {
                marks.take(capture.disarm());
            }
        }
    }

    fn exchange(&self, state: &mut State, new: Session) {
        let old = std::mem::replace(&mut *self.session.lock(), Arc::new(new));
        // Release: who sees the number finds what it counts.
        self.changes.fetch_add(1, Ordering::Release);
        state.retired.push(old);
        state.retired.retain(|session| Arc::strong_count(session) > 1);
    }
}

#[cfg(test)]
mod tests;
