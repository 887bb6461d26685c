//! 10,000 processes that wait for random times again and again: how late they are woken, and how many
//! of them in a second.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gristmill::{
    graph::Owner,
    process::{Body, Ending, Processes, Request},
    time::{Clock, Nanos, ThreadClock},
};

use crate::{pass, report, spec, start::load};

const COUNT: u32 = 10_000;
/// Shortest and longest time that one waits, in nanoseconds: two million wake-ups a second if none
/// were late, and a tenth of that.
const TIMES: [(&str, Times); 2] = [("", (10_000, 10_000_000)), ("-tenth", (100_000, 100_000_000))];
/// How long all of them are watched.
const WATCHED: Nanos = Nanos(2_000_000_000);
/// Unit of the processes' times, in microseconds.
const TICK: f64 = 10.0;

type Times = (u64, u64);

/// Figures in the order of their size.
pub(crate) struct Percentiles(Vec<u64>);

impl Percentiles {
    pub(crate) fn of(mut figures: Vec<u64>) -> Self {
        figures.sort_unstable();
        Self(figures)
    }

    /// The figure below which `part` of them are.
    pub(crate) fn at(&self, part: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "a place in the list")]
        #[expect(clippy::cast_sign_loss, reason = "a place in the list")]
        let place = ((self.0.len() - 1) as f64 * part) as usize;
        self.0[place] as f64
    }
}

/// What the processes share.
struct Board {
    clock: RefCell<ThreadClock>,
    late: RefCell<Vec<u64>>,
    random: Cell<u64>,
    counts: Cell<bool>,
    times: Times,
}

impl Board {
    /// The next random time to wait.
    fn time(&self) -> u64 {
        let mut random = self.random.get(); // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        self.times.0 + random % (self.times.1 - self.times.0)
    }
}

struct Sleeper {
    processes: &'static Processes,
    board: Rc<Board>,
}

impl Body for Sleeper {
    fn run(&mut self) -> Ending {
        let Self { processes, board } = self;
        loop {
            let time = board.time();
            let due = board.clock.borrow_mut().read().0 + time;
            let request = Request { timeout: Some(Nanos(time)), ..Request::default() };
            let Ok(woken) = processes.wait(request) else { return Ending::Cancelled };
            assert!(woken.clock, "nobody else wakes it");
            if board.counts.get() {
                let now = board.clock.borrow_mut().read().0;
                let late = now.checked_sub(due).expect("not a moment early");
                board.late.borrow_mut().push(late);
            }
        }
    }
}

pub(crate) fn run() {
    for (name, times) in TIMES {
        watch(name, times);
    }
}

fn watch(name: &str, times: Times) {
    let mut clock = Clock::calibrate();
    let processes: &'static Processes = Box::leak(Box::new(Processes::new(clock.thread())));
    let board = Rc::new(Board {
        clock: RefCell::new(clock.thread()),
        late: RefCell::new(Vec::with_capacity(16 << 20)),
        random: Cell::new(0x9e37_79b9_7f4a_7c15),
        counts: Cell::new(false),
        times,
    });
    for _ in 0..COUNT {
        let sleeper = Sleeper { processes, board: Rc::clone(&board) };
        processes.spawn(spec("sleeper", 32 << 10), Box::new(sleeper));
    }
    let mut until = |end: Nanos| {
        while clock.read() < end {
            pass(processes, clock.read(), |_| ());
        }
        clock.read()
    };
    let begun = until(Nanos(500_000_000)); // All have begun, and are spread.
    board.counts.set(true);
    let before = load();
    let end = until(Nanos(begun.0 + WATCHED.0));
    board.counts.set(false);
    let seconds = (end.0 - begun.0) as f64 / 1e9;

    let late = Percentiles::of(board.late.take());
    let offered = f64::from(COUNT) / ((times.0 + times.1) as f64 / 2e9);
    let rate = late.0.len() as f64 / seconds;
    println!(
        "# load average {before}; {rate:.0} wake-ups a second of {offered:.0} if none were late"
    );
    for (percentile, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let what = format!("lateness-us/{COUNT}{name}-{percentile}");
        report(&what, "tick", late.at(part) / 1e3, TICK);
    }
    report(&format!("wake-up/{COUNT}{name}"), "offered", 1e9 / rate, 1e9 / offered);
    processes.revoke(Owner(1), |_| ());
}
