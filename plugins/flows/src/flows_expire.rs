//! `flows-expire`: ends flows, as an input that runs on each turn of the loop.
//!
//! A turn in which the tick is the same as in the last and no new flow may end sooner than the
//! thread wakes up costs a few instructions. The thread may sleep: a timer of the host's wakes it
//! when the next flow ends, and then this node runs.

use std::{convert::Infallible, sync::Arc};

use plugin_api::{Error, Frame, Node, NodeKind, ThreadIndex, declare_node};

use crate::{Flows, config::TICK_NS, thread::ThreadFlows};

/// The node; one on each thread.
#[derive(Debug)]
pub struct FlowsExpire {
    plugin: Arc<Flows>,
    thread: Arc<ThreadFlows>,
    /// The tick up to which the wheel was turned.
    tick: u64,
    /// More flows are due than one turn ends.
    behind: bool,
    /// The tick at which the thread is woken.
    wakes_at: u64,
}

impl Node for FlowsExpire {
    const NAME: &'static str = "flows-expire";
    const KIND: NodeKind = NodeKind::Input;
    const MAY_SLEEP: bool = true;
    type Plugin = Flows;
    type Next = Infallible;

    fn new(plugin: &Arc<Flows>, thread: ThreadIndex) -> Result<Self, Error> {
        let thread = plugin.thread(thread);
        let plugin = Arc::clone(plugin);
        Ok(Self { plugin, thread, tick: 0, behind: false, wakes_at: u64::MAX })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Infallible>) {
        let tick = frame.now_ns() / TICK_NS;
        if tick != self.tick || self.behind {
            self.behind = self.thread.turn(frame.now_ns(), self.plugin.timeouts());
            self.tick = tick;
        }
        if self.wakes_at <= tick || self.thread.ends_before(self.wakes_at) {
            self.wakes_at = self.thread.arm().unwrap_or(self.wakes_at);
        }
    }
}

declare_node!(FlowsExpire);
