//! Doubly linked lists of timers, by number instead of by pointer, all in one vector.
//!
//! ```text
//! links:   heads, one for each slot            timers, one for each place
//!          [0] [1] … [heads - 1]               [heads] [heads + 1] …
//! a list:  head ⇄ timer ⇄ timer ⇄ (head)       an empty one: the head, linked to itself
//! ```
//! 32 bytes, and what the timer stands for: less than a cache line in all, if that is a pointer or
//! two.

use super::rings::NEVER;

/// A head, or the place of a timer.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Link<T> {
    /// The tick at which the timer expires; [`NEVER`] if the place has no timer.
    pub(super) deadline: u64,
    /// The tick at which the slot is examined on whose list this is; [`NEVER`] if it is on none.
    /// Never after the deadline.
    pub(super) examined: u64,
    /// Counts the timers that had this place before.
    pub(super) generation: u32,
    /// Which rings the place belongs to.
    pub(super) class: u32,
    prev: u32,
    next: u32,
    /// What the timer stands for; `None` if the place has no timer.
    pub(super) value: Option<T>,
}

/// Heads and places.
#[derive(Debug)]
pub(super) struct Links<T>(Vec<Link<T>>);

impl<T> Links<T> {
    /// Empty lists.
    pub(super) fn new(heads: u32) -> Self {
        let head = |place| Link { prev: place, next: place, ..Link::alone(0) };
        Self((0..heads).map(head).collect())
    }

    /// A new place, which is on no list.
    #[cold]
    pub(super) fn grow(&mut self, class: u32) -> u32 {
        let place = u32::try_from(self.0.len()).expect("2^32 links do not fit into memory");
        self.0.push(Link::alone(class));
        place
    }

    #[inline]
    pub(super) fn get(&mut self, place: u32) -> Option<&mut Link<T>> {
        self.0.get_mut(place as usize)
    }

    #[inline]
    pub(super) fn at(&mut self, place: u32) -> &mut Link<T> {
        &mut self.0[place as usize]
    }

    /// Puts a place at the end of a list.
    #[inline]
    pub(super) fn hang(&mut self, head: u32, place: u32) {
        let last = core::mem::replace(&mut self.at(head).prev, place);
        let link = self.at(place);
        link.prev = last;
        link.next = head;
        self.at(last).next = place;
    }

    /// Takes a place off its list.
    #[inline]
    pub(super) fn unhang(&mut self, place: u32) {
        let &mut Link { prev, next, .. } = self.at(place);
        self.at(prev).next = next;
        self.at(next).prev = prev;
    }

    /// Takes the first place off a list of which all are taken so, and none otherwise: what is
    /// before the second one is not put right.
    #[inline]
    pub(super) fn shift(&mut self, head: u32) -> Option<u32> {
        let first = self.at(head).next;
        if first == head {
            self.at(head).prev = head;
            return None;
        }
        self.at(head).next = self.at(first).next;
        Some(first)
    }

    /// Empties a list and tells its first place, from which [`Self::next`] leads to the others, and
    /// at last to the head.
    pub(super) fn detach(&mut self, head: u32) -> u32 {
        let link = self.at(head);
        link.prev = head;
        core::mem::replace(&mut link.next, head)
    }

    pub(super) fn next(&self, place: u32) -> u32 {
        self.0[place as usize].next
    }

    /// What is at the places.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|link| link.value.as_ref())
    }

    /// One more than the last place.
    pub(super) fn end(&self) -> usize {
        self.0.len()
    }

    /// The deadlines of a list.
    pub(super) fn deadlines(&self, head: u32) -> impl Iterator<Item = u64> {
        let mut place = head;
        core::iter::from_fn(move || {
            place = self.0[place as usize].next;
            (place != head).then(|| self.0[place as usize].deadline)
        })
    }
}

impl<T> Link<T> {
    const fn alone(class: u32) -> Self {
        Self {
            deadline: NEVER,
            examined: NEVER,
            generation: 1,
            class,
            prev: 0,
            next: 0,
            value: None,
        }
    }
}
