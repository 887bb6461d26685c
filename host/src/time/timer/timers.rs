//! Starting, moving, deleting and running timers.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use plugin_api::ThreadIndex;

use super::statistics::{Event, Site, Statistics};
use super::thread::{Guard, Running, State, Thread};
use super::{AlreadyPending, MOVING, Started, Timer, TimerFunction, TimerRef};
use crate::time::units::Ticks;

/// The timers of all threads.
///
/// Context: any; the operations say where the calling thread matters.
pub struct Timers<F: 'static, const FIRST: usize = 256, const LATER: usize = 64> {
    /// Tick 0 of the bases, which count on from it and do not wrap.
    pub(super) epoch: Ticks,
    pub(super) threads: Box<[Thread<F, FIRST, LATER>]>,
    pub(super) migration: AtomicBool,
    pub(super) statistics: Statistics,
}

impl<F: TimerFunction, const FIRST: usize, const LATER: usize> Timers<F, FIRST, LATER> {
    /// Bases for that many threads, at tick `now`; thread 0 is online, see [`Self::join`].
    pub fn new(threads: usize, now: Ticks) -> Self {
        let threads: Box<[_]> = (0..threads.max(1)).map(|_| Thread::new()).collect();
        threads[0].online.store(true, Ordering::Relaxed);
        Self {
            epoch: now,
            threads,
            migration: AtomicBool::new(true),
            statistics: Statistics::default(),
        }
    }

    /// Starts a timer that expires at tick `expires`, on the next one if that is not in the future.
    ///
    /// `current` is the calling thread, which the timer is placed on; if it is idle and the timer
    /// not pinned, a busy thread is taken instead.
    ///
    /// # Errors
    /// [`AlreadyPending`]; the timer stays as it was.
    #[track_caller]
    pub fn add(
        &self,
        current: ThreadIndex,
        timer: impl Into<TimerRef<F>>,
        expires: Ticks,
    ) -> Result<Started, AlreadyPending> {
        self.start(Placing::Near(current), &timer.into(), expires, Site::caller(), Need::Idle)
            .ok_or(AlreadyPending)
    }

    /// As [`Self::add`], for a caller that says itself where it stands.
    ///
    /// # Errors
    /// [`AlreadyPending`]; the timer stays as it was.
    pub fn add_from(
        &self,
        current: ThreadIndex,
        timer: impl Into<TimerRef<F>>,
        expires: Ticks,
        site: Site<'_>,
    ) -> Result<Started, AlreadyPending> {
        self.start(Placing::Near(current), &timer.into(), expires, site, Need::Idle)
            .ok_or(AlreadyPending)
    }

    /// Starts a timer on a certain thread, idle or not.
    ///
    /// # Errors
    /// [`AlreadyPending`]; the timer stays as it was.
    #[track_caller]
    pub fn add_on(
        &self,
        thread: ThreadIndex,
        timer: impl Into<TimerRef<F>>,
        expires: Ticks,
    ) -> Result<Started, AlreadyPending> {
        self.start(Placing::On(thread), &timer.into(), expires, Site::caller(), Need::Idle)
            .ok_or(AlreadyPending)
    }

    /// Moves a timer to tick `expires`, or starts it. As [`Self::add`] otherwise; while its function
    /// runs it stays on the thread that runs it.
    #[track_caller]
    pub fn modify(
        &self,
        current: ThreadIndex,
        timer: impl Into<TimerRef<F>>,
        expires: Ticks,
    ) -> Started {
        self.modify_from(current, timer, expires, Site::caller())
    }

    /// As [`Self::modify`], for a caller that says itself where it stands.
    pub fn modify_from(
        &self,
        current: ThreadIndex,
        timer: impl Into<TimerRef<F>>,
        expires: Ticks,
        site: Site<'_>,
    ) -> Started {
        let placing = Placing::Near(current);
        self.start(placing, &timer.into(), expires, site, Need::Nothing)
            .expect("refused only where something is needed")
    }

    /// Moves a timer if it is pending; `None` if it is not, and nothing happens.
    #[track_caller]
    pub fn modify_pending(
        &self,
        current: ThreadIndex,
        timer: impl Into<TimerRef<F>>,
        expires: Ticks,
    ) -> Option<Started> {
        let placing = Placing::Near(current);
        self.start(placing, &timer.into(), expires, Site::caller(), Need::Pending)
    }

    /// Deletes a timer; tells whether it was pending. Its function may be running all the same.
    pub fn delete(&self, timer: &Timer<F>) -> bool {
        let (home, mut state) = self.lock_home(timer);
        self.detach(home, &mut state, timer)
    }

    /// Whether something has expired by tick `now` on a thread's base. Cost: a load.
    #[inline]
    pub fn is_due(&self, thread: ThreadIndex, now: Ticks) -> bool {
        let quiet_until = &self.threads[thread.0 as usize].quiet_until;
        now.since(self.epoch) >= quiet_until.load(Ordering::Acquire)
    }

    /// Runs what has expired by tick `now` on the calling thread's base, in the order of the ticks;
    /// returns how many.
    ///
    /// Cost: a load while nothing is due.
    #[inline]
    pub fn expire(&self, current: ThreadIndex, now: Ticks, run: impl FnMut(&TimerRef<F>)) -> usize {
        if self.is_due(current, now) { self.expire_due(current, now, run) } else { 0 }
    }

    fn expire_due(
        &self,
        current: ThreadIndex,
        now: Ticks,
        mut run: impl FnMut(&TimerRef<F>),
    ) -> usize {
        let thread = &self.threads[current.0 as usize];
        let tick = now.since(self.epoch);
        let mut count = 0;
        loop {
            let mut state = thread.state.lock();
            let next = state.base.pop(tick);
            thread.quiet_until.store(state.base.quiet_until(), Ordering::Release);
            let Some(timer) = next else { return count };
            timer.set_key(None);
            state.running = Some(timer.clone());
            drop(state);
            let _running = Running(thread);
            self.count_expiry(current, &timer, now);
            run(&timer);
            count += 1;
        }
    }

    /// The tick until which a thread may sleep: its next expiry that is not deferrable.
    pub fn next_expiry(&self, thread: ThreadIndex) -> Option<Ticks> {
        let next = self.threads[thread.0 as usize].state.lock().base.next_expiry()?;
        Some(self.epoch.after(next))
    }

    fn start(
        &self,
        placing: Placing,
        timer: &TimerRef<F>,
        expires: Ticks,
        site: Site<'_>,
        need: Need,
    ) -> Option<Started> {
        let (home, mut state) = self.lock_home(timer);
        let was_pending = timer.is_pending();
        if (need == Need::Idle && was_pending) || (need == Need::Pending && !was_pending) {
            return None;
        }
        let mut target = self.target(placing, timer.pinned);
        if state.runs(timer) {
            target = home;
        }
        let deadline = self.deadline(expires);
        let wake = if target == home {
            self.place(home, &mut state, timer, deadline)
        } else {
            self.detach(home, &mut state, timer);
            timer.home.store(MOVING, Ordering::Relaxed);
            drop(state);
            let mut state = self.threads[target as usize].state.lock();
            timer.home.store(target, Ordering::Release);
            self.place(target, &mut state, timer, deadline)
        };
        let thread = ThreadIndex(target);
        self.count_start(thread, timer, site);
        let wake = wake && placing.thread() != thread;
        Some(Started { was_pending, thread, wake })
    }

    /// Puts a timer on a base or moves it there; tells whether an idle sleep gets too long by it.
    pub(super) fn place(
        &self,
        home: u32,
        state: &mut State<F, FIRST, LATER>,
        timer: &TimerRef<F>,
        deadline: u64,
    ) -> bool {
        let thread = &self.threads[home as usize];
        let wake = !timer.deferrable
            && thread.idle.load(Ordering::Relaxed)
            && state.base.next_expiry().is_none_or(|next| deadline < next);
        if !timer.key().is_some_and(|key| state.base.modify(key, deadline)) {
            let key = state.base.insert(deadline, timer.deferrable, timer.clone());
            timer.set_key(Some(key));
        }
        thread.quiet_until.store(state.base.quiet_until(), Ordering::Release);
        wake
    }

    /// Takes a timer off the base it is on; tells whether it was pending.
    pub(super) fn detach(
        &self,
        home: u32,
        state: &mut State<F, FIRST, LATER>,
        timer: &Timer<F>,
    ) -> bool {
        let Some(key) = timer.key() else { return false };
        timer.set_key(None);
        let removed = state.base.remove(key).is_some();
        self.threads[home as usize].quiet_until.store(state.base.quiet_until(), Ordering::Release);
        removed
    }

    /// Locks the base a timer is on.
    pub(super) fn lock_home(&self, timer: &Timer<F>) -> (u32, Guard<'_, F, FIRST, LATER>) {
        loop {
            let home = timer.home.load(Ordering::Acquire);
            if home != MOVING {
                let state = self.threads[home as usize].state.lock();
                if timer.home.load(Ordering::Relaxed) == home {
                    return (home, state);
                }
            }
            std::thread::yield_now();
        }
    }

    fn target(&self, placing: Placing, pinned: bool) -> u32 {
        let ThreadIndex(thread) = placing.thread();
        let stays = pinned
            || matches!(placing, Placing::On(_))
            || !self.migration.load(Ordering::Relaxed)
            || !self.threads[thread as usize].idle.load(Ordering::Relaxed);
        let mut busy = (0..).zip(&self.threads).filter(|(_, thread)| thread.is_busy());
        if stays { thread } else { busy.next().map_or(thread, |(busy, _)| busy) }
    }

    /// The tick of a base; comparing with the epoch's present is what makes it safe at the wrap.
    fn deadline(&self, expires: Ticks) -> u64 {
        if expires.is_before(self.epoch) { 0 } else { expires.since(self.epoch) }
    }

    fn count_start(&self, thread: ThreadIndex, timer: &Timer<F>, site: Site<'_>) {
        if self.statistics.is_active() {
            let number = self.statistics.number(site);
            timer.site.store(number, Ordering::Relaxed);
            self.statistics.count_start(&Event::of(timer, thread));
        }
    }

    fn count_expiry(&self, thread: ThreadIndex, timer: &Timer<F>, now: Ticks) {
        if self.statistics.is_active() {
            self.statistics.count_expiry(&Event::of(timer, thread), now);
        }
    }
}

/// Where a timer goes.
#[derive(Clone, Copy)]
enum Placing {
    /// The calling thread, or a busy one in its place.
    Near(ThreadIndex),
    /// This thread.
    On(ThreadIndex),
}

/// What a timer must be for a start to go ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Idle,
    Pending,
}

impl Placing {
    fn thread(self) -> ThreadIndex {
        let (Self::Near(thread) | Self::On(thread)) = self;
        thread
    }
}

impl<F, const FIRST: usize, const LATER: usize> fmt::Debug for Timers<F, FIRST, LATER> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Timers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}
