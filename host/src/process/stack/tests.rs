use std::fs;

use super::*;

const KIB: usize = 1 << 10;

/// Writes to `bytes` bytes at the upper end.
fn touch(stack: &Stack, bytes: usize) {
    // SAFETY: inside the stack, on which nobody runs.
    unsafe { stack.base().wrapping_sub(bytes).write_bytes(1, bytes) };
}

/// Mappings of this process between two addresses: their access, as the kernel tells it.
fn access(from: *mut u8, to: *mut u8) -> Vec<(usize, usize, String)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().map(|line| {
        let mut fields = line.split_whitespace();
        let (low, high) = fields.next().unwrap().split_once('-').unwrap();
        let hex = |text| usize::from_str_radix(text, 16).unwrap();
        (hex(low), hex(high), fields.next().unwrap().to_owned())
    });
    lines.filter(|(low, high, _)| *low < to.addr() && *high > from.addr()).collect()
}

#[test]
fn a_stack_is_two_mappings_of_which_the_lower_is_a_guard() {
    let stack = Stack::new(Stack::DEFAULT).unwrap();

    let maps = access(stack.low(), stack.base());

    assert_eq!(maps.len(), 2, "{maps:x?}");
    assert!(maps[0].2.starts_with("---p"), "{maps:x?}");
    assert_eq!(maps[0].1, stack.limit().addr(), "{maps:x?}");
    assert!(stack.limit().addr() - stack.low().addr() >= GUARD);
    assert!(maps[1].2.starts_with("rw-p"), "{maps:x?}");
    assert_eq!(stack.base().addr() - stack.limit().addr(), 32 * KIB);
}

#[test]
fn a_size_is_rounded_up_to_whole_pages() {
    let stack = Stack::new(Stack::MIN + 1).unwrap();

    assert_eq!(stack.size(), Stack::MIN + page_size());
}

#[test]
fn a_size_out_of_bounds_is_refused_with_the_bound() {
    let small = Stack::new(1).unwrap_err().to_string();
    assert_eq!(small, "a stack of 1 bytes is too small: take at least 16384");
    for size in [Stack::MAX + 1, usize::MAX] {
        assert!(matches!(Stack::new(size), Err(StackError::TooLarge(found)) if found == size));
    }
}

#[test]
fn a_stack_that_cannot_be_mapped_is_an_error_that_names_the_limit() {
    let error = StackError::Exhausted { size: 32 * KIB, source: Errno::NOMEM };

    assert!(error.to_string().contains("`vm.max_map_count`"), "{error}");
}

#[test]
fn the_high_water_is_what_was_touched_and_asking_touches_nothing() {
    let stack = Stack::new(64 * KIB).unwrap();
    assert_eq!(stack.high_water(), 0);
    assert_eq!(stack.high_water(), 0);

    touch(&stack, 20 * KIB);

    assert!((20 * KIB..=28 * KIB).contains(&stack.high_water()), "{}", stack.high_water());
}

#[test]
fn the_high_water_of_a_large_stack_is_found_beyond_one_call() {
    let stack = Stack::new(16 << 20).unwrap();
    for bytes in [1, 5000 * KIB, 16 << 20] {
        touch(&stack, bytes);
        assert_eq!(stack.high_water(), bytes.next_multiple_of(page_size()));
    }
}

#[test]
fn a_pooled_stack_is_used_again_and_has_given_its_memory_back() {
    let mut pool = StackPool::new(4);
    let stack = pool.take(64 * KIB).unwrap();
    touch(&stack, 50 * KIB);
    let base = stack.base();

    pool.give(stack);
    let other_size = pool.take(32 * KIB).unwrap();
    let again = pool.take(64 * KIB - 1).unwrap();

    assert_ne!(other_size.base(), base);
    assert_eq!(again.base(), base);
    assert_eq!(again.high_water(), page_size());
    assert_eq!((pool.kept(), pool.reused()), (0, 1));
}

#[test]
fn a_pool_keeps_no_more_than_it_should() {
    let mut pool = StackPool::new(2);
    let stacks: Vec<Stack> = (0..3).map(|_| pool.take(Stack::DEFAULT).unwrap()).collect();

    for stack in stacks {
        pool.give(stack);
    }

    assert_eq!(pool.kept(), 2);
}
