//! Named slots: who has which bytes of a buffer's second header line.

use gristmill_abi::buffer::{SLOTS, SLOTS_AT};

use crate::graph::Owner;

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// A slot of that name is another plugin's.
    #[error("the buffer slot {0:?} is taken")]
    Taken(String),
    /// Not a size or alignment that fits a line.
    #[error("a buffer slot of {size} bytes aligned to {align} does not fit a line of {SLOTS}")]
    Shape {
        /// Size asked for.
        size: u32,
        /// Alignment asked for.
        align: u32,
    },
    /// No room is left.
    #[error("no room for a buffer slot of {size} bytes: {holders}")]
    Full {
        /// Size asked for.
        size: u32,
        /// Who has the room.
        holders: String,
    },
}

#[derive(Debug)]
struct Slot {
    name: String,
    owner: Owner,
    from: u32,
    size: u32,
}

/// All slots.
#[derive(Debug, Default)]
pub struct Slots(Vec<Slot>);

impl Slots {
    /// Reserves a slot and gives its offset from the start of the buffer; the same one for the
    /// same name, size and owner.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn reserve(
        &mut self,
        name: &str,
        size: u32,
        align: u32,
        owner: Owner,
    ) -> Result<u32, SlotError> {
        let end = u32::try_from(SLOTS).expect("64");
        let start = u32::try_from(SLOTS_AT).expect("64");
        if size == 0 || size > end || !align.is_power_of_two() || align > end {
            return Err(SlotError::Shape { size, align });
        }
        if let Some(slot) = self.0.iter().find(|slot| slot.name == name) {
            let same = slot.owner == owner && slot.size == size;
            return same
                .then_some(start + slot.from)
                .ok_or_else(|| SlotError::Taken(name.to_owned()));
        }
        let free = |from: &u32| {
            from + size <= end
                && self
                    .0
                    .iter()
                    .all(|slot| slot.from + slot.size <= *from || from + size <= slot.from)
        };
        let from = (0..end).step_by(align as usize).find(free).ok_or_else(|| {
            let holders: Vec<String> =
                self.0.iter().map(|slot| format!("{} has {}", slot.name, slot.size)).collect();
            SlotError::Full { size, holders: holders.join(", ") }
        })?;
        self.0.push(Slot { name: name.to_owned(), owner, from, size });
        Ok(start + from)
    }

    /// Names of the slots of `owner`.
    pub fn of(&self, owner: Owner) -> Vec<String> {
        let own = self.0.iter().filter(|slot| slot.owner == owner);
        own.map(|slot| slot.name.clone()).collect()
    }

    /// Frees the slots of `owner`.
    pub fn remove_owner(&mut self, owner: Owner) {
        self.0.retain(|slot| slot.owner != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_strangers_never_overlap_and_are_free_again_with_their_owner() {
        let mut slots = Slots::default();
        assert_eq!(slots.reserve("a", 3, 1, Owner(1)), Ok(64));
        assert_eq!(slots.reserve("b", 8, 8, Owner(2)), Ok(72));
        assert_eq!(slots.reserve("c", 4, 1, Owner(2)), Ok(67));
        assert_eq!(slots.reserve("a", 3, 1, Owner(1)), Ok(64));
        assert_eq!(slots.reserve("a", 3, 1, Owner(2)), Err(SlotError::Taken("a".into())));
        assert_eq!(slots.reserve("d", 48, 1, Owner(3)), Ok(80));
        let full = slots.reserve("e", 8, 1, Owner(3)).unwrap_err();
        assert!(full.to_string().contains("d has 48"), "{full}");
        slots.remove_owner(Owner(3));
        assert_eq!(slots.reserve("e", 8, 1, Owner(3)), Ok(80));
    }

    #[test]
    fn a_slot_that_cannot_fit_is_refused() {
        let mut slots = Slots::default();
        assert!(slots.reserve("a", 65, 1, Owner(1)).is_err());
        assert!(slots.reserve("a", 0, 1, Owner(1)).is_err());
        assert!(slots.reserve("a", 8, 3, Owner(1)).is_err());
    }
}
