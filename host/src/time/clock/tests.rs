use super::*;

#[test]
fn a_virtual_clock_moves_only_when_told_and_never_back() {
    let time = VirtualTime::default();
    let mut clock = Clock::virtual_at(&time);
    assert_eq!(clock.read(), Nanos::ZERO);
    time.advance(Nanos::from_secs(100 * 365 * 86_400));
    let century = clock.read();
    assert_eq!(century, Nanos::from_secs(100 * 365 * 86_400));
    time.set(Nanos::ZERO);
    assert_eq!(clock.read(), century);
    assert_eq!(clock.verify_if_due(), None);
    assert_eq!(clock.report().source, "virtual");
}

#[test]
fn every_source_runs_with_the_monotonic_clock() {
    for mut clock in [Clock::calibrate(), Clock::monotonic()] {
        let origin = monotonic_now();
        let start = clock.read();
        while since(origin) < Nanos::from_millis(20) {
            std::hint::spin_loop();
        }
        let (shown, real) = (clock.read() - start, since(origin));
        assert!(shown >= Nanos::from_millis(19), "{shown}");
        assert!(shown.0 <= real.0 + real.0 / 50 + 10_000, "{shown} {real}");
    }
}

#[test]
fn no_reading_is_earlier_than_the_one_before() {
    let mut clock = Clock::calibrate();
    let mut before = clock.read();
    for round in 0..200_000 {
        if round % 10_000 == 0 {
            clock.verify();
        }
        let now = clock.read();
        assert!(now >= before, "{now} < {before}");
        before = now;
    }
}

#[test]
fn a_worker_takes_the_new_scale_over_at_its_next_reading() {
    let clock = Clock::calibrate();
    let mut worker = clock.thread();
    worker.read();
    let scale = Scale {
        approach: Line { from: Cycles(0), at: Nanos::from_secs(1_000_000_000), slope: 1 },
        turn: Cycles(u64::MAX),
        ..Scale::UNITY
    };
    clock.thread.shared.publish(&scale);
    assert!(worker.read() >= Nanos::from_secs(1_000_000_000));
}

#[test]
fn threads_agree_to_within_a_microsecond_after_a_barrier() {
    let mut clock = Clock::calibrate();
    let mut worker = clock.thread();
    let (to_worker, at_worker) = std::sync::mpsc::channel::<Option<Stamp>>();
    let (to_main, at_main) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        worker.park();
        to_main.send(Nanos::ZERO).unwrap();
        while let Ok(message) = at_worker.recv() {
            match message {
                Some(stamp) => worker.resume(&stamp),
                None => to_main.send(worker.read()).unwrap(),
            }
        }
        worker.offset()
    });
    at_main.recv().unwrap();
    clock.close();
    to_worker.send(Some(clock.release())).unwrap();
    for _ in 0..1_000 {
        let before = clock.read();
        to_worker.send(None).unwrap();
        let there = at_main.recv().unwrap();
        let after = clock.read();
        assert!(there + Nanos(1_000) >= before, "{there} before {before}");
        assert!(there <= after + Nanos(1_000), "{there} after {after}");
    }
    drop(to_worker);
    let offset = thread.join().unwrap();
    assert!(offset.unsigned_abs() < 10_000, "{offset}");
}

#[test]
fn an_offset_is_found_from_cause_and_effect_and_kept_while_possible() {
    let time = VirtualTime::default();
    let main = Clock::virtual_at(&time);
    let mut worker = main.thread();
    // A late wake-up alone says nothing against counters in step.
    time.set(Nanos(1_000));
    worker.park();
    time.set(Nanos(9_000));
    worker.resume(&Stamp { closed: Cycles(1_200), released: Cycles(1_300) });
    assert_eq!(worker.offset(), 0);
    // Main was at 20,000 before this thread, at 10,100, went on: it is 9,900 behind at least.
    time.set(Nanos(10_000));
    worker.park();
    time.set(Nanos(10_100));
    worker.resume(&Stamp { closed: Cycles(19_990), released: Cycles(20_000) });
    assert_eq!(worker.offset(), 9_900);
    assert_eq!(worker.cycles(), Cycles(20_000));
}

#[test]
fn the_report_names_the_counter_and_its_frequency() {
    let mut clock = Clock::calibrate();
    let report = clock.report();
    assert!(report.source == COUNTER || report.source == "monotonic");
    assert!(report.frequency > 1e6, "{}", report.frequency);
    assert!(report.source == "monotonic" || report.tally.calibrations == 1);
}
