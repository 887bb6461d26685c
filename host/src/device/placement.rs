//! Shim.
use super::{Interface, InterfaceError, balance::Placed};
use crate::{engine::Caller, host::Host};
use std::sync::atomic::Ordering;
impl Interface {
    /// Its receive queues.
    pub fn placed(&self) -> Vec<Placed> {
        let placed = self.placement.lock().clone();
        (0..)
            .zip(placed)
            .map(|(queue, thread)| Placed { interface: self.index, queue, thread, by_hand: false })
            .collect()
    }
}
impl Host {
    pub(crate) fn place(&self, moved: &[Placed]) -> Result<(), InterfaceError> {
        for one in moved {
            let interface = self.interface(one.interface)?;
            interface.placement.lock()[one.queue as usize] = one.thread;
        }
        self.change_graph(Caller::host("placement"), |plan| {
            for one in moved {
                let interface = self.interfaces.read().get(one.interface).cloned();
                if let Some(interface) = interface
                    && let Some(node) =
                        plan.find(&interface.input_name()).and_then(|at| plan.node_mut(at))
                {
                    node.epoch += 1;
                    if interface.admin_up.load(Ordering::Relaxed) {
                        node.threads = Some(interface.placement.lock().clone());
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}
