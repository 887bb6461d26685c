//! The plugin: for which interfaces it is on, and how.

use std::sync::Arc;

use plugin_api::{
    Config, Error, Handoff, Host, InterfaceIndex, LogLevel, Node as _, Notice, Plugin, ThreadIndex,
    ThreadSet,
};

use crate::{
    choices::{Choice, Choices},
    worker_handoff::WorkerHandoff,
};

/// The plugin.
#[derive(Debug)]
pub struct WorkerHandoffs {
    host: Host,
    handoff: Handoff,
    choices: Choices,
}

impl Plugin for WorkerHandoffs {
    const NAME: &'static str = "handoff";

    fn create(host: Host, _: &Config<'_>) -> Result<Self, Error> {
        Ok(Self { host, handoff: host.handoff()?, choices: Choices::new() })
    }

    fn stop(self: &Arc<Self>) {
        // Packets that are in the rings now get through while the node is still there.
        for index in self.host.interface_indices() {
            if self.choices.of(index).is_some() {
                self.turn_off(index);
            }
        }
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        // The next interface of that index begins without.
        if let Notice::InterfaceRemoved(index) = notice
            && self.choices.of(index).is_some()
        {
            self.turn_off(index);
        }
    }
}

impl WorkerHandoffs {
    /// Turns it on for an interface, or off.
    ///
    /// # Errors
    /// If there is no room for the interface, or the host says so.
    pub(crate) fn set(&self, index: InterfaceIndex, choice: Option<Choice>) -> Result<(), Error> {
        let before = self.choices.of(index);
        self.choices.set(index, choice)?;
        let (arc, node, on) = (WorkerHandoff::ARC, WorkerHandoff::NAME, choice.is_some());
        let set = self.host.set_feature(arc, node, Some(index), on);
        set.or_else(|error| self.choices.set(index, before).and(Err(error)))
    }

    fn turn_off(&self, index: InterfaceIndex) {
        if let Err(error) = self.set(index, None) {
            self.host.log(LogLevel::Warn, &error.to_string());
        }
    }

    /// Sets what the node does for an interface, but puts it on no arc: for a test bench, which has
    /// no graph.
    ///
    /// # Errors
    /// If there is no room for the interface.
    pub fn choose(&self, index: InterfaceIndex, choice: Option<Choice>) -> Result<(), Error> {
        self.choices.set(index, choice)
    }

    /// What was chosen for an interface.
    #[inline(always)]
    pub(crate) fn choice(&self, index: InterfaceIndex) -> Option<Choice> {
        self.choices.of(index)
    }

    /// The threads of a choice that packets can be handed to now.
    #[inline(always)]
    pub(crate) fn present(&self, choice: Choice) -> ThreadSet {
        match choice.threads {
            Some(threads) => threads.and(self.handoff.all_threads()),
            None => self.handoff.threads(),
        }
    }

    pub(crate) fn host(&self) -> Host {
        self.host
    }

    #[inline(always)]
    pub(crate) fn handoff(&self) -> &Handoff {
        &self.handoff
    }

    /// Reads a list of threads, such as `1-3,5`; each must be there.
    ///
    /// # Errors
    /// Which part of it does not do, and what there is.
    pub(crate) fn parse_threads(&self, list: &str) -> Result<ThreadSet, Error> {
        let all = self.handoff.all_threads();
        let mut threads = ThreadSet::default();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u32>().ok();
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!("{list:?}: write threads like 1-3,5").into());
            };
            if first > last {
                return Err(format!("{part} runs backwards").into());
            }
            for thread in (first..=last).map(ThreadIndex) {
                if !all.contains(thread) {
                    let text = format!("there is no thread {}: there are {all}", thread.0);
                    return Err(text.into());
                }
                threads.insert(thread);
            }
        }
        Ok(threads)
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::testing::create;

    use super::*;

    #[test]
    fn a_list_of_threads_is_read_or_what_is_wrong_with_it_is_said() {
        let plugin = create::<WorkerHandoffs>(&[]).unwrap();
        for (list, threads) in [("1", "1"), ("0,2-3", "0,2,3"), ("3,1-2,2", "1,2,3")] {
            assert_eq!(plugin.parse_threads(list).unwrap().to_string(), threads);
        }
        for (list, reason) in [
            ("4", "there is no thread 4: there are 0,1,2,3"),
            ("1-4294967295", "there is no thread 4: there are 0,1,2,3"),
            ("2-1", "2-1 runs backwards"),
            ("", "\"\": write threads like 1-3,5"),
            ("1,", "\"1,\": write threads like 1-3,5"),
            ("1-", "\"1-\": write threads like 1-3,5"),
            ("all", "\"all\": write threads like 1-3,5"),
        ] {
            assert_eq!(plugin.parse_threads(list).unwrap_err().to_string(), reason);
        }
    }
}
