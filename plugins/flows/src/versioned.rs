//! Words that one thread writes and others read, without a lock: a version tells a reader whether
//! the words belong together.
//!
//! ```text
//! version   even: vacant, or being filled       odd: the words are one value
//! ```
//! Source: Boehm, "Can seqlocks get along with programming language memory models?", 2012.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// One cache line: a version and seven words.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Versioned {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// Words of a value.
pub(crate) const WORDS: usize = 7;

const _: () = assert!(size_of::<Versioned>() == 64);

impl Versioned {
    /// Gives it a value. Context: the thread that owns it.
    #[inline]
    pub(crate) fn set(&self, words: [u64; WORDS]) {
        let vacant = self.vacate();
        for (own, word) in self.words.iter().zip(words) {
            own.store(word, Ordering::Relaxed);
        }
        self.version.store(vacant | 1, Ordering::Release); // After the words.
    }

    /// Takes its value away; its version then. Context: the thread that owns it.
    #[inline]
    pub(crate) fn vacate(&self) -> u64 {
        let version = self.version.load(Ordering::Relaxed);
        let vacant = (version + 1) & !1;
        self.version.store(vacant, Ordering::Relaxed);
        fence(Ordering::Release); // Before any word that is written later.
        vacant
    }

    /// Whether it has no value. Context: the thread that owns it.
    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.version.load(Ordering::Relaxed) & 1 == 0
    }

    /// A word of its value.
    #[inline(always)]
    pub(crate) fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    /// Changes a word of its value; to a reader, one that changes apart from the others. Context:
    /// the thread that owns it.
    #[inline(always)]
    pub(crate) fn set_word(&self, at: usize, word: u64) {
        self.words[at].store(word, Ordering::Relaxed);
    }

    /// Its value; `None` if it has none, or one was put in the place of another just now. Any
    /// thread.
    pub(crate) fn read(&self) -> Option<[u64; WORDS]> {
        let version = self.version.load(Ordering::Acquire);
        let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire); // After the words.
        let is_whole = version & 1 == 1 && self.version.load(Ordering::Relaxed) == version;
        is_whole.then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_value_is_read_until_it_is_taken_away() {
        let one = Versioned::default();
        assert_eq!(one.read(), None);
        one.set([1; WORDS]);
        one.set_word(2, 5);
        assert_eq!(one.read(), Some([1, 1, 5, 1, 1, 1, 1]));
        assert_eq!((one.is_vacant(), one.word(2)), (false, 5));
        one.vacate();
        assert_eq!((one.read(), one.is_vacant()), (None, true));
        one.vacate();
        assert_eq!(one.read(), None);
    }

    #[test]
    fn words_of_two_values_are_never_read_as_one() {
        let (one, stop) = (Versioned::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 0..200_000 {
                    one.set([value; WORDS]);
                    if value % 3 == 0 {
                        one.vacate();
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            while !stop.load(Ordering::Relaxed) {
                if let Some(words) = one.read() {
                    assert_eq!(words, [words[0]; WORDS]);
                }
            }
        });
    }
}
