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

#[cfg(test)]
mod tests {
    use plugin_api::testing::{NodeBench, create};

    use super::*;
    use crate::{
        FlowsMeter,
        key::testing::{packet, udp},
        shown::Totals,
    };

    /// Both nodes of one thread, and their time.
    struct Thread(NodeBench<FlowsMeter>, NodeBench<FlowsExpire>);

    impl Thread {
        fn new(settings: &[(&str, &str)]) -> Self {
            let meter = NodeBench::<FlowsMeter>::new(create(settings).unwrap());
            let expire = NodeBench::sharing(Arc::clone(meter.plugin()));
            Self(meter, expire)
        }

        /// A turn of the loop, in which these packets come.
        fn turn(&mut self, now_ms: u64, packets: impl IntoIterator<Item = Vec<u8>>) {
            let now_ns = now_ms * 1_000_000;
            self.1.set_now_ns(now_ns);
            let out = self.1.run::<Vec<u8>>([]);
            assert!(out.nexts.is_empty() && out.emitted.is_empty());
            self.0.set_now_ns(now_ns);
            let packets: Vec<_> = packets.into_iter().collect();
            if !packets.is_empty() {
                self.0.run(packets);
            }
        }

        fn totals<T>(&self, read: impl FnOnce(&Totals) -> T) -> T {
            read(&self.0.plugin().shown()[0].1.totals)
        }
    }

    #[test]
    fn a_flow_ends_in_the_turn_whose_tick_is_past_its_time_out() {
        let mut thread = Thread::new(&[("idle", "2")]);
        thread.turn(50, [packet(udp(1), 0)]);
        thread.turn(1_050, [packet(udp(1), 0)]);
        for now_ms in [1_060, 2_050, 3_049, 3_050, 3_099] {
            thread.turn(now_ms, []);
            assert_eq!(thread.totals(|totals| totals.flows.get()), 1, "at {now_ms} ms");
        }
        thread.turn(3_100, []);
        assert_eq!(thread.totals(|totals| (totals.flows.get(), totals.idle.get())), (0, 1));
    }

    #[test]
    fn many_flows_end_in_turns_that_follow_each_other_in_one_tick() {
        let mut thread = Thread::new(&[("idle", "1")]);
        for frame in 0..4 {
            thread.turn(0, (0..250).map(|number| packet(udp(frame * 250 + number), 0)));
        }
        let mut left = Vec::new();
        while left.last() != Some(&0) {
            thread.turn(1_100, []);
            left.push(thread.totals(|totals| totals.flows.get()));
            assert!(left.len() < 10, "{left:?}");
        }
        assert!(left.len() >= 4, "{left:?}");
        thread.turn(1_100, [packet(udp(7), 0)]);
        assert_eq!(thread.totals(|totals| (totals.flows.get(), totals.idle.get())), (1, 1_000));
    }

    #[test]
    fn threads_have_flows_of_their_own() {
        let plugin: Arc<Flows> = Arc::new(create(&[]).unwrap());
        let one = FlowsMeter::new(&plugin, ThreadIndex(0)).unwrap();
        let other = FlowsExpire::new(&plugin, ThreadIndex(1)).unwrap();
        assert_eq!(plugin.shown().len(), 2);
        drop((one, other));
    }
}
