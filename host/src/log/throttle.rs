//! How much a class may say. Pure: time is an argument.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::time::Nanos;

/// Classes told apart at most; more share one allowance while none of these is quiet.
const MAX_CLASSES: usize = 256;
const SECOND: Nanos = Nanos::from_secs(1);

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is logged.
    Pass,
    /// It is logged, after a word on those that were not.
    Resume { suppressed: u64 },
    /// It is not logged, a word on the silence that begins is.
    Throttle,
    /// It is not logged.
    Silent,
}

/// The allowance of every class: `rate` lines in a second; above that, none until the class has
/// been quiet for `quiet`.
#[derive(Debug)]
pub(super) struct Throttles {
    rate: u32,
    quiet: Nanos,
    classes: HashMap<Arc<str>, Throttle>,
    /// The allowance of those beyond [`MAX_CLASSES`].
    others: Throttle,
}

#[derive(Clone, Copy, Debug, Default)]
struct Throttle {
    /// When the second began that is counted in.
    second: Nanos,
    count: u32,
    /// When the last line came, logged or not.
    last: Nanos,
    throttled: bool,
    suppressed: u64,
    /// Lines logged in all, and not logged.
    counts: [u64; 2],
}

impl Throttles {
    pub(super) fn new(rate: u32, quiet: Nanos) -> Self {
        Self { rate, quiet, classes: HashMap::new(), others: Throttle::default() }
    }

    /// Decides on a line of `class`, at `rate` if that is said; returns its name to keep.
    ///
    /// Cost: O(1), allocates for a class it has not seen.
    pub(super) fn admit(
        &mut self,
        class: &str,
        now: Nanos,
        rate: Option<u32>,
    ) -> (Arc<str>, Verdict) {
        if !self.classes.contains_key(class) {
            self.make_room(now);
            if self.classes.len() < MAX_CLASSES {
                self.classes.insert(Arc::from(class), Throttle::default());
            }
        }
        let name = match self.classes.get_key_value(class) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(class),
        };
        let throttle = self.classes.get_mut(class).unwrap_or(&mut self.others);
        let verdict = throttle.admit(now, rate.unwrap_or(self.rate), self.quiet);
        let is_logged = matches!(verdict, Verdict::Pass | Verdict::Resume { .. });
        throttle.counts[usize::from(!is_logged)] += 1;
        (name, verdict)
    }

    /// The rate of classes for which nothing else is said.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Lines logged, and not logged, of the classes that are told apart.
    pub(super) fn counts(&self) -> BTreeMap<Arc<str>, [u64; 2]> {
        self.classes.iter().map(|(name, class)| (Arc::clone(name), class.counts)).collect()
    }

    /// What is said when a class is throttled.
    pub(super) fn announcement(&self, rate: Option<u32>) -> String {
        let (rate, quiet) = (rate.unwrap_or(self.rate), self.quiet.as_secs_f64());
        format!("throttled: over {rate} lines in a second, silent until {quiet} s without a line")
    }

    /// Forgets classes that a fresh start would not treat otherwise, if there are too many.
    fn make_room(&mut self, now: Nanos) {
        if self.classes.len() >= MAX_CLASSES {
            let keep = self.quiet.max(SECOND);
            self.classes.retain(|_, class| now.since(class.last) < keep);
        }
    }
}

impl Throttle {
    fn admit(&mut self, now: Nanos, rate: u32, quiet: Nanos) -> Verdict {
        let pause = now.since(self.last);
        self.last = self.last.max(now);
        if self.throttled {
            if pause < quiet {
                self.suppressed += 1;
                return Verdict::Silent;
            }
            let suppressed = self.suppressed;
            let counts = self.counts;
            *self = Self { second: now, count: 1, last: now, counts, ..Self::default() };
            return Verdict::Resume { suppressed };
        }
        if now.since(self.second) >= SECOND {
            self.second = now;
            self.count = 0;
        }
        if self.count < rate {
            self.count += 1;
            return Verdict::Pass;
        }
        self.throttled = true;
        self.suppressed = 1;
        Verdict::Throttle
    }
}
