//! Queues, and how far each has come.

use std::{collections::VecDeque, sync::Arc};

use super::{Core, Item, List, Place, Slab, Wake};
use crate::{deferred::work::Kind, graph::Owner, time::Nanos};

use super::Key;

/// A new queue.
#[derive(Clone, Debug)]
pub struct QueueSpec {
    /// What it is called.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What its owner is called.
    pub plugin: String,
    /// What its items may do at once, and where.
    pub kind: Kind,
    /// Items of it in execution at once, at least 1; an ordered queue has 1.
    pub max_active: u32,
    /// It goes on until the very end, after those who may want to log; and each pool may have one
    /// more thread for it, so that its item may be stuck at nobody else's cost.
    pub lasting: bool,
}

/// A queue.
#[derive(Debug)]
pub(in super::super) struct Queue {
    pub(in super::super) name: Arc<str>,
    pub(in super::super) plugin: Arc<str>,
    pub(in super::super) owner: Owner,
    pub(in super::super) kind: Kind,
    pub(in super::super) max_active: usize,
    pub(in super::super) pending: usize,
    pub(in super::super) delayed: usize,
    pub(in super::super) running: usize,
    pub(in super::super) done: u64,
    pub(in super::super) panicked: u64,
    pub(in super::super) longest: Nanos,
    /// Those who wait for it to be empty.
    pub(in super::super) draining: u32,
    /// It takes nothing any more, and is forgotten with its last item.
    pub(in super::super) closed: bool,
    pub(super) lasting: bool,
    /// What the item is called that was made last.
    pub(super) last_name: Arc<str>,
    /// Items there are.
    pub(super) items: usize,
    /// Items that are ready, held or running.
    pub(super) active: usize,
    pub(super) inactive: List,
    pub(in super::super) colors: Colors,
}

/// How many are under way of those that were queued between one flush and the next: a colour each.
#[derive(Debug)]
pub(in super::super) struct Colors {
    /// The first that is not done; all before it are.
    first: u64,
    /// Never empty: the last is that of what is queued now.
    counts: VecDeque<usize>,
}

impl Colors {
    pub(in super::super) fn new() -> Self {
        Self { first: 1, counts: VecDeque::from([0]) }
    }

    fn last(&self) -> u64 {
        self.first + self.counts.len() as u64 - 1
    }

    pub(super) fn add(&mut self) -> u64 {
        *self.counts.back_mut().expect("never empty") += 1;
        self.last()
    }

    pub(super) fn remove(&mut self, color: u64) {
        let at = usize::try_from(color - self.first).expect("it is not done");
        self.counts[at] -= 1;
        while self.counts.len() > 1 && self.counts[0] == 0 {
            self.counts.pop_front();
            self.first += 1;
        }
    }

    /// The colour of the last that is queued now; what is queued later has another.
    pub(in super::super) fn flush(&mut self) -> u64 {
        let last = self.last();
        if self.counts.back() == Some(&0) {
            return last - 1;
        }
        self.counts.push_back(0);
        last
    }

    pub(super) fn is_done(&self, color: u64) -> bool {
        color < self.first
    }
}

impl<W> Core<W> {
    pub(in super::super) fn add_queue(&mut self, spec: QueueSpec) -> Key {
        let max_active = if spec.kind == Kind::Ordered { 1 } else { spec.max_active.max(1) };
        self.lasting += usize::from(spec.lasting);
        self.queues.insert(Queue {
            name: spec.name.into(),
            plugin: spec.plugin.into(),
            owner: spec.owner,
            kind: spec.kind,
            max_active: max_active as usize,
            pending: 0,
            delayed: 0,
            running: 0,
            done: 0,
            panicked: 0,
            longest: Nanos(0),
            draining: 0,
            closed: false,
            lasting: spec.lasting,
            last_name: Arc::default(),
            items: 0,
            active: 0,
            inactive: List::default(),
            colors: Colors::new(),
        })
    }

    /// Closes a queue: its items are cancelled, and it takes nothing any more. What is to be dropped.
    pub(in super::super) fn close_queue(&mut self, queue: Key) -> Vec<W> {
        let Some(of) = self.queues.get_mut(queue) else { return Vec::new() };
        of.closed = true;
        // Those that are not in line first, so that none of them takes the place of another.
        let mut items = self.items.keys(|item| item.queue == queue);
        items.sort_by_key(|&item| {
            self.items.get(item).is_some_and(|own| matches!(own.place, Place::Ready | Place::Held))
        });
        let mut dropped = Vec::new();
        for item in items {
            let wake = self.withdraw(item);
            debug_assert!(matches!(wake, Wake::Nobody), "nothing of it got ready");
            let ends = self.items.get(item).is_some_and(|own| own.once || own.gone);
            dropped.extend(if ends { self.forget(item) } else { None });
        }
        self.forget_queue(queue);
        dropped
    }

    /// Closes all queues of an owner that do not last, and forgets their items. What is to be dropped.
    pub(in super::super) fn close_owner(&mut self, owner: Owner) -> Vec<W> {
        let queues = self.queues.keys(|queue| queue.owner == owner && !queue.lasting);
        let mut dropped = Vec::new();
        for queue in queues {
            dropped.extend(self.close_queue(queue));
            for item in self.items.keys(|item: &Item<W>| item.queue == queue) {
                dropped.extend(self.remove_item(item).0);
            }
        }
        dropped
    }

    /// Forgets a closed queue without items.
    pub(super) fn forget_queue(&mut self, queue: Key) {
        if self.queues.get(queue).is_some_and(|of| of.closed && of.items == 0) {
            let gone = self.queues.remove(queue);
            self.lasting -= usize::from(gone.is_some_and(|of| of.lasting));
        }
    }
}

impl<W> Slab<Item<W>> {
    /// The items of a queue.
    pub(in super::super) fn of(&self, queue: Key) -> impl Iterator<Item = (Key, &Item<W>)> {
        self.iter().filter(move |(_, item)| item.queue == queue)
    }
}
