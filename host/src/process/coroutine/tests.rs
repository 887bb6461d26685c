use std::{fs, rc::Rc};

use super::*;
use crate::process::{Bounds, StackPool};

fn stack() -> Stack {
    Stack::new(64 << 10).unwrap()
}

/// Says when it is dropped.
struct Tell(Rc<Cell<u32>>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn values_go_in_at_a_resume_and_out_at_a_suspend() {
    let mut echo = Coroutine::new(stack(), |suspend: &Suspend<u64, String>, first: u64| {
        let mut sum = first;
        for _ in 0..1000 {
            sum += suspend.suspend(format!("so far {sum}"));
        }
        sum
    });

    let mut expected = 0;
    for input in 0..1000 {
        expected += input;
        assert_eq!(echo.resume(input), Step::Suspended(format!("so far {expected}")));
        assert!(echo.is_suspended());
    }
    assert_eq!(echo.resume(7), Step::Ended(Ok(expected + 7)));
    assert!(echo.is_ended() && !echo.is_suspended());
}

#[test]
fn values_larger_than_a_register_and_values_of_no_size_pass() {
    let mut large = Coroutine::new(stack(), |suspend: &Suspend<[u64; 20], ()>, mut all| {
        all[0] += suspend.suspend(())[19];
        all
    });

    assert_eq!(large.resume([5; 20]), Step::Suspended(()));
    let Step::Ended(Ok(all)) = large.resume([6; 20]) else { panic!("it has ended") };
    assert_eq!((all[0], all[1]), (11, 5));
}

#[test]
fn floating_point_and_all_other_registers_survive_a_switch() {
    let sums = |scale: f64| {
        move |suspend: &Suspend<f64, f64>, first: f64| {
            let mut values = [first; 24].map(|value| value * scale);
            for round in 0..100 {
                let input = suspend.suspend(values.iter().sum());
                for (at, value) in values.iter_mut().enumerate() {
                    *value += input * scale + f64::from(round) + at as f64;
                }
            }
            values.iter().sum::<f64>()
        }
    };
    let alone = |scale: f64| {
        let mut values = [1.0; 24].map(|value: f64| value * scale);
        for round in 0..100 {
            for (at, value) in values.iter_mut().enumerate() {
                *value += 2.0 * scale + f64::from(round) + at as f64;
            }
        }
        values.iter().sum::<f64>()
    };
    let mut both = [0.5, 3.0].map(|scale| (scale, Coroutine::new(stack(), sums(scale))));

    for _ in 0..100 {
        for (at, (_, coroutine)) in both.iter_mut().enumerate() {
            let input = if coroutine.is_suspended() { 2.0 } else { 1.0 };
            assert!(matches!(coroutine.resume(input), Step::Suspended(_)), "{at}");
        }
    }
    for (scale, coroutine) in &mut both {
        assert_eq!(coroutine.resume(2.0), Step::Ended(Ok(alone(*scale))));
    }
}

#[test]
fn a_coroutine_can_resume_another_and_each_is_the_current_one_while_it_runs() {
    let mut inner = Coroutine::new(stack(), |suspend: &Suspend<u32, u32>, first| {
        suspend.suspend(first + 1);
        first + 2
    });
    let inside = |bounds: Bounds, stack: &Stack| bounds.high == stack.base().addr();
    let mut outer = Coroutine::new(stack(), move |suspend: &Suspend<u32, u32>, first: u32| {
        let before = Bounds::of_current();
        let Step::Suspended(one) = inner.resume(first) else { panic!("it suspends first") };
        assert_eq!(Bounds::of_current(), before);
        assert!(!inside(before.unwrap(), inner.stack()));
        suspend.suspend(one);
        assert_eq!(Bounds::of_current(), before);
        let Step::Ended(Ok(two)) = inner.resume(0) else { panic!("it ends then") };
        two
    });

    assert_eq!(outer.resume(10), Step::Suspended(11));
    assert_eq!(Bounds::of_current(), None);
    assert_eq!(outer.resume(0), Step::Ended(Ok(12)));
}

#[test]
fn a_panic_of_the_body_comes_out_as_a_value_and_drops_its_frames() {
    let told = Rc::new(Cell::new(0));
    let tell = Tell(Rc::clone(&told));
    let mut failing = Coroutine::new(
        Stack::new(Stack::DEFAULT).unwrap(),
        move |suspend: &Suspend<(), ()>, ()| {
            let _tell = tell;
            suspend.suspend(());
            let parts: [u32; 2] = [1, 2];
            assert_eq!(parts.len(), 3, "bad luck");
        },
    );

    assert_eq!(failing.resume(()), Step::Suspended(()));
    let Step::Ended(Err(text)) = failing.resume(()) else { panic!("it panics") };
    assert!(text.to_string().contains("bad luck"), "{text}");
    assert_eq!(told.get(), 1);
    assert!(failing.into_stack().is_ok());
}

#[test]
fn a_panic_with_a_payload_that_panics_is_a_value_too() {
    struct Worse;
    impl Drop for Worse {
        fn drop(&mut self) {
            std::panic::panic_any(1);
        }
    }
    let mut failing = Coroutine::new(stack(), |_: &Suspend<(), ()>, ()| {
        std::panic::panic_any(Worse);
    });

    let text = "a panic without a text".to_owned();
    assert_eq!(failing.resume(()), Step::Ended(Err(PanicText(text))));
}

#[test]
#[should_panic(expected = "process \"short\" has ended and was resumed")]
fn a_coroutine_that_has_ended_cannot_be_resumed() {
    let mut short = Coroutine::new(stack(), |_: &Suspend<(), ()>, ()| ());
    short = short.labelled("process \"short\"");
    short.resume(());
    short.resume(());
}

thread_local! {
    /// What a plugin's functions know of who called them: nothing but who runs.
    static AMBIENT: Cell<*const Suspend<u32, u32>> = const { Cell::new(ptr::null()) };
}

extern "C" fn wait(value: u32) -> u32 {
    // SAFETY: the body below sets it, and is below this on the stack.
    let suspend = unsafe { &*AMBIENT.get() };
    suspend.suspend(value)
}

extern "C" fn plugin(rounds: u32, wait: extern "C" fn(u32) -> u32) -> u32 {
    if rounds == 0 { wait(1) } else { plugin(rounds - 1, wait) + wait(rounds) }
}

#[test]
fn a_body_suspends_through_frames_of_another_language_and_from_an_ambient_pointer() {
    let mut foreign = Coroutine::new(stack(), |suspend: &Suspend<u32, u32>, rounds| {
        AMBIENT.set(suspend);
        plugin(rounds, wait)
    });

    let mut step = foreign.resume(50);
    let mut waits = 0;
    while let Step::Suspended(value) = step {
        waits += 1;
        step = foreign.resume(value * 2);
    }

    assert_eq!(waits, 51);
    assert_eq!(step, Step::Ended(Ok(2 + 50 * 51)));
}

#[test]
fn suspending_a_coroutine_that_does_not_run_is_refused() {
    let place = Rc::new(Cell::new(ptr::null::<Suspend<u32, u32>>()));
    let to_me = Rc::clone(&place);
    let mut first = Coroutine::new(stack(), move |suspend: &Suspend<u32, u32>, input| {
        to_me.set(suspend);
        suspend.suspend(input)
    });
    first.resume(1);
    let mut second = Coroutine::new(stack(), move |_: &Suspend<u32, u32>, input| {
        // SAFETY: the first coroutine waits, and its `Suspend` stays as long.
        unsafe { &*place.get() }.suspend(input)
    });

    let Step::Ended(Err(text)) = second.resume(1) else { panic!("it is not its turn") };
    assert!(text.to_string().contains("only the coroutine that runs can suspend"), "{text}");
    assert_eq!(first.resume(3), Step::Ended(Ok(3)));
}

#[test]
fn a_body_that_never_began_is_dropped_and_its_stack_is_free() {
    let told = Rc::new(Cell::new(0));
    let tell = Tell(Rc::clone(&told));
    let ready = Coroutine::new(stack(), move |_: &Suspend<(), ()>, ()| drop(tell));

    assert!(ready.into_stack().is_ok());
    assert_eq!(told.get(), 1);
}

#[test]
fn a_suspended_body_is_parked_and_counted_and_nothing_of_it_is_dropped() {
    let told = Rc::new(Cell::new(0));
    let waiting = |place: Rc<Cell<*const u32>>| {
        let tell = Tell(Rc::clone(&told));
        let body = move |suspend: &Suspend<(), ()>, ()| {
            let (_tell, local) = (tell, 4711);
            place.set(&raw const local);
            suspend.suspend(());
        };
        let mut coroutine = Coroutine::new(stack(), body).labelled("process \"waiting\"");
        assert_eq!(coroutine.resume(()), Step::Suspended(()));
        coroutine
    };
    let place = Rc::new(Cell::new(ptr::null()));
    let before = Parked::totals();

    let parked = waiting(Rc::clone(&place)).into_stack().unwrap_err();
    drop(waiting(Rc::default())); // Not to be had any more.

    let after = Parked::totals();
    assert_eq!((after.count - before.count, after.bytes - before.bytes), (2, 128 << 10));
    assert_eq!(told.get(), 0);
    assert_eq!(parked.label(), "process \"waiting\"");
    assert!((1..=16 << 10).contains(&parked.stack().high_water()));
    // SAFETY: the frame that has the local is parked, and will be until the next statement.
    assert_eq!(unsafe { place.get().read() }, 4711);
    // SAFETY: nothing refers to its frames any more.
    let stack = unsafe { parked.reclaim() };
    assert_eq!(stack.size(), 64 << 10);
    assert_eq!(Parked::totals().count - before.count, 1);
    assert_eq!(told.get(), 0);
}

#[test]
fn a_stack_serves_one_body_after_the_other_and_forgets_how_deep_the_first_went() {
    fn deep(bytes: usize) -> u64 {
        let page = std::hint::black_box([1_u8; 1024]);
        let rest = if bytes > page.len() { deep(bytes - page.len()) } else { 0 };
        rest + std::hint::black_box(page).iter().map(|byte| u64::from(*byte)).sum::<u64>()
    }
    let mut pool = StackPool::new(1);
    let mut marks = Vec::new();
    for bytes in [20 << 10, 1, 20 << 10] {
        let body = move |_: &Suspend<(), ()>, ()| deep(bytes);
        let mut coroutine = Coroutine::new(pool.take(64 << 10).unwrap(), body);
        assert!(matches!(coroutine.resume(()), Step::Ended(Ok(1024..))));
        marks.push(coroutine.stack().high_water() >> 10);
        pool.give(coroutine.into_stack().unwrap());
    }

    assert_eq!(pool.reused(), 2);
    assert!((20..=60).contains(&marks[0]), "{marks:?}");
    assert!((4..=8).contains(&marks[1]), "{marks:?}");
    assert_eq!(marks[2], marks[0]);
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

#[test]
fn ten_thousand_wait_in_less_than_200_mb() {
    let before = resident();
    let mut all: Vec<_> = (0..10_000_u32)
        .map(|number| {
            let body = move |suspend: &Suspend<u32, u32>, input: u32| {
                let mut sum = input;
                sum += suspend.suspend(number);
                sum + suspend.suspend(number + 1)
            };
            Coroutine::new(Stack::new(Stack::DEFAULT).unwrap(), body)
        })
        .collect();
    for (number, coroutine) in (0..).zip(&mut all) {
        assert_eq!(coroutine.resume(1), Step::Suspended(number));
    }

    let grown = resident().saturating_sub(before);

    assert!(grown < 200_000_000, "{grown} bytes more are in memory");
    for (number, coroutine) in (0..).zip(&mut all) {
        assert_eq!(coroutine.resume(number), Step::Suspended(number + 1));
        assert_eq!(coroutine.resume(number), Step::Ended(Ok(1 + 2 * number)));
    }
}
