//! Places that are used again, and lists through them that allocate nothing.

/// A place, and which of those who have had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) struct Key {
    index: u32,
    serial: u32,
}

#[derive(Debug)]
struct Place<T> {
    serial: u32,
    value: Option<T>,
}

/// Values at places.
#[derive(Debug)]
pub(in super::super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(in super::super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(in super::super) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Key { index, serial: place.serial };
        }
        let index = u32::try_from(self.places.len()).expect("fewer than 2^32 places");
        self.places.push(Place { serial: 0, value: Some(value) });
        Key { index, serial: 0 }
    }

    pub(in super::super) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.serial != key.serial {
            return None;
        }
        let value = place.value.take()?;
        place.serial = place.serial.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    #[inline]
    pub(in super::super) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.serial == key.serial { place.value.as_ref() } else { None }
    }

    #[inline]
    pub(in super::super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.serial == key.serial { place.value.as_mut() } else { None }
    }

    /// What is at a place that is taken.
    #[inline]
    pub(in super::super) fn at(&mut self, key: Key) -> &mut T {
        self.get_mut(key).expect("the place is taken")
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.places).filter_map(|(index, place)| {
            let value = place.value.as_ref()?;
            Some((Key { index, serial: place.serial }, value))
        })
    }

    /// Keys of those that are chosen.
    pub(in super::super) fn keys(&self, chosen: impl Fn(&T) -> bool) -> Vec<Key> {
        self.iter().filter(|(_, value)| chosen(value)).map(|(key, _)| key).collect()
    }
}

/// The neighbours of a value that is in a list.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Link {
    before: Option<Key>,
    after: Option<Key>,
}

/// A value that can be in one list.
pub(in super::super) trait Linked {
    fn link(&mut self) -> &mut Link;
}

/// A list through the values of a slab. Cost of all: O(1).
#[derive(Debug, Default)]
pub(in super::super) struct List {
    first: Option<Key>,
    last: Option<Key>,
    len: usize,
}

impl List {
    pub(in super::super) fn len(&self) -> usize {
        self.len
    }

    pub(in super::super) fn push_back<T: Linked>(&mut self, slab: &mut Slab<T>, key: Key) {
        *slab.at(key).link() = Link { before: self.last, after: None };
        match self.last {
            Some(last) => slab.at(last).link().after = Some(key),
            None => self.first = Some(key),
        }
        self.last = Some(key);
        self.len += 1;
    }

    pub(in super::super) fn pop_front<T: Linked>(&mut self, slab: &mut Slab<T>) -> Option<Key> {
        let first = self.first?;
        self.remove(slab, first);
        Some(first)
    }

    /// Takes out a value that is in this list.
    pub(in super::super) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, key: Key) {
        let Link { before, after } = std::mem::take(slab.at(key).link());
        match before {
            Some(before) => slab.at(before).link().after = after,
            None => self.first = after,
        }
        match after {
            Some(after) => slab.at(after).link().before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }
}
