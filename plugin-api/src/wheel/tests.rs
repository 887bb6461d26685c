use super::*;

fn objects<const TIMERS: usize>(expired: &mut Vec<Expiry<TIMERS>>) -> Vec<u32> {
    expired.drain(..).map(Expiry::object).collect()
}

#[test]
fn a_timer_expires_at_its_tick_and_not_before() {
    let mut wheel = Wheel16t2w512sl::new(1_000);
    let mut expired = Vec::new();
    for interval in [1, 2, 511, 512, 513, 1024, 100_000, 262_143] {
        let start = wheel.now();
        wheel.start(7, 3, interval).unwrap();
        assert_eq!(wheel.expire(start + interval - 1, &mut expired), 0);
        assert_eq!(wheel.expire(start + interval, &mut expired), 1);
        let expiry = expired.pop().unwrap();
        assert_eq!((expiry.object(), expiry.timer()), (7, 3));
        assert!(wheel.is_empty());
    }
}

#[test]
fn an_interval_of_zero_expires_on_the_next_tick() {
    let mut wheel = Wheel2t1w2048sl::new(5);
    let mut expired = Vec::new();
    wheel.start(1, 0, 0).unwrap();
    assert_eq!(wheel.expire(5, &mut expired), 0);
    assert_eq!(wheel.expire(6, &mut expired), 1);
}

#[test]
fn numbers_out_of_range_are_refused_and_start_nothing() {
    let mut wheel = Wheel16t2w512sl::new(0);
    let longest = Wheel16t2w512sl::MAX_INTERVAL;
    assert_eq!(longest, 512 * 512 - 1);
    assert_eq!(
        wheel.start(0, 0, longest + 1),
        Err(StartError::Overlong { interval: longest + 1, longest })
    );
    assert_eq!(wheel.start(0, 16, 1), Err(StartError::NoSuchTimer { timer: 16, timers: 16 }));
    assert_eq!(
        wheel.start(1 << 28, 0, 1),
        Err(StartError::NoSuchObject { object: 1 << 28, objects: 1 << 28 })
    );
    assert!(wheel.is_empty());
    let timer = wheel.start((1 << 28) - 1, 15, longest).unwrap();
    assert_eq!(
        wheel.update(timer, longest + 1),
        Err(UpdateError::Overlong { interval: longest + 1, longest })
    );
    assert_eq!(wheel.deadline(timer), Some(longest));
}

#[test]
fn every_object_number_fits_a_wheel_with_one_timer_per_object() {
    let mut wheel = Wheel1t3w1024slOv::new(0);
    let mut expired = Vec::new();
    wheel.start(u32::MAX, 0, 1).unwrap();
    wheel.expire(1, &mut expired);
    assert_eq!((expired[0].object(), expired[0].timer()), (u32::MAX, 0));
}

#[test]
fn a_stale_handle_does_nothing_to_the_timer_that_took_its_place() {
    let mut wheel = Wheel16t2w512sl::new(0);
    let old = wheel.start(1, 0, 10).unwrap();
    assert!(wheel.stop(old));
    let new = wheel.start(2, 0, 10).unwrap();
    assert_eq!(new.place(), old.place());
    assert!(!wheel.stop(old));
    assert_eq!(wheel.update(old, 5), Err(UpdateError::NotRunning));
    assert_eq!(wheel.deadline(old), None);
    assert_eq!(wheel.deadline(new), Some(10));
}

#[test]
#[should_panic(expected = "was stopped or has expired before")]
fn a_duplicate_stop_is_a_mistake_where_the_geometry_says_so() {
    let mut wheel = Wheel2t2w512sl::new(0);
    let timer = wheel.start(1, 0, 10).unwrap();
    wheel.stop(timer);
    wheel.stop(timer);
}

#[test]
fn restarts_for_later_leave_one_entry_only() {
    let mut wheel = Wheel16t2w512sl::new(0);
    let mut expired = Vec::new();
    let timer = wheel.start(1, 0, 100).unwrap();
    for now in 1..10_000 {
        wheel.expire(now, &mut expired);
        wheel.update(timer, 100).unwrap();
        assert_eq!(wheel.slots.entries(), 1);
    }
    assert_eq!(wheel.expire(9_999 + 99, &mut expired), 0);
    assert_eq!(wheel.expire(9_999 + 100, &mut expired), 1);
    assert_eq!(wheel.slots.entries(), 0);
}

#[test]
fn stops_and_starts_need_no_more_entries_than_timers_ran_at_once() {
    let mut wheel = Wheel1t3w1024slOv::new(0);
    for round in 0..1_000_u64 {
        let long = wheel.start(1, 0, 1_000_000).unwrap();
        wheel.stop(long);
        let short = wheel.start(2, 0, 1 + round % 7).unwrap();
        wheel.stop(short);
        wheel.expire(round, &mut Vec::new());
    }
    assert!(wheel.timers.len() == 1 && wheel.slots.entries() <= 1);
}

#[test]
fn expiries_beyond_the_bound_come_with_the_next_call_and_none_is_lost() {
    let mut wheel = TimingWheel::<1, 2, 16, DUPLICATE_STOP, 10>::new(0);
    for object in 0..35 {
        wheel.start(object, 0, 1 + u64::from(object) % 3).unwrap();
    }
    let mut expired = Vec::new();
    let mut counts = Vec::new();
    while counts.is_empty() || wheel.is_behind() {
        counts.push(wheel.expire(100, &mut expired));
    }
    assert_eq!(counts, [10, 10, 10, 5]);
    let ticks: Vec<u32> = expired.iter().map(|expiry| expiry.object() % 3).collect();
    assert!(ticks.is_sorted(), "{ticks:?}");
    let mut objects = objects(&mut expired);
    objects.sort_unstable();
    assert_eq!(objects, (0..35).collect::<Vec<_>>());
}

#[test]
fn a_timer_started_while_expiry_is_behind_counts_from_the_time_told() {
    let mut wheel = TimingWheel::<1, 1, 16, 0, 1>::new(0);
    wheel.start(1, 0, 1).unwrap();
    wheel.start(2, 0, 2).unwrap();
    let mut expired = Vec::new();
    wheel.expire(1_000, &mut expired);
    assert!(wheel.is_behind());
    let late = wheel.start(3, 0, 15).unwrap();
    assert_eq!(wheel.deadline(late), Some(1_015));
    while wheel.is_behind() {
        wheel.expire(1_014, &mut expired);
    }
    assert_eq!(objects(&mut expired), [1, 2]);
    wheel.expire(1_015, &mut expired);
    assert_eq!(objects(&mut expired), [3]);
}

#[test]
fn a_callback_may_restart_its_timer_and_stop_another_of_the_same_tick() {
    let mut wheel = Wheel16t2w512sl::new(0);
    let timers: Vec<_> = (0..2).map(|object| wheel.start(object, 0, 5).unwrap()).collect();
    let mut ticks = Vec::new();
    let count = wheel.expire_with(23, |wheel, expiry| {
        let other = timers[1 - expiry.object() as usize];
        if ticks.is_empty() {
            assert!(wheel.stop(other));
        }
        ticks.push(wheel.hand());
        // Periodic: from the deadline, not from the time it was noticed.
        let next = wheel.hand() + 5;
        if next > wheel.now() {
            wheel.start(expiry.object(), 0, next - wheel.now()).unwrap();
        }
    });
    assert_eq!((count, ticks), (1, vec![5]));
}

#[test]
fn a_jump_of_years_takes_no_longer_than_its_timers() {
    const YEAR: u64 = 365 * 86_400 * 100_000; // at 10 us
    let mut wheel = Wheel1t3w1024slOv::new(0);
    let mut expired = Vec::new();
    for year in [1, 3, 20] {
        wheel.start(year, 0, u64::from(year) * YEAR).unwrap();
    }
    wheel.start(0, 0, 1).unwrap();
    wheel.expire(2 * YEAR, &mut expired);
    assert_eq!(objects(&mut expired), [0, 1]);
    assert_eq!(wheel.next_expiry().map(|tick| tick > 2 * YEAR && tick <= 3 * YEAR), Some(true));
    wheel.expire(100 * YEAR, &mut expired);
    assert_eq!(objects(&mut expired), [3, 20]);
    assert_eq!(wheel.next_expiry(), None);
    let mut tiny = Wheel4t3w4slOv::new(0);
    tiny.start(9, 1, 1000 * YEAR).unwrap();
    tiny.expire(1000 * YEAR - 1, &mut Vec::new());
    assert_eq!(tiny.next_expiry(), Some(1000 * YEAR));
}

#[test]
fn the_next_expiry_is_exact_while_few_entries_have_to_be_looked_at() {
    let mut wheel = Wheel2t3w64slOv::new(0);
    let restarted = wheel.start(1, 0, 10).unwrap();
    wheel.update(restarted, 7_001).unwrap();
    let stopped = wheel.start(2, 0, 20).unwrap();
    wheel.stop(stopped);
    assert_eq!(wheel.next_expiry(), Some(7_001));
    wheel.start(3, 0, 1_000_000).unwrap();
    assert_eq!(wheel.next_expiry(), Some(7_001));
    wheel.start(4, 0, 6_999).unwrap();
    assert_eq!(wheel.next_expiry(), Some(6_999));
    assert!(wheel.quiet_until() <= 6_999);
    for object in 0..10_000 {
        wheel.start(object, 1, 6_990).unwrap();
    }
    let next = wheel.next_expiry().unwrap();
    assert!(next > 0 && next <= 6_990);
}

#[test]
fn a_handle_survives_as_a_number() {
    let mut wheel = Wheel2t3w64slOv::new(0);
    let timer = wheel.start(1, 0, 10).unwrap();
    assert_eq!(TimerHandle::from_bits(timer.to_bits()), timer);
    assert_ne!(timer.to_bits(), 0);
    assert!(!wheel.stop(TimerHandle::from_bits(0)));
    assert!(wheel.stop(timer));
    assert!(!wheel.stop(TimerHandle::from_bits(timer.to_bits() + (1 << 32))));
}

#[test]
fn the_end_of_time_is_an_ordinary_tick() {
    let mut wheel = Wheel4t3w4slOv::new(u64::MAX - 100);
    let mut expired = Vec::new();
    wheel.start(1, 0, 50).unwrap();
    wheel.start(2, 0, 5_000).unwrap();
    wheel.expire(u64::MAX, &mut expired);
    assert_eq!(objects(&mut expired), [1, 2]);
}

#[test]
fn a_clock_that_runs_backwards_expires_nothing() {
    let mut wheel = Wheel2t2w512sl::new(100);
    let timer = wheel.start(1, 0, 5).unwrap();
    assert_eq!(wheel.expire(3, &mut Vec::new()), 0);
    assert_eq!((wheel.now(), wheel.deadline(timer)), (100, Some(105)));
}

#[test]
fn a_million_timers_in_one_slot_expire_together() {
    let mut wheel = Wheel16t2w512sl::with_capacity(0, 1_000_000);
    for object in 0..1_000_000 {
        wheel.start(object, 0, 300).unwrap();
    }
    let mut expired = Vec::new();
    assert_eq!(wheel.expire(299, &mut expired), 0);
    assert_eq!(wheel.expire(300, &mut expired), 1_000_000);
}

#[test]
fn errors_say_what_to_do() {
    let text = StartError::Overlong { interval: 9, longest: 7 }.to_string();
    assert_eq!(text, "interval of 9 ticks: this wheel reaches 7; use one with overflow");
    assert_eq!(UpdateError::NotRunning.to_string(), "the timer does not run: start it anew");
}
