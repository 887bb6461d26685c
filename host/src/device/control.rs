//! Interfaces come, go and change: what the main thread does about it.

use std::sync::{Arc, atomic::Ordering};

use gristmill_abi::{
    declaration::{NextDecl, next_kind, notice},
    text::Opaque,
};
use rustix::io::Errno;

use super::{
    DeviceOps, Interface, NewInterface, RxMode, input_node, output_node, rx_queue::QueueName,
};
use crate::{
    engine::Caller,
    graph::{NodeIndex, NodeKind, Owner, PlanNext, PlanNode, Severity},
    host::{GraphError, Host},
};

/// Bytes of an interface's name at most: it is part of its nodes' names.
const NAME_MAX: usize = 48;

/// Why an interface is not as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The name cannot be used.
    #[error("{0:?} is no interface name: 1 to {NAME_MAX} letters, digits, `-', `_', `.', `/'")]
    Name(String),
    /// The name is taken.
    #[error("there is an interface {0:?} already")]
    Duplicate(String),
    /// The class is not one of the plugin's.
    #[error("the plugin has no device class {0:?}")]
    Class(String),
    /// There is no such interface.
    #[error("there is no interface {0}")]
    Unknown(u32),
    /// The interface is another plugin's.
    #[error("interface {0:?} belongs to another plugin")]
    Foreign(String),
    /// The queue is with a thread that does not come back.
    #[error("{0} stays where it is: a thread that was given up is stuck in the device")]
    Stuck(QueueName),
    /// It has no transmit queue.
    #[error("interface {0:?} needs at least one tx queue")]
    NoTxQueue(String),
    /// It has no such receive queue.
    #[error("there is no {name}: it has {queues}")]
    NoQueue {
        /// The queue.
        name: QueueName,
        /// Queues that it has.
        queues: usize,
    },
    /// It receives nothing.
    #[error("interface {0:?} has no rx queue")]
    NoRxQueue(String),
    /// There is no such thread to place it on.
    #[error("{name} cannot be placed: there is no thread {thread}")]
    NoThread {
        /// The queue.
        name: QueueName,
        /// The thread.
        thread: u32,
    },
    /// The queue cannot be waited for.
    #[error("{name} cannot be {mode}: it has no descriptor to wait for, only polling works")]
    NoDescriptor {
        /// The queue.
        name: QueueName,
        /// What was asked for.
        mode: RxMode,
    },
    /// A thread cannot wait for a queue.
    #[error("thread {thread} cannot wait for rx queue {queue}: {source}")]
    Watch {
        /// The thread.
        thread: u32,
        /// The queue.
        queue: u32,
        /// What the system said.
        source: Errno,
    },
    /// The device says no.
    #[error("the device of {0:?} refused; the log has its reason")]
    Refused(String),
    /// Its nodes cannot be put into the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Host {
    /// Creates an interface with its nodes, down. The device is ended if that fails.
    ///
    /// # Errors
    /// [`InterfaceError`]; nothing was changed.
    pub fn create_interface(
        &self,
        new: NewInterface,
        device: Opaque,
    ) -> Result<u32, InterfaceError> {
        if !self.may_control() {
            return Err(GraphError::NotNow.into());
        }
        let class = self.classes.lock().get(&new.class, new.owner).cloned();
        // The device is the host's from here on: it ends with `ops`.
        let class = class.ok_or_else(|| InterfaceError::Class(new.class.clone()))?;
        let (decl, keep) = (class.decl, class.generation);
        let ops = DeviceOps { device, class: decl, keep };
        let is_named = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if new.name.is_empty() || new.name.len() > NAME_MAX || !new.name.chars().all(is_named) {
            return Err(InterfaceError::Name(new.name));
        }
        if new.tx_queues == 0 {
            return Err(InterfaceError::NoTxQueue(new.name));
        }
        let placement = self.place_queues(new.rx_fds.len());
        let interface = {
            let interfaces = self.interfaces.read();
            if interfaces.find(&new.name).is_some() {
                return Err(InterfaceError::Duplicate(new.name));
            }
            let news = Arc::clone(&self.link_news);
            Arc::new(Interface::new(interfaces.free_index(), new, ops, placement, news))
        };
        self.add_interface_nodes(&interface)?;
        if let Some(links) = &*self.links.lock()
            && let Some(link) = links.link(interface.kernel_index)
        {
            interface.link_up.store(link.up, Ordering::Relaxed); // Later only changes are told.
        }
        let index = interface.index;
        self.interfaces.write().insert(interface);
        self.when_in_force(
            move |host| host.notify(notice::INTERFACE_ADDED, index.into()),
            move |host| drop(host.interfaces.write().remove(index)),
        );
        Ok(index)
    }

    /// Deletes an interface with its nodes, and its device as soon as no thread knows it.
    ///
    /// # Errors
    /// [`InterfaceError`]; nothing was changed.
    pub fn delete_interface(&self, index: u32, owner: Owner) -> Result<(), InterfaceError> {
        let interface = self.interface(index)?;
        if interface.owner != owner {
            return Err(InterfaceError::Foreign(interface.name.clone()));
        }
        let is_up = interface.admin_up.load(Ordering::Relaxed);
        let watched = if is_up { self.watched_queues(&interface) } else { Vec::new() };
        self.change_graph(Caller::of(owner, "interface"), |plan| {
            for name in [interface.input_name(), interface.output_name()] {
                if let Some(node) = plan.find(&name) {
                    plan.remove_node(node);
                }
            }
            plan.outputs.remove(&index);
            Ok(())
        })?;
        let forget = move |host: &Self| {
            host.notify(notice::INTERFACE_REMOVED, index.into());
            host.unwatch_queues(&watched);
            host.interfaces.write().remove(index);
            if host.punt.interface() == Some(index) {
                host.punt.set(None);
            }
        };
        self.when_in_force(forget, |_| ());
        Ok(())
    }

    /// Takes an interface up or down.
    ///
    /// # Errors
    /// [`InterfaceError`]; it is as it was.
    pub fn set_admin(&self, index: u32, up: bool) -> Result<(), InterfaceError> {
        let interface = self.interface(index)?;
        let refused = |_| InterfaceError::Refused(interface.name.clone());
        let was_up = interface.admin_up.load(Ordering::Relaxed);
        interface.ops.set_admin(up).map_err(refused)?;
        let watched = if up == was_up { Vec::new() } else { self.watched_queues(&interface) };
        let (on, off) = if up { (watched, Vec::new()) } else { (Vec::new(), watched) };
        self.watch_queues(&on).inspect_err(|_| interface.ops.put_back(was_up))?;
        // Up before packets come in, for they may be answered at once.
        interface.admin_up.store(up, Ordering::Relaxed);
        let spliced = self.poll_interface(&interface, up);
        let undo = move |host: &Self| {
            host.unwatch_queues(&on);
            interface.admin_up.store(was_up, Ordering::Relaxed);
            interface.ops.put_back(was_up);
        };
        if let Err(error) = spliced {
            undo(self);
            return Err(error.into());
        }
        let done = move |host: &Self| {
            host.unwatch_queues(&off); // Unread packets must not keep a thread awake.
            host.notify(notice::INTERFACE_STATE, index.into());
        };
        self.when_in_force(done, undo);
        Ok(())
    }

    /// Has the threads of its queues dispatch an interface's input, or none.
    fn poll_interface(&self, interface: &Interface, on: bool) -> Result<(), GraphError> {
        let queues = if on { interface.rx_queues.lock().clone() } else { Vec::new() };
        self.change_graph(Caller::of(interface.owner, "interface"), |plan| {
            if let Some(input) = plan.find(&interface.input_name())
                && let Some(node) = plan.node_mut(input)
            {
                node.threads = Some(queues.iter().map(|queue| queue.thread).collect());
                node.epoch += u64::from(on); // Its queues are polled once before they are waited for.
            }
            Ok(())
        })
    }

    /// Notes that the link of an interface went up or down.
    pub fn set_link(&self, interface: &Interface, up: bool) {
        if interface.link_up.swap(up, Ordering::Relaxed) != up {
            self.notify(notice::INTERFACE_STATE, interface.index.into());
        }
    }

    /// The interface of that index.
    ///
    /// # Errors
    /// [`InterfaceError::Unknown`].
    pub fn interface(&self, index: u32) -> Result<Arc<Interface>, InterfaceError> {
        self.interfaces.read().get(index).cloned().ok_or(InterfaceError::Unknown(index))
    }

    /// Tells all plugins of a [`notice`].
    pub fn notify(&self, notice: u32, value: u64) {
        let listeners = self.listeners.lock().all(); // They are called without the lock.
        for listener in listeners {
            listener.notify(notice, value);
        }
    }

    /// A thread for each receive queue: the workers in turn, or main where there are none.
    fn place_queues(&self, queues: usize) -> Vec<u32> {
        let mut workers = self.workers();
        workers.retain(|&worker| self.serves(worker));
        let place = |_| match workers.len() as u64 {
            0 => 0,
            #[expect(clippy::cast_possible_truncation, reason = "fewer than 64 workers")]
            count => workers[(self.next_number() % count) as usize],
        };
        (0..queues).map(place).collect()
    }

    pub(super) fn add_interface_nodes(&self, interface: &Arc<Interface>) -> Result<(), GraphError> {
        let node = |name: String, kind, code, nexts| PlanNode {
            kind,
            threads: Some(Vec::new()),
            ..PlanNode::new(name, interface.owner, code, nexts)
        };
        let nexts = interface.ops.class.nexts.as_slice().iter().map(plan_next).collect();
        let input = node(
            interface.input_name(),
            NodeKind::Input,
            input_node(interface, *self.rx_thresholds.lock()),
            nexts,
        );
        let (code, nexts) = output_node(interface);
        let output = node(interface.output_name(), NodeKind::Internal, code, nexts);
        self.change_graph(Caller::of(interface.owner, "interface"), |plan| {
            if !interface.rx_fds.is_empty() {
                let input: NodeIndex = plan.add_node(input)?;
                plan.inputs.insert(interface.index, input);
            }
            let output: NodeIndex = plan.add_node(output)?;
            plan.outputs.insert(interface.index, output);
            Ok(())
        })
    }
}

/// A declared next as the plan has it.
pub fn plan_next(decl: &NextDecl) -> PlanNext {
    let name = decl.name.as_str().to_owned();
    match decl.kind {
        next_kind::DROP => {
            let severity = match decl.severity {
                0 => Severity::Error,
                1 => Severity::Warning,
                _ => Severity::Info,
            };
            PlanNext::Drop { reason: name, severity }
        }
        next_kind::OPTIONAL => PlanNext::Optional(name),
        next_kind::FEATURE => PlanNext::Feature,
        _ => PlanNext::Node(name),
    }
}
