use super::*;

const START: Nanos = Nanos(5_000);

/// A counter at `hz` read after `seconds`, beside a monotonic clock that is right.
fn sample(hz: f64, seconds: f64) -> Sample {
    Sample {
        cycles: Cycles(whole(1e6 + hz * seconds)),
        monotonic: START + Nanos(whole(seconds * 1e9)),
    }
}

fn calibrated(hz: f64) -> Calibration {
    Calibration::new(START, sample(hz, 0.0), sample(hz, 0.01))
}

fn error_nanos(calibration: &Calibration, sample: Sample) -> i64 {
    let shown = calibration.scale().time(sample.cycles).0.cast_signed();
    shown - (sample.monotonic.0 - START.0).cast_signed()
}

#[test]
fn a_calibrated_counter_shows_the_monotonic_time() {
    let calibration = calibrated(2.4e9);
    assert!((calibration.frequency() / 2.4e9 - 1.0).abs() < 1e-6);
    assert!(error_nanos(&calibration, sample(2.4e9, 3.0)).abs() < 1_000);
}

#[test]
fn an_error_of_the_first_calibration_is_corrected_without_a_step() {
    let mut calibration = calibrated(2.4e9 * (1.0 + 20e-6));
    let mut shown = Nanos::ZERO;
    let mut seconds = 0.01;
    let mut last = sample(2.4e9, 0.01);
    calibration.last = last;
    for _ in 0..40 {
        seconds += calibration.interval().0 as f64 / 2.4e9;
        let now = sample(2.4e9, seconds);
        let before = calibration.scale().time(now.cycles);
        assert!(before >= shown, "{before} < {shown}");
        assert_eq!(calibration.verify(now, before), Verdict::Accepted);
        shown = calibration.scale().time(now.cycles);
        assert!(shown >= before);
        assert!(shown.0 - before.0 < 2, "stepped from {before} to {shown}");
        last = now;
    }
    assert!(error_nanos(&calibration, last).abs() < 1_000, "{}", error_nanos(&calibration, last));
    assert!(calibration.tally().drift_ppm.abs() < 0.1);
    assert_eq!(calibration.tally().rejected, 0);
}

#[test]
fn the_correction_ends_by_itself_when_nobody_looks_for_a_day() {
    let mut calibration = calibrated(1e9);
    calibration.zero -= 8_000_000;
    let second = sample(1e9, 1.0);
    assert_eq!(calibration.verify(second, Nanos::ZERO), Verdict::Accepted);
    assert_eq!(calibration.tally().behind_nanos / 1_000, 8_000);
    let scale = *calibration.scale();
    assert!(scale.approach.slope > scale.beyond.slope);
    // A share of the 8 ms is made up for, and no more however long the host sleeps.
    let day = sample(1e9, 86_400.0);
    let behind = 8_000_000 - error_nanos(&calibration, day) - 8_000_000;
    assert!((-8_000_000..-1_000_000).contains(&behind), "{behind}");
}

#[test]
fn a_sample_one_percent_off_is_rejected_and_moves_nothing() {
    let mut calibration = calibrated(2e9);
    let before = *calibration.scale();
    let off = Sample { cycles: Cycles(whole(1e6 + 2e9 * 1.02)), ..sample(2e9, 1.0) };
    assert_eq!(calibration.verify(off, Nanos::ZERO), Verdict::Rejected);
    assert_eq!(*calibration.scale(), before);
    assert_eq!(calibration.tally().rejected, 1);
}

#[test]
fn a_monotonic_clock_that_stood_still_is_rejected() {
    let mut calibration = calibrated(2e9);
    let still = Sample { monotonic: sample(2e9, 0.01).monotonic, ..sample(2e9, 5.0) };
    assert_eq!(calibration.verify(still, Nanos::ZERO), Verdict::Rejected);
}

#[test]
fn a_suspended_machine_is_not_made_up_for() {
    let mut calibration = calibrated(2e9);
    // The counter ran for an hour, the monotonic clock for 10 s.
    let asleep = Sample { monotonic: sample(2e9, 10.0).monotonic, ..sample(2e9, 3600.0) };
    assert_eq!(calibration.verify(asleep, Nanos::ZERO), Verdict::Rejected);
    let later = Sample {
        cycles: Cycles(asleep.cycles.0 + 32_000_000_000),
        monotonic: asleep.monotonic + Nanos::from_secs(16),
    };
    let shown = calibration.scale().time(later.cycles);
    assert_eq!(calibration.verify(later, shown), Verdict::Accepted);
    assert!(calibration.tally().behind_nanos.abs() < 10_000);
}

#[test]
fn samples_that_agree_three_times_overrule_a_wrong_calibration() {
    let mut calibration = calibrated(2e9);
    for second in 1..=2 {
        let verdict = calibration.verify(sample(3e9, f64::from(second)), Nanos::ZERO);
        assert_eq!(verdict, Verdict::Rejected);
    }
    // The first interval straddles both rates, so it takes one more.
    let mut verdict = calibration.verify(sample(3e9, 3.0), Nanos::ZERO);
    if verdict == Verdict::Rejected {
        verdict = calibration.verify(sample(3e9, 4.0), Nanos::ZERO);
    }
    assert_eq!(verdict, Verdict::Restarted);
    assert!((calibration.frequency() / 3e9 - 1.0).abs() < 1e-6);
}

#[test]
fn a_counter_that_goes_backwards_restarts_where_the_clock_stood() {
    let mut calibration = calibrated(2e9);
    let shown = Nanos::from_secs(7);
    let reset = Sample { cycles: Cycles(3), monotonic: sample(2e9, 6.0).monotonic };
    assert!(calibration.is_due(reset.cycles, calibration.interval()));
    assert_eq!(calibration.verify(reset, shown), Verdict::Restarted);
    assert_eq!(calibration.scale().time(Cycles(3)), shown);
    assert_eq!(calibration.scale().time(Cycles(3 + 2_000)), shown + Nanos(1_000));
}
