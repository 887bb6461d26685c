//! What is waited for, and whether a wait would end.

use std::collections::BTreeSet;

use super::{Core, Item, Key, Place, ThreadState};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Target {
    /// All that was queued of an item, up to a time that it was.
    Item(Key, u64),
    /// All that was queued on a queue up to a flush.
    Flush(Key, u64),
    /// That nothing is queued on a queue, or runs.
    Empty(Key),
}

impl<W> Core<W> {
    /// All that is queued of an item now, its run included.
    pub(in super::super) fn flush_item(&self, item: Key) -> Target {
        Target::Item(item, self.items.get(item).map_or(0, |own| own.sequence))
    }

    /// The run of an item that there is now.
    pub(in super::super) fn run_of(&self, item: Key) -> Target {
        let run = self.items.get(item).and_then(|own| own.run);
        Target::Item(item, run.map_or(0, |run| run.sequence))
    }

    /// Whether a wait is over.
    pub(in super::super) fn is_settled(&self, target: Target) -> bool {
        match target {
            Target::Item(item, up_to) => self.items.get(item).is_none_or(|own| {
                let pending = own.is_queued() && own.sequence <= up_to;
                !pending && own.run.is_none_or(|run| run.sequence > up_to)
            }),
            Target::Flush(queue, color) => {
                self.queues.get(queue).is_none_or(|of| of.colors.is_done(color))
            }
            Target::Empty(queue) => {
                self.queues.get(queue).is_none_or(|of| of.pending + of.running == 0)
            }
        }
    }

    /// Has a thread's item wait.
    pub(in super::super) fn begin_wait(&mut self, thread: Key, target: Target) {
        self.threads.at(thread).waits = Some(target);
    }

    /// It waits no more.
    pub(in super::super) fn end_wait(&mut self, thread: Key) {
        self.threads.at(thread).waits = None;
    }

    /// Whether the wait of a thread's item ends if all items end that do not wait.
    pub(in super::super) fn wait_ends(&self, thread: Key) -> bool {
        let runs = |state| matches!(state, ThreadState::Running(_));
        let running = self.threads.iter().filter(|(_, own)| runs(own.state));
        let (mut waiting, mut ending) = (Vec::new(), BTreeSet::new());
        for (key, own) in running {
            match own.waits {
                Some(target) => waiting.push((key, target)),
                None => {
                    ending.insert(key);
                }
            }
        }
        loop {
            let before = ending.len();
            waiting.retain(|&(key, target)| {
                let ends = self.target_ends(target, &ending);
                if ends {
                    ending.insert(key);
                }
                !ends
            });
            if ending.contains(&thread) {
                return true;
            }
            if ending.len() == before {
                return false;
            }
        }
    }

    /// Whether what is waited for comes true once the runs of the threads `ending` end.
    fn target_ends(&self, target: Target, ending: &BTreeSet<Key>) -> bool {
        let all = |queue, chosen: &dyn Fn(u64) -> bool| {
            self.items.of(queue).all(|(_, item)| {
                let run =
                    item.run.is_none_or(|run| !chosen(run.color) || ending.contains(&run.thread));
                run && (!item.is_queued() || !chosen(item.color) || self.is_taken(item, ending))
            })
        };
        match target {
            Target::Item(item, up_to) => self.items.get(item).is_none_or(|own| {
                let run =
                    own.run.is_none_or(|run| run.sequence > up_to || ending.contains(&run.thread));
                let queued = own.is_queued() && own.sequence <= up_to;
                run && (!queued || self.is_taken(own, ending))
            }),
            Target::Flush(queue, color) => all(queue, &|own| own <= color),
            Target::Empty(queue) => all(queue, &|_| true),
        }
    }

    /// Whether an item that is queued runs once those runs have ended: pools grow, so that it is
    /// its queue alone that may hold it up, or its own run.
    fn is_taken(&self, item: &Item<W>, ending: &BTreeSet<Key>) -> bool {
        let ends = |of: &Item<W>| of.run.is_none_or(|run| ending.contains(&run.thread));
        ends(item)
            && (item.place != Place::Inactive
                || self.items.of(item.queue).any(|(_, other)| {
                    let ready = other.place == Place::Ready;
                    ready || other.run.is_some_and(|run| ending.contains(&run.thread))
                }))
    }
}

impl<W> Item<W> {
    /// Whether it is queued, and not just delayed.
    pub(in super::super) fn is_queued(&self) -> bool {
        matches!(self.place, Place::Inactive | Place::Ready | Place::Held)
    }
}
