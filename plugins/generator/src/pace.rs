//! Pacing: a token bucket in exact fixed-point numbers.

/// Bits behind the point of a number of packets.
const FRACTION: u32 = 64;
/// How much time's worth of packets may be caught up with after a pause.
const CATCH_UP_S: f64 = 0.1;
/// Packets that may be caught up with at any rate: one frame.
const CATCH_UP_PACKETS: f64 = 256.0;
/// The highest rate, packets per second.
pub const FASTEST_PPS: f64 = 1e9;

/// Says how many packets are due.
///
/// The fraction of a packet that is left over is kept, so that the mean rate does not drift,
/// however often it is asked. After a pause longer than 100 ms (or a frame) the rest is given up.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Packets of a nanosecond, in 2^-64.
    per_ns: u128,
    /// Most there can be in it, likewise.
    depth: u128,
    /// Packets due, likewise.
    level: u128,
    last_ns: Option<u64>,
}

impl Bucket {
    /// A bucket filled at `pps` packets per second, above 0 and at most [`FASTEST_PPS`], in which
    /// the first packet is due at once.
    pub fn new(pps: f64) -> Self {
        let depth = (pps * CATCH_UP_S).max(CATCH_UP_PACKETS);
        let one = 1 << FRACTION;
        Self { per_ns: fixed(pps / 1e9), depth: fixed(depth), level: one, last_ns: None }
    }

    /// Packets due at `now_ns`.
    #[inline]
    pub fn due(&mut self, now_ns: u64) -> u64 {
        let elapsed = now_ns.saturating_sub(self.last_ns.unwrap_or(now_ns));
        self.last_ns = self.last_ns.max(Some(now_ns));
        let added = u128::from(elapsed).saturating_mul(self.per_ns);
        self.level = self.level.saturating_add(added).min(self.depth);
        u64::try_from(self.level >> FRACTION).unwrap_or(u64::MAX)
    }

    /// Takes out packets that were sent.
    #[inline]
    pub fn take(&mut self, packets: u64) {
        self.level = self.level.saturating_sub(u128::from(packets) << FRACTION);
    }
}

/// A number of packets in fixed point; far below 2^64 of them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^27 packets")]
fn fixed(packets: f64) -> u128 {
    (packets * 2f64.powi(64)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks every `step_ns` for `total_ns` and takes all that is due.
    fn run(bucket: &mut Bucket, step_ns: usize, total_ns: u64) -> u64 {
        (0..=total_ns).step_by(step_ns).fold(0, |sent, now_ns| {
            let due = bucket.due(now_ns);
            bucket.take(due);
            sent + due
        })
    }

    #[test]
    fn the_mean_rate_does_not_drift_however_often_it_is_asked() {
        for pps in [0.5, 3.0, 333.3, 1e4, 1_234_567.8] {
            for step_ns in [317, 10_007, 999_983] {
                let total_ns = 2_000_000_000;
                let sent = run(&mut Bucket::new(pps), step_ns, total_ns);
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let (sent, expected) = (sent as f64, 1.0 + pps * 2.0);
                let asked_late = pps * 1e-3;
                assert!(
                    sent <= expected && sent > expected - 1.0 - asked_late,
                    "{pps} pps asked every {step_ns} ns: {sent}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_long_pause_is_not_caught_up_with_in_full() {
        let mut slow = Bucket::new(1000.0);
        slow.due(0);
        assert_eq!(slow.due(60_000_000_000), 256);
        let mut fast = Bucket::new(1e6);
        fast.due(0);
        assert_eq!(fast.due(60_000_000_000), 100_000);
        assert_eq!(fast.due(u64::MAX), 100_000, "no overflow");
    }

    #[test]
    fn what_was_not_sent_stays_due_and_a_clock_that_steps_back_adds_nothing() {
        let mut bucket = Bucket::new(1e6);
        bucket.due(5_000);
        assert_eq!(bucket.due(15_000), 11);
        bucket.take(4);
        assert_eq!(bucket.due(15_000), 7);
        assert_eq!(bucket.due(1_000), 7);
        assert_eq!(bucket.due(15_000), 7, "no time is counted twice");
    }
}
