//! `flows-meter`: counts packets under their flows, as a feature on the arc `ip4-unicast`.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, Node, ThreadIndex, abi::frame::FRAME_SIZE, declare_feature, declare_node,
    next_nodes, wire::Ipv4,
};

use crate::{Flows, key::Key, table::Seen, thread::ThreadFlows};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next { Onward => Feature }
}

/// The node; one on each thread.
#[derive(Debug)]
pub struct FlowsMeter {
    plugin: Arc<Flows>,
    thread: Arc<ThreadFlows>,
    /// Reused from one frame to the next.
    seen: Box<[Seen; FRAME_SIZE]>,
}

impl Node for FlowsMeter {
    const NAME: &'static str = "flows-meter";
    type Plugin = Flows;
    type Next = Next;

    fn new(plugin: &Arc<Flows>, thread: ThreadIndex) -> Result<Self, Error> {
        let thread = plugin.thread(thread);
        let seen = Box::new([Seen::default(); FRAME_SIZE]);
        Ok(Self { plugin: Arc::clone(plugin), thread, seen })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let seed = self.plugin.seed();
        let mut slots = self.seen.iter_mut();
        frame.enqueue_each(|packet| {
            if let Ok(ip) = Ipv4::parse_first(packet.data(), packet.total_len())
                && let Some(slot) = slots.next()
            {
                let key = Key::of(&ip);
                *slot = Seen { key, hash: seed.hash(key), bytes: ip.total_len().into() };
            }
            Next::Onward
        });
        let seen = FRAME_SIZE - slots.len();
        let (now_ns, timeouts) = (frame.now_ns(), self.plugin.timeouts());
        self.thread.count(now_ns, timeouts, &self.seen[..seen], frame.len() - seen);
    }
}

declare_node!(FlowsMeter);
// Off until an operator turns it on for an interface.
declare_feature!(FlowsMeter, arc: "ip4-unicast");
