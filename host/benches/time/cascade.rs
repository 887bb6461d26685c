//! The classic base of dynamic timers: 256 + 4 x 64 slots of doubly linked lists that cascade.

const FIRST: u32 = 256;
const LATER: u32 = 64;
const HEADS: u32 = FIRST + 4 * LATER;

#[derive(Clone, Copy)]
#[repr(C)]
struct Link {
    prev: u32,
    next: u32,
    deadline: u32,
    flags: u32,
    /// What a timer carries beside its links: function, data, who started it.
    rest: [u64; 3],
}

/// Timers 0, 1, 2…; a link per slot's head, then one per timer. A timer that does not run is
/// linked to itself. As large as Linux's `timer_list`.
pub(crate) struct Cascade {
    now: u32,
    links: Vec<Link>,
}

impl Cascade {
    pub(crate) fn new(size: u32) -> Self {
        let alone = |place| Link { prev: place, next: place, deadline: 0, flags: 0, rest: [1; 3] };
        Self { now: 0, links: (0..HEADS + size).map(alone).collect() }
    }

    /// Starts a timer or moves it.
    pub(crate) fn modify(&mut self, timer: u32, deadline: u32) {
        self.delete(timer);
        let place = HEADS + timer;
        self.links[place as usize].deadline = deadline;
        self.hang(place);
    }

    pub(crate) fn delete(&mut self, timer: u32) {
        let place = HEADS + timer;
        let Link { prev, next, .. } = self.links[place as usize];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        self.links[place as usize].prev = place;
        self.links[place as usize].next = place;
    }

    /// Advances by one tick and calls back for what expires.
    pub(crate) fn tick(&mut self, mut run: impl FnMut(&mut Self, u32)) {
        self.now += 1;
        let mut ring = 0;
        let mut turned = self.now / FIRST;
        if self.now.is_multiple_of(FIRST) {
            while ring < 4 {
                self.deal(FIRST + ring * LATER + turned % LATER);
                if !turned.is_multiple_of(LATER) {
                    break;
                }
                turned /= LATER;
                ring += 1;
            }
        }
        let head = self.now % FIRST;
        while self.links[head as usize].next != head {
            let timer = self.links[head as usize].next - HEADS;
            self.delete(timer);
            self.links[(HEADS + timer) as usize].flags += 1;
            run(self, timer);
        }
    }

    fn deal(&mut self, head: u32) {
        let mut place = self.links[head as usize].next;
        self.links[head as usize].prev = head;
        self.links[head as usize].next = head;
        while place != head {
            let next = self.links[place as usize].next;
            self.hang(place);
            place = next;
        }
    }

    fn hang(&mut self, place: u32) {
        let deadline = self.links[place as usize].deadline;
        let head = match deadline.wrapping_sub(self.now) {
            0..0x100 => deadline % FIRST,
            0x100..0x4000 => FIRST + (deadline >> 8) % LATER,
            0x4000..0x10_0000 => FIRST + LATER + (deadline >> 14) % LATER,
            0x10_0000..0x400_0000 => FIRST + 2 * LATER + (deadline >> 20) % LATER,
            _ => FIRST + 3 * LATER + (deadline >> 26) % LATER,
        };
        let prev = self.links[head as usize].prev;
        self.links[place as usize].prev = prev;
        self.links[place as usize].next = head;
        self.links[prev as usize].next = place;
        self.links[head as usize].prev = place;
    }
}
