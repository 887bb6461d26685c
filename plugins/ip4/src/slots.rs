//! Numbered words that the packet path reads while one writer changes them.
//!
//! A number stays with its owner until it is retired, and is given out again only after a grace
//! period: a packet may carry it from one node to another.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use crate::arena::{Arena, Full, LINE_WORDS, Lines};

/// The words, as readers see them.
#[derive(Clone, Debug)]
pub struct SlotReader(Arc<Lines>);

impl SlotReader {
    /// Word `index`; 0 if it was never set.
    #[inline(always)]
    pub fn read(&self, index: u32) -> u32 {
        let (line, word) = place(index);
        self.0.line(line).0[word].load(Ordering::Acquire)
    }
}

/// Line and word of number `index`.
#[inline(always)]
const fn place(index: u32) -> (u32, usize) {
    const { assert!(LINE_WORDS == 16) }
    (index / 16, index as usize % LINE_WORDS)
}

/// The words, as their only writer sees them.
#[derive(Debug)]
pub struct Slots {
    /// Only single lines are taken and none is given back, so line `n` has words `16 * n` on.
    lines: Arena,
    /// First number never given out.
    fresh: u32,
    limit: u32,
    free: Vec<u32>,
    retired: Vec<u32>,
    in_grace: Vec<u32>,
}

impl Slots {
    /// No words; there will be at most `limit`.
    pub fn new(limit: u32) -> Self {
        Self {
            lines: Arena::new(),
            fresh: 0,
            limit,
            free: Vec::new(),
            retired: Vec::new(),
            in_grace: Vec::new(),
        }
    }

    /// A reader.
    pub fn reader(&self) -> SlotReader {
        SlotReader(Arc::clone(self.lines.lines()))
    }

    /// Gives out a number and sets its word.
    ///
    /// # Errors
    /// [`Full`] if there are as many as there may be.
    pub fn take(&mut self, word: u32) -> Result<u32, Full> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.fresh >= self.limit => return Err(Full),
            None => {
                if place(self.fresh).1 == 0 {
                    self.lines.take(1)?;
                }
                self.fresh += 1;
                self.fresh - 1
            }
        };
        self.set(index, word);
        Ok(index)
    }

    /// Sets the word of a number that was given out.
    pub fn set(&mut self, index: u32, word: u32) {
        assert!(index < self.fresh, "word {index} of {}", self.fresh);
        let (line, at) = place(index);
        self.lines.lines().line(line).0[at].store(word, Ordering::Release);
    }

    /// Word `index`.
    pub fn get(&self, index: u32) -> u32 {
        let (line, at) = place(index);
        self.lines.lines().line(line).0[at].load(Ordering::Relaxed)
    }

    /// Takes a number back that no reader finds any more, though one may still use it; its word
    /// becomes `word`.
    pub fn retire(&mut self, index: u32, word: u32) {
        self.set(index, word);
        self.retired.push(index);
    }

    /// As [`Arena::begin_grace`].
    pub fn begin_grace(&mut self) -> bool {
        if !self.in_grace.is_empty() || self.retired.is_empty() {
            return false;
        }
        mem::swap(&mut self.retired, &mut self.in_grace);
        true
    }

    /// As [`Arena::end_grace`].
    pub fn end_grace(&mut self) {
        self.free.append(&mut self.in_grace);
    }

    /// Numbers that wait for a grace period.
    pub fn waiting(&self) -> usize {
        self.retired.len() + self.in_grace.len()
    }
}
