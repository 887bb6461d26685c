//! Messages to a thread, taken at the end of its turn.

#![expect(
    clippy::disallowed_types,
    reason = "parking_lot is the host's; the lock is held for moments"
)]

use core::fmt;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use super::{DeferredContext, Softirq, SoftirqNumber};
use crate::{Error, Host, ThreadIndex};

type Letters<T> = VecDeque<(ThreadIndex, T)>;

/// Messages that wait, with the threads they are for.
struct Waiting<T>(Mutex<Letters<T>>);

impl<T> Waiting<T> {
    fn lock(&self) -> MutexGuard<'_, Letters<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first for a thread.
    fn take(&self, thread: ThreadIndex) -> Option<T> {
        let mut letters = self.lock();
        let at = letters.iter().position(|(to, _)| *to == thread)?;
        letters.remove(at).map(|(_, message)| message)
    }

    /// A thread that is not this one and has messages, of those after `last`.
    fn other(&self, this: ThreadIndex, last: Option<u32>) -> Option<ThreadIndex> {
        let letters = self.lock();
        let others = letters.iter().map(|(to, _)| *to).filter(|to| *to != this);
        others.filter(|to| last.is_none_or(|last| to.0 > last)).min_by_key(|to| to.0)
    }
}

/// A way to have what comes of other work taken on the thread of the node that wants it:
/// [`Host::mailbox`]. Any thread sends; cheap to clone.
pub struct Mailbox<T: Send + 'static> {
    waiting: Arc<Waiting<T>>,
    softirq: Arc<Softirq>,
}

impl<T: Send + 'static> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { waiting: Arc::clone(&self.waiting), softirq: Arc::clone(&self.softirq) }
    }
}

impl<T: Send + 'static> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailbox").field(&self.softirq).finish()
    }
}

impl Host {
    /// A mailbox: each message that is sent to a thread is given to `receive` at the end of a turn of
    /// that thread, outside of nodes, in the order of sending; on a softirq of that name. Messages to a
    /// thread that goes are given to it on another. Main.
    ///
    /// # Errors
    /// If another has the name, or no softirq is left.
    pub fn mailbox<T: Send + 'static>(
        &self,
        name: &str,
        receive: impl Fn(&DeferredContext<'_>, T) + Send + Sync + 'static,
    ) -> Result<Mailbox<T>, Error> {
        let waiting = Arc::new(Waiting(Mutex::default()));
        let (ours, own) = (Arc::clone(&waiting), Arc::new(OnceLock::<Weak<Softirq>>::new()));
        let own_later = Arc::clone(&own);
        let softirq = self.softirq(name, SoftirqNumber::Any, move |cx| {
            while let Some(message) = ours.take(cx.thread()) {
                receive(cx, message);
            }
            // A thread that has gone left its softirqs to another, which finds its messages here.
            let Some(softirq) = own.get().and_then(Weak::upgrade) else { return };
            let mut last = None;
            while let Some(other) = ours.other(cx.thread(), last) {
                last = Some(other.0);
                if softirq.raise_on(other).is_ok() {
                    continue; // It is there, and takes them itself.
                }
                while let Some(message) = ours.take(other) {
                    receive(cx, message);
                }
            }
        })?;
        let softirq = Arc::new(softirq);
        own_later.get_or_init(|| Arc::downgrade(&softirq));
        Ok(Mailbox { waiting, softirq })
    }
}

impl<T: Send + 'static> Mailbox<T> {
    /// Sends a message to a thread, and wakes that if it sleeps.
    ///
    /// # Errors
    /// The message, if there is no such thread.
    pub fn send(&self, thread: ThreadIndex, message: T) -> Result<(), T> {
        self.waiting.lock().push_back((thread, message));
        if self.softirq.raise_on(thread).is_ok() {
            return Ok(());
        }
        self.waiting.take(thread).map_or(Ok(()), Err)
    }
}
