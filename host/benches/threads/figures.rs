//! Many figures of one kind.

use std::fmt;

/// Nanoseconds, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Figures(Vec<u64>);

impl Figures {
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In microseconds: that below which `part` of them are; not a number if there are none.
    pub(crate) fn at(&self, part: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(clippy::cast_possible_truncation, reason = "a place in the list")]
        #[expect(clippy::cast_sign_loss, reason = "a place in the list")]
        let place = ((sorted.len() - 1) as f64 * part) as usize;
        sorted[place] as f64 / 1e3
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.1} / {:.1}", self.at(0.5), self.at(0.99), self.at(1.0))
    }
}
