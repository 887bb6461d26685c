//! The supervisor: starts threads, and looks at those that run, while items are in line, to see
//! which of them are blocked.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::Duration,
};

use super::{
    Shared,
    core::{Key, Look},
    signals,
};

/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(1);

/// The states of threads, as the kernel has them; each file stays open while it is looked at.
#[derive(Debug, Default)]
struct States(HashMap<Key, File>);

impl States {
    /// Whether a thread sleeps in the kernel.
    fn is_blocked(&mut self, look: Look) -> bool {
        let file = match self.0.entry(look.thread) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let file = File::open(format!("/proc/self/task/{}/stat", look.tid));
                let Ok(file) = file else { return false };
                new.insert(file)
            }
        };
        let mut text = [0; 64];
        let length = file.read_at(&mut text, 0).unwrap_or(0);
        state_of(text.get(..length).unwrap_or(&[]))
            .is_some_and(|state| matches!(state, b'S' | b'D'))
    }
}

/// The letter behind the name, which is in brackets and may have some of its own.
fn state_of(stat: &[u8]) -> Option<u8> {
    let name = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(name + 2).copied()
}

impl Shared {
    /// Starts the supervisor, unless it was.
    pub(super) fn ensure_supervisor(self: &Arc<Self>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        if state.supervised {
            return Ok(());
        }
        let shared = Arc::clone(self);
        let run = move || shared.supervise();
        std::thread::Builder::new().name("gm-work/super".to_owned()).spawn(run)?;
        state.supervised = true;
        Ok(())
    }

    fn supervise(self: &Arc<Self>) {
        signals::block_all(); // Of the threads that it starts too.
        self.supervisor.settle();
        self.place_supervisor();
        let mut clock = self.thread_clock();
        let mut states = States::default();
        loop {
            self.start_threads();
            let looks = {
                let mut state = self.state.lock();
                if state.ending {
                    return;
                }
                state.core.survey()
            };
            let Some(looks) = looks else {
                states.0.clear();
                self.supervisor.sleep(&mut clock, None);
                continue;
            };
            let seen: Vec<_> =
                looks.into_iter().map(|look| (look, states.is_blocked(look))).collect();
            self.grow(&seen);
            self.start_threads();
            self.supervisor.sleep(&mut clock, Some(PERIOD));
        }
    }

    /// Notes who is blocked, and has others take their place.
    fn grow(&self, seen: &[(Look, bool)]) {
        let mut state = self.state.lock();
        for &(look, blocked) in seen {
            state.core.looked(look, blocked);
        }
        let exhausted = state.core.exhausted();
        let texts: Vec<_> = exhausted.into_iter().map(|pool| state.name_of(pool)).collect();
        let most = state.core.max_threads;
        let wakes = state.core.demand_all();
        drop(state);
        wakes.into_iter().for_each(|wake| self.wake(wake));
        for pool in texts {
            self.warn(&format!("all {most} threads of {pool} are blocked, and items wait"));
        }
    }

    fn start_threads(self: &Arc<Self>) {
        loop {
            let starts: Vec<_> = {
                let mut state = self.state.lock();
                let starts = state.core.starts();
                starts.into_iter().map(|thread| (thread, state.start_of(thread))).collect()
            };
            if starts.is_empty() {
                return;
            }
            for (thread, (pool, name, parker)) in starts {
                if let Err(error) = self.start_thread(thread, pool, name, parker) {
                    let mut state = self.state.lock();
                    state.core.not_started(thread);
                    let told = std::mem::replace(&mut state.core.pools[pool].starved, true);
                    let name = state.name_of(pool);
                    drop(state);
                    if !told {
                        self.warn(&format!("no thread for {name}, whose items wait: {error}"));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_behind_a_name_with_brackets() {
        assert_eq!(state_of(b"12 (a) R) S 1 2"), Some(b'S'));
        assert_eq!(state_of(b"12 (gm-work/0) R 1 2"), Some(b'R'));
        assert_eq!(state_of(b"12 (gm"), None);
        assert_eq!(state_of(b"12 (gm)"), None);
    }
}
