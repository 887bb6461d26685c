//! Handing packets to other threads.

use core::{ffi::c_void, fmt, sync::atomic::Ordering};
use std::sync::atomic::AtomicU64;

use gristmill_abi::handoff::HandoffService;

use crate::{Error, Host, ThreadIndex};

/// The way to other threads, for a node to use with
/// [`Frame::hand_off_each`](crate::Frame::hand_off_each).
///
/// ```
/// # use std::sync::Arc;
/// # use plugin_api::{Config, Error, Frame, Handoff, Host, Node, Plugin, ThreadIndex, To, next_nodes};
/// struct Acme { handoff: Handoff }
///
/// impl Plugin for Acme {
///     const NAME: &'static str = "acme";
///     fn create(host: Host, _: &Config<'_>) -> Result<Self, Error> {
///         Ok(Self { handoff: host.handoff()? })
///     }
/// }
///
/// next_nodes! { enum Next { Onward => Feature } }
///
/// struct Spread(Arc<Acme>);
///
/// impl Node for Spread {
///     const NAME: &'static str = "acme-spread";
///     type Plugin = Acme;
///     type Next = Next;
///     fn new(acme: &Arc<Acme>, _: ThreadIndex) -> Result<Self, Error> { Ok(Self(acme.clone())) }
///     fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
///         let (threads, here) = (self.0.handoff.threads(), frame.thread());
///         frame.hand_off_each(&self.0.handoff, |packet| To {
///             thread: threads.choose(packet.flow_hash()).unwrap_or(here),
///             next: Next::Onward,
///         });
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Handoff {
    pub(crate) service: &'static HandoffService,
    pub(crate) context: *mut c_void,
    /// A bit for each thread that packets can be handed to.
    open: &'static AtomicU64,
}

// SAFETY: the service's functions are for the threads their descriptions name, and its context is
// the host, which any thread may use.
unsafe impl Send for Handoff {}
// SAFETY: as above.
unsafe impl Sync for Handoff {}

/// Where a packet goes from here: a thread, and the arc that it takes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To<N> {
    /// The thread; the packet's own is as good as any.
    pub thread: ThreadIndex,
    /// An arc of the node that hands the packet off.
    pub next: N,
}

/// Threads of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadSet(u64);

impl Host {
    /// The way to other threads.
    ///
    /// # Errors
    /// If the host is older than that.
    pub fn handoff(&self) -> Result<Handoff, Error> {
        let (service, context) = self.builtin::<HandoffService>("handoff", "^1")?;
        let mut words = 0;
        // SAFETY: main thread; there is room for a number.
        let open = unsafe { (service.threads)(context, &raw mut words) };
        if words == 0 || open.is_null() {
            return Err(Error::new("the host has no threads to hand packets to"));
        }
        // SAFETY: the host said that a word is there, for ever, to be read as an atomic.
        let open = unsafe { &*open.cast::<AtomicU64>() };
        Ok(Handoff { service, context, open })
    }
}

impl Handoff {
    /// The threads that forward what others receive: the workers, or main where there are none.
    ///
    /// Cost: one load. Any thread; it changes as threads come and go
    /// ([`Notice::ThreadAdded`](crate::Notice::ThreadAdded), `ThreadRemoved`).
    #[inline(always)]
    pub fn threads(&self) -> ThreadSet {
        let all = self.all_threads();
        let workers = ThreadSet(all.0 & !1);
        if workers.is_empty() { all } else { workers }
    }

    /// All threads that packets can be handed to, main too.
    ///
    /// Cost: one load. Any thread.
    #[inline(always)]
    pub fn all_threads(&self) -> ThreadSet {
        ThreadSet(self.open.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handoff").field("threads", &self.all_threads()).finish_non_exhaustive()
    }
}

impl ThreadSet {
    /// Threads there can be.
    pub const MAX: u32 = u64::BITS;

    /// The set whose members have their bits set, bit 0 for thread 0.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit for each member.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether a thread is a member.
    #[inline(always)]
    pub const fn contains(self, thread: ThreadIndex) -> bool {
        thread.0 < Self::MAX && self.0 >> thread.0 & 1 != 0
    }

    /// Adds a thread; `false` if there can be none of that number.
    pub const fn insert(&mut self, thread: ThreadIndex) -> bool {
        let fits = thread.0 < Self::MAX;
        if fits {
            self.0 |= 1 << thread.0;
        }
        fits
    }

    /// The members of both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// How many there are.
    #[inline(always)]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in order.
    pub fn iter(self) -> impl Iterator<Item = ThreadIndex> {
        (0..Self::MAX).map(ThreadIndex).filter(move |&thread| self.contains(thread))
    }

    /// The member for a hash; the same for the same set and hash. Its high bits decide, so that
    /// what takes low bits of it later does not find them all alike.
    ///
    /// Cost: a step for each member before it.
    #[inline(always)]
    pub const fn choose(self, hash: u32) -> Option<ThreadIndex> {
        let mut before = (hash as u64 * self.len() as u64) >> 32;
        let mut rest = self.0;
        while before > 0 {
            rest &= rest - 1;
            before -= 1;
        }
        if rest == 0 { None } else { Some(ThreadIndex(rest.trailing_zeros())) }
    }
}

impl FromIterator<ThreadIndex> for ThreadSet {
    /// Threads of numbers that there cannot be are left out.
    fn from_iter<I: IntoIterator<Item = ThreadIndex>>(threads: I) -> Self {
        threads.into_iter().fold(Self::default(), |mut set, thread| {
            set.insert(thread);
            set
        })
    }
}

impl fmt::Display for ThreadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.iter().map(|thread| thread.0.to_string()).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_chooses_each_member_as_often_and_nobody_else() {
        for bits in [1, 0b110, 0b1011, 1 << 63, u64::MAX] {
            let set = ThreadSet::from_bits(bits);
            let mut counts = [0_u32; 64];
            let each = 1_000;
            for step in 0..each * set.len() {
                let hash = (u64::from(step) << 32) / u64::from(each * set.len());
                let chosen = set.choose(u32::try_from(hash).unwrap()).unwrap();
                counts[chosen.0 as usize] += 1;
            }
            for (thread, count) in (0..).map(ThreadIndex).zip(counts) {
                let even = if set.contains(thread) { each } else { 0 };
                assert!(count.abs_diff(even) <= 1, "{set}: {thread:?} {count}");
            }
        }
        assert_eq!(ThreadSet::default().choose(7), None);
    }

    #[test]
    fn a_set_holds_the_threads_there_can_be() {
        let mut set: ThreadSet = [3, 0, 63, 64].map(ThreadIndex).into_iter().collect();
        assert_eq!((set.to_string().as_str(), set.len()), ("0,3,63", 3));
        assert!(!set.insert(ThreadIndex(64)) && !set.contains(ThreadIndex(64)));
        assert_eq!(set.and(ThreadSet::from_bits(0b1110)).to_string(), "3");
    }
}
