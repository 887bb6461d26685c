//! What was set for classes of lines: a level, a rate. A class has what was set for it, or for the class
//! above it (`acme-dpi` is above `acme-dpi/flows`), or for all.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU8, Ordering},
};

use parking_lot::RwLock;

use super::Level;

/// Classes that something can be set for.
const MAX_CLASSES: usize = 256;

/// There are too many classes with settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CLASSES} classes have settings already: set the level of one to default")]
pub struct TooManyClasses;

/// What was set for a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSetting {
    /// The least important level that is logged.
    pub level: Option<Level>,
    /// Lines in a second before it is throttled.
    pub rate: Option<u32>,
}

/// The settings of all classes.
#[derive(Debug)]
pub(super) struct Classes {
    /// The level of classes that nothing was set for, as a number.
    level: AtomicU8,
    /// The least important level of any class.
    most: AtomicU8,
    set: RwLock<BTreeMap<String, ClassSetting>>,
}

impl Classes {
    pub(super) fn new(level: Level) -> Self {
        let number = || AtomicU8::new(level.number());
        Self { level: number(), most: number(), set: RwLock::default() }
    }

    /// Whether a class may have lines of `level`. Cost: one load.
    pub(super) fn any(&self, level: Level) -> bool {
        level.number() <= self.most.load(Ordering::Relaxed)
    }

    /// Sets the level of classes that nothing was set for.
    pub(super) fn set_default(&self, level: Level) {
        let set = self.set.write();
        self.level.store(level.number(), Ordering::Relaxed);
        self.note_most(&set);
    }

    pub(super) fn default_level(&self) -> Level {
        Level::of_number(self.level.load(Ordering::Relaxed))
    }

    /// Sets, or with the default forgets, what a class has.
    pub(super) fn set(&self, class: &str, setting: ClassSetting) -> Result<(), TooManyClasses> {
        let mut set = self.set.write();
        if setting == ClassSetting::default() {
            set.remove(class);
        } else if set.len() < MAX_CLASSES || set.contains_key(class) {
            set.insert(class.to_owned(), setting);
        } else {
            return Err(TooManyClasses);
        }
        self.note_most(&set);
        Ok(())
    }

    fn note_most(&self, set: &BTreeMap<String, ClassSetting>) {
        let levels = set.values().filter_map(|setting| setting.level).map(Level::number);
        let most = levels.max().unwrap_or(0).max(self.level.load(Ordering::Relaxed));
        self.most.store(most, Ordering::Relaxed);
    }

    /// What was set for a class itself.
    pub(super) fn own(&self, class: &str) -> ClassSetting {
        self.set.read().get(class).copied().unwrap_or_default()
    }

    /// Level and rate of a class, its own or those of the classes above it.
    pub(super) fn of(&self, class: &str) -> (Level, Option<u32>) {
        let mut found = ClassSetting::default();
        let set = self.set.read();
        let mut at = (!set.is_empty()).then_some(class);
        while let Some(class) = at {
            if let Some(setting) = set.get(class) {
                found.level = found.level.or(setting.level);
                found.rate = found.rate.or(setting.rate);
            }
            at = class.rsplit_once('/').map(|(above, _)| above);
        }
        (found.level.unwrap_or_else(|| self.default_level()), found.rate)
    }

    /// Classes that something was set for.
    pub(super) fn names(&self) -> Vec<String> {
        self.set.read().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_what_is_set_for_it_or_for_the_one_above_it_or_for_all() {
        let classes = Classes::new(Level::Notice);
        let set = |class, level, rate| classes.set(class, ClassSetting { level, rate }).unwrap();
        set("acme", Some(Level::Debug), Some(7));
        set("acme/flows/new", Some(Level::Error), None);
        assert_eq!(classes.of("acme"), (Level::Debug, Some(7)));
        assert_eq!(classes.of("acme/flows"), (Level::Debug, Some(7)));
        assert_eq!(classes.of("acme/flows/new"), (Level::Error, Some(7)));
        assert_eq!(classes.of("acme-dpi"), (Level::Notice, None));
        assert!(classes.any(Level::Debug));
        set("acme", None, None);
        assert!(!classes.any(Level::Debug));
        assert_eq!(classes.names(), ["acme/flows/new"]);
        classes.set_default(Level::Error);
        assert_eq!((classes.of("acme"), classes.any(Level::Warn)), ((Level::Error, None), false));
    }

    #[test]
    fn there_is_an_end_to_settings_and_one_that_is_there_can_be_changed() {
        let classes = Classes::new(Level::Notice);
        let rate = |rate| ClassSetting { level: None, rate: Some(rate) };
        for at in 0..MAX_CLASSES {
            classes.set(&at.to_string(), rate(1)).unwrap();
        }
        assert_eq!(classes.set("more", rate(1)), Err(TooManyClasses));
        assert_eq!(classes.set("7", rate(2)), Ok(()));
        assert_eq!(classes.own("7"), rate(2));
    }
}
