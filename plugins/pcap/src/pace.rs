//! When a packet of a capture is due.

/// Turns times of a capture into times of the host.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Times as fast as it was captured; `None`: flat out.
    speed: Option<f64>,
    /// A time of the host and the time of the capture that it stands for.
    origin: Option<(u64, u64)>,
    /// When the packet before was due.
    last_ns: u64,
}

impl Pace {
    pub(crate) fn new(speed: Option<f64>) -> Self {
        Self { speed, origin: None, last_ns: 0 }
    }

    /// The time of the host, in nanoseconds, at which a packet captured at `at_ns` is due; the
    /// first is due at once. It may be due in the past.
    pub(crate) fn due_ns(&mut self, at_ns: u64, now_ns: u64) -> u64 {
        let Some(speed) = self.speed else { return 0 };
        let (host_ns, capture_ns) = *self.origin.get_or_insert((now_ns, at_ns));
        // A packet may be older than the one before: then it is due with the first.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "exact for 104 days, and saturating"
        )]
        let passed_ns = (at_ns.saturating_sub(capture_ns) as f64 / speed) as u64;
        self.last_ns = host_ns.saturating_add(passed_ns);
        self.last_ns
    }

    /// Goes on with a packet captured at `at_ns` as if it had been captured with the one before.
    pub(crate) fn splice(&mut self, at_ns: u64) {
        if self.origin.is_some() {
            self.origin = Some((self.last_ns, at_ns));
        }
    }

    /// The next packet is due at once, whatever the time; those after it follow as captured.
    pub(crate) fn resume(&mut self) {
        self.origin = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_each_other_as_captured_by_the_speed() {
        let mut pace = Pace::new(Some(2.0));
        assert_eq!(pace.due_ns(5_000, 100), 100);
        assert_eq!(pace.due_ns(5_500, 100), 350);
        assert_eq!(pace.due_ns(4_000, 400), 100, "out of order");
        assert!(pace.due_ns(u64::MAX, 400) > u64::MAX / 3);
        pace.resume();
        assert_eq!(pace.due_ns(6_000, 9_000), 9_000);
    }

    #[test]
    fn what_is_due_after_the_end_of_time_is_due_at_the_end_of_time() {
        let mut pace = Pace::new(Some(f64::MIN_POSITIVE));
        assert_eq!([pace.due_ns(5, 100), pace.due_ns(6, 100)], [100, u64::MAX]);
    }

    #[test]
    fn another_round_begins_when_the_one_before_ends() {
        let mut pace = Pace::new(Some(1.0));
        assert_eq!([pace.due_ns(10, 1_000), pace.due_ns(30, 1_000)], [1_000, 1_020]);
        pace.splice(10);
        assert_eq!([pace.due_ns(10, 1_500), pace.due_ns(30, 1_500)], [1_020, 1_040]);
    }

    #[test]
    fn flat_out_all_are_due() {
        let mut pace = Pace::new(None);
        assert_eq!([pace.due_ns(10, 5), pace.due_ns(u64::MAX, 5)], [0, 0]);
    }
}
