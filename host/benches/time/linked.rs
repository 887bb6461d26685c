//! The wheel as it is usually built, VPP's shape: two rings of 512 doubly linked lists, elements of
//! 16 bytes in a pool, a timer moved from list to list at each update.

use crate::peers::Timers;

const SLOTS: u32 = 512;
const HEADS: u32 = 2 * SLOTS;

#[derive(Clone, Copy)]
struct Element {
    next: u32,
    prev: u32,
    deadline: u32,
    object: u32,
}

pub(crate) struct Linked {
    now: u32,
    elements: Vec<Element>,
    free: Vec<u32>,
    handles: Vec<u32>,
}

impl Linked {
    fn unhang(&mut self, place: u32) {
        let Element { next, prev, .. } = self.elements[place as usize];
        self.elements[prev as usize].next = next;
        self.elements[next as usize].prev = prev;
    }

    fn hang(&mut self, place: u32) {
        let deadline = self.elements[place as usize].deadline;
        let head = if deadline - self.now < SLOTS {
            deadline % SLOTS
        } else {
            SLOTS + deadline / SLOTS % SLOTS
        };
        let next = self.elements[head as usize].next;
        self.elements[place as usize].next = next;
        self.elements[place as usize].prev = head;
        self.elements[head as usize].next = place;
        self.elements[next as usize].prev = place;
    }
}

impl Timers for Linked {
    fn new(size: u32) -> Self {
        let alone = |place| Element { next: place, prev: place, deadline: 0, object: 0 };
        Self {
            now: 0,
            elements: (0..HEADS + size).map(alone).collect(),
            free: (HEADS..HEADS + size).rev().collect(),
            handles: vec![0; size as usize],
        }
    }

    fn start(&mut self, object: u32, interval: u64) {
        let place = self.free.pop().expect("as many elements as timers");
        let element = &mut self.elements[place as usize];
        element.object = object;
        element.deadline = self.now + interval as u32;
        self.handles[object as usize] = place;
        self.hang(place);
    }

    fn stop(&mut self, object: u32) {
        let place = self.handles[object as usize];
        self.unhang(place);
        self.free.push(place);
    }

    fn update(&mut self, object: u32, interval: u64) {
        let place = self.handles[object as usize];
        self.unhang(place);
        self.elements[place as usize].deadline = self.now + interval as u32;
        self.hang(place);
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<u32>) {
        while u64::from(self.now) < now {
            self.now += 1;
            if self.now.is_multiple_of(SLOTS) {
                let head = SLOTS + self.now / SLOTS % SLOTS;
                let mut place = self.elements[head as usize].next;
                self.elements[head as usize].next = head;
                self.elements[head as usize].prev = head;
                while place != head {
                    let next = self.elements[place as usize].next;
                    self.hang(place);
                    place = next;
                }
            }
            let head = self.now % SLOTS;
            let mut place = self.elements[head as usize].next;
            self.elements[head as usize].next = head;
            self.elements[head as usize].prev = head;
            while place != head {
                let Element { next, object, .. } = self.elements[place as usize];
                self.free.push(place);
                expired.push(object);
                place = next;
            }
        }
    }
}
