//! The clock: nanoseconds since the host started, from the cycle counter. The only reader of it.
//!
//! ```text
//!  Clock (main)  ── verifies, publishes ──▶  Shared { generation, scale }
//!    └─ ThreadClock ◀──────── adopts ────────────┤
//!       ThreadClock (each worker) ◀── adopts ────┘   + its own offset, found at each barrier
//! ```

#![expect(unsafe_code, reason = "the cycle counter is read with an instruction of its own")]

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::alignment::{Bounds, Shared, Stamp, difference};
use super::calibration::{Calibration, Line, Sample, Scale, Tally, Verdict};
use super::units::{Cycles, Nanos};

/// How long the start-up calibration takes.
const CALIBRATION: Duration = Duration::from_millis(10);
/// Readings of both clocks of which the tightest pair is one sample.
const READINGS: u32 = 16;

/// Where the counts come from.
#[derive(Clone, Debug)]
enum Source {
    /// The processor's counter: `rdtsc` or `cntvct_el0`.
    Counter,
    /// The operating system's monotonic clock since an origin, for want of a steady counter.
    Monotonic(Instant),
    /// A number that a test sets.
    Virtual(VirtualTime),
}

/// The main thread's clock: a [`ThreadClock`] that also verifies itself for all threads.
///
/// Context: main.
#[derive(Debug)]
pub struct Clock {
    thread: ThreadClock,
    /// Origin of the monotonic clock's readings.
    origin: Instant,
    /// `None` where the counts are nanoseconds already.
    calibration: Option<Calibration>,
    interval: Cycles,
    closed: Cycles,
}

/// A thread's own clock. Never steps back.
///
/// Context: the thread that owns it.
#[derive(Debug)]
pub struct ThreadClock {
    source: Source,
    shared: Arc<Shared>,
    /// Generation of `scale`.
    generation: u64,
    scale: Scale,
    line: Line,
    /// The count at which `line` ends.
    turn: Cycles,
    last: Nanos,
    /// Added (wrapping) to this thread's counter to give main's.
    offset: Cycles,
    parked: Option<Cycles>,
    bounds: Bounds,
}

/// A time that stands still until it is told otherwise; clones show the same time.
///
/// Context: any.
#[derive(Clone, Debug, Default)]
pub struct VirtualTime(Arc<AtomicU64>);

/// What `show clock` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockReport {
    /// `tsc`, `cntvct`, `monotonic` or `virtual`.
    pub source: &'static str,
    /// Counts per second.
    pub frequency: f64,
    /// Time since the clock started.
    pub now: Nanos,
    /// What the checks found.
    pub tally: Tally,
}

impl Clock {
    /// Starts the clock at zero, on the best source this machine has.
    ///
    /// Cost: sleeps for 10 ms. Context: main, before the workers start.
    pub fn calibrate() -> Self {
        if counter_is_steady() { Self::on_counter() } else { Self::monotonic() }
    }

    /// Starts the clock at zero on the operating system's monotonic clock.
    pub fn monotonic() -> Self {
        let origin = monotonic_now();
        Self::new(Source::Monotonic(origin), origin, None)
    }

    /// Starts the clock on a time that only the caller moves.
    pub fn virtual_at(time: &VirtualTime) -> Self {
        Self::new(Source::Virtual(time.clone()), monotonic_now(), None)
    }

    /// The time since the start.
    ///
    /// Cost: one read of the counter.
    #[inline]
    pub fn read(&mut self) -> Nanos {
        self.thread.read()
    }

    /// Main's own thread clock.
    pub fn thread_mut(&mut self) -> &mut ThreadClock {
        &mut self.thread
    }

    /// A clock for another thread.
    pub fn thread(&self) -> ThreadClock {
        self.thread.another()
    }

    /// Checks the counter against the monotonic clock if the last check was 16 s ago or more.
    ///
    /// Called at each wake-up of main; never a reason to wake up. Cost: one read of the counter
    /// when not due.
    #[inline]
    pub fn verify_if_due(&mut self) -> Option<Verdict> {
        let calibration = self.calibration.as_ref()?;
        calibration.is_due(self.thread.counter(), self.interval).then(|| self.verify())?
    }

    /// Checks the counter against the monotonic clock now; `None` if there is nothing to check.
    pub fn verify(&mut self) -> Option<Verdict> {
        let shown = self.thread.read();
        let sample = sample(self.origin);
        let calibration = self.calibration.as_mut()?;
        let verdict = calibration.verify(sample, shown);
        self.interval = calibration.interval();
        self.thread.shared.publish(calibration.scale());
        Some(verdict)
    }

    /// Notes that all workers are parked. Context: main, as soon as it sees the last one.
    pub fn close(&mut self) {
        self.closed = self.thread.counter();
    }

    /// Gives what the workers align themselves by. Context: main, just before it releases them.
    pub fn release(&mut self) -> Stamp {
        Stamp { closed: self.closed, released: self.thread.counter() }
    }

    /// What `show clock` prints.
    pub fn report(&mut self) -> ClockReport {
        ClockReport {
            source: self.thread.source.name(),
            frequency: self.calibration.as_ref().map_or(1e9, Calibration::frequency),
            now: self.read(),
            tally: self.calibration.as_ref().map(|found| *found.tally()).unwrap_or_default(),
        }
    }

    fn on_counter() -> Self {
        let origin = monotonic_now();
        let first = sample(origin);
        #[expect(clippy::disallowed_methods, reason = "start-up: nothing else runs yet")]
        std::thread::sleep(CALIBRATION);
        let second = sample(origin);
        let calibration = Calibration::new(Nanos::ZERO, first, second);
        Self::new(Source::Counter, origin, Some(calibration))
    }

    fn new(source: Source, origin: Instant, calibration: Option<Calibration>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.publish(calibration.as_ref().map_or(&Scale::UNITY, Calibration::scale));
        let interval = calibration.as_ref().map_or(Cycles(u64::MAX), Calibration::interval);
        let thread = ThreadClock::new(source, shared, Nanos::ZERO);
        Self { thread, origin, calibration, interval, closed: Cycles(0) }
    }
}

impl ThreadClock {
    fn new(source: Source, shared: Arc<Shared>, last: Nanos) -> Self {
        let scale = Scale::UNITY;
        let mut clock = Self {
            source,
            shared,
            generation: 0,
            scale,
            line: scale.approach,
            turn: Cycles(0),
            last,
            offset: Cycles(0),
            parked: None,
            bounds: Bounds::NONE,
        };
        clock.adopt();
        clock
    }

    /// A clock for another thread.
    pub fn another(&self) -> Self {
        Self::new(self.source.clone(), Arc::clone(&self.shared), self.last)
    }

    /// The time since the start; the same as or later than at the last reading.
    ///
    /// Cost: one read of the counter.
    #[inline]
    pub fn read(&mut self) -> Nanos {
        let cycles = self.cycles();
        self.at(cycles)
    }

    /// The counter, in main's counts.
    ///
    /// Cost: one read of the counter.
    #[inline]
    pub fn cycles(&self) -> Cycles {
        Cycles(self.counter().0.wrapping_add(self.offset.0))
    }

    /// The time at a reading of [`Self::cycles`] just taken.
    ///
    /// Cost: a multiplication.
    #[inline]
    pub fn at(&mut self, cycles: Cycles) -> Nanos {
        if self.shared.generation.load(Ordering::Relaxed) != self.generation {
            self.adopt();
        }
        if cycles >= self.turn {
            self.line = self.scale.beyond;
            self.turn = Cycles(u64::MAX);
        }
        self.last = self.last.max(self.line.time(cycles));
        self.last
    }

    /// The latest time read.
    #[inline]
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// Notes this thread's counter. Context: worker, just before it tells main it is parked.
    pub fn park(&mut self) {
        self.parked = Some(self.counter());
    }

    /// Aligns this thread with main. Context: worker, just after it saw the barrier released.
    ///
    /// The offset is moved only where cause and effect at the barriers so far forbid the old
    /// one: with counters in step it stays zero, however late a thread wakes up.
    pub fn resume(&mut self, stamp: &Stamp) {
        let resumed = self.counter();
        if let Some(parked) = self.parked.take() {
            self.bounds = self.bounds.narrow(Bounds {
                low: difference(stamp.released, resumed),
                high: difference(stamp.closed, parked),
            });
            self.offset = self.bounds.nearest(self.offset);
        }
    }

    /// How many counts this thread's counter is behind main's, as far as the barriers showed.
    pub fn offset(&self) -> i64 {
        self.offset.0.cast_signed()
    }

    #[inline]
    fn counter(&self) -> Cycles {
        match &self.source {
            Source::Counter => Cycles(read_counter()),
            Source::Monotonic(origin) => Cycles(since(*origin).0),
            Source::Virtual(time) => Cycles(time.now().0),
        }
    }

    #[cold]
    fn adopt(&mut self) {
        if let Some((generation, scale)) = self.shared.read() {
            self.generation = generation;
            self.scale = scale;
            self.line = scale.approach;
            self.turn = scale.turn;
        }
    }
}

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::Counter => COUNTER,
            Self::Monotonic(_) => "monotonic",
            Self::Virtual(_) => "virtual",
        }
    }
}

impl VirtualTime {
    /// The time it shows.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }

    /// Moves it on.
    pub fn advance(&self, by: Nanos) {
        self.0.fetch_add(by.0, Ordering::Relaxed);
    }

    /// Sets it, forwards or back; clocks on it never step back all the same.
    pub fn set(&self, now: Nanos) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

/// Both clocks at one moment: the tightest of several readings.
fn sample(origin: Instant) -> Sample {
    let reading = || {
        let before = read_counter();
        let monotonic = since(origin);
        let width = read_counter().wrapping_sub(before);
        (width, Sample { cycles: Cycles(before.wrapping_add(width / 2)), monotonic })
    };
    let tightest = (1..READINGS)
        .map(|_| reading())
        .fold(reading(), |best, next| if next.0 < best.0 { next } else { best });
    tightest.1
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that others are told to use")]
fn monotonic_now() -> Instant {
    Instant::now()
}

fn since(origin: Instant) -> Nanos {
    Nanos::from(monotonic_now().saturating_duration_since(origin))
}

#[cfg(target_arch = "x86_64")]
const COUNTER: &str = "tsc";

#[cfg(target_arch = "x86_64")]
#[inline]
fn read_counter() -> u64 {
    // SAFETY: every x86-64 processor has `rdtsc`, and Linux lets user space use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Whether the counter runs at one speed through all power states, and the kernel trusts it.
#[cfg(target_arch = "x86_64")]
fn counter_is_steady() -> bool {
    use core::arch::x86_64::__cpuid;
    const POWER: u32 = 0x8000_0007;
    let invariant = __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & (1 << 8) != 0;
    let sources = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    let trusted = std::fs::read_to_string(sources)
        .map_or(true, |names| names.split_whitespace().any(|name| name == "tsc"));
    invariant && trusted
}

#[cfg(target_arch = "aarch64")]
const COUNTER: &str = "cntvct";

#[cfg(target_arch = "aarch64")]
#[inline]
fn read_counter() -> u64 {
    let count: u64;
    // SAFETY: Linux lets user space read the virtual counter; it touches nothing else.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack));
    }
    count
}

/// The architecture promises it.
#[cfg(target_arch = "aarch64")]
fn counter_is_steady() -> bool {
    true
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const COUNTER: &str = "none";

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read_counter() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_is_steady() -> bool {
    false
}

#[cfg(test)]
mod tests;
