//! Workers whose nodes do not come back.
#![expect(unsafe_code, reason = "takes what a fenced thread does not touch any more")]

use std::sync::{Arc, atomic::Ordering};

use super::{Leaving, WorkersError};
use crate::{
    control::Control,
    engine::handoff::Inbox,
    graph::NodeIndex,
    host::{Host, ThreadHandle},
    log::Level,
};

impl Control {
    /// Takes workers out of service whose nodes do not come back, and starts others in their place.
    #[cold]
    pub(super) fn give_up_stuck(&mut self) {
        let leaving = self.workers.leaving.iter().filter(|(_, leaving)| leaving.stuck_in.is_none());
        let leaving = leaving.map(|(index, leaving)| (index, &leaving.worker));
        let all = self.workers.serving.iter().chain(leaving);
        let hung = all.filter_map(|(&index, worker)| Some((index, worker.shared.watch.hung()?)));
        let hung: Vec<(u32, u64)> = hung.collect();
        if hung.is_empty() {
            return;
        }
        let mut given_up = Vec::new();
        for (index, piece) in hung {
            let served = self.workers.serving.contains_key(&index);
            if let Some(inbox) = self.give_up(index, piece) {
                given_up.push((index, served, inbox));
            }
        }
        for (index, served, inbox) in given_up {
            let other = if served { self.replace(index) } else { None };
            let other = other.or_else(|| self.workers.serving.keys().next().copied());
            let lost =
                inbox.map_or(0, |left| self.host.handoff.rescue(index, left, other.unwrap_or(0)));
            if lost > 0 {
                let text = format!("{lost} packets handed to worker {index} are lost: no room");
                self.host.log.error("threads", text);
            }
        }
        self.balance();
    }

    /// Starts a worker in the place of `index`.
    fn replace(&mut self, index: u32) -> Option<u32> {
        let other = self.start_worker();
        let other = other.inspect_err(|error| self.host.log.error("threads", error.to_string()));
        let other = other.ok()?;
        let text = format!("worker {other} takes the place of worker {index}");
        self.host.log.write(Level::Notice, "threads", text);
        Some(other)
    }

    /// Spreads the queues over the workers that are in service.
    pub(super) fn balance(&self) {
        let serving: Vec<u32> = self.workers.serving.keys().copied().collect();
        if let Err(error) = self.host.balance_queues(&serving) {
            // The next `set workers`, or the next thread that is given up, places them.
            self.host.log.error("threads", WorkersError::Place(error).to_string());
        }
    }

    /// Fences a worker if it is still at `piece`, and gives what is its own to another; what others have
    /// handed to it.
    fn give_up(&mut self, index: u32, piece: u64) -> Option<Option<Inbox>> {
        let all = self.workers.serving.get(&index);
        let all = all.or_else(|| Some(&self.workers.leaving.get(&index)?.worker));
        let shared = Arc::clone(&all?.shared);
        let node = shared.node()?;
        match shared.fence.close(&shared.watch, piece) {
            Ok(true) => {}
            Ok(false) => return None, // It came back.
            Err(error) => {
                let text = format!("worker {index} is stuck and cannot be fenced: {error}");
                self.host.log.error("threads", text);
                return None;
            }
        }
        let worker = self.workers.serving.remove(&index);
        let worker = worker.or_else(|| Some(self.workers.leaving.remove(&index)?.worker))?;
        worker.quit();
        let lost = shared.fence.packets();
        let stuck_in = self.host.describe_node(node).unwrap_or_default();
        let text = format!(
            "worker {index} is given up: {stuck_in} does not come back; {lost} packets lost"
        );
        self.host.log.error("threads", text);
        let interface = self.host.interface_of_input(node);
        self.host.stuck_interfaces.lock().extend(interface);
        let stuck_in = Some(stuck_in);
        self.workers.leaving.insert(index, Leaving { worker, stuck_in, interface });
        let handle = self.host.give_up_thread(index, node, lost.into())?;
        self.hand_on(&handle);
        self.host.grace.note_exile(&handle.shared);
        // SAFETY: the fence of the thread is closed.
        Some(unsafe { handle.inbox.take() })
    }
}

impl Host {
    /// The barrier and new runtimes leave a thread out, and nobody waits for it at a transmit queue.
    /// What it lost in `node` is counted.
    fn give_up_thread(&self, index: u32, node: NodeIndex, lost: i64) -> Option<ThreadHandle> {
        let (_, instances) = self.running_graph();
        if let Some(instance) = instances.on(node, index) {
            instance.counts.stats.lost.fetch_add(lost, Ordering::Relaxed);
        }
        let handle = self.remove_thread(index)?;
        for interface in self.interfaces.read().iter() {
            for (queue, lock) in interface.tx_locks.iter().enumerate() {
                if lock.give_up(index) {
                    let text = format!(
                        "{}: tx queue {queue} is stuck with worker {index}",
                        interface.name
                    );
                    self.log.error("threads", text);
                }
            }
        }
        Some(handle)
    }

    /// The interface that `node` is the input of.
    fn interface_of_input(&self, node: NodeIndex) -> Option<u32> {
        let name = self.node_name(node)?;
        let interfaces = self.interfaces.read();
        interfaces.iter().find(|own| own.input_name() == name).map(|own| own.index)
    }
}
