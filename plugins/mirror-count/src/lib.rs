//! `mirror-count`: counts packets by IP protocol on their way and leaves them as they are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use plugin_api::{
    Answer, Args, Command, Config, Error, Frame, Host, Node, Plugin, Role, ThreadIndex,
    declare_command, declare_feature, declare_node, declare_plugin, next_nodes,
};

const PROTOCOLS: [&str; 4] = ["icmp", "tcp", "udp", "other"];

/// The plugin: packets and bytes of each protocol. A thread adds to them once a frame.
#[derive(Debug, Default)]
pub struct MirrorCount([[AtomicU64; 2]; PROTOCOLS.len()]);

impl Plugin for MirrorCount {
    const NAME: &'static str = "mirror-count";

    fn create(_: Host, _: &Config<'_>) -> Result<Self, Error> {
        Ok(Self::default())
    }
}

declare_plugin!(MirrorCount);

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next { Onward => Feature }
}

/// The node; one on each thread.
#[derive(Debug)]
pub struct Count(Arc<MirrorCount>);

impl Node for Count {
    const NAME: &'static str = "mirror-count";
    type Plugin = MirrorCount;
    type Next = Next;

    fn new(plugin: &Arc<MirrorCount>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self(Arc::clone(plugin)))
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let mut seen = [[0; 2]; PROTOCOLS.len()];
        frame.enqueue_each(|packet| {
            let protocol = match packet.data().get(9) {
                Some(1) => 0,
                Some(6) => 1,
                Some(17) => 2,
                _ => 3,
            };
            seen[protocol][0] += 1;
            seen[protocol][1] += packet.total_len() as u64;
            Next::Onward
        });
        for (count, seen) in self.0.0.iter().flatten().zip(seen.into_iter().flatten()) {
            if seen != 0 {
                count.fetch_add(seen, Relaxed);
            }
        }
    }
}

declare_node!(Count);
declare_feature!(Count, arc: "ip4-unicast", default: on);

/// `show mirror-count`
#[derive(Debug)]
pub struct ShowMirrorCount;

impl Command for ShowMirrorCount {
    const GRAMMAR: &'static str = "show mirror-count";
    const HELP: &'static str = "Shows packets and bytes by IP protocol";
    const ROLE: Role = Role::Read;
    type Plugin = MirrorCount;

    fn run(plugin: &Arc<MirrorCount>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        answer.table("", &["protocol", "packets", "bytes"]);
        for (protocol, [packets, bytes]) in PROTOCOLS.iter().zip(&plugin.0) {
            answer.row([
                (*protocol).into(),
                packets.load(Relaxed).into(),
                bytes.load(Relaxed).into(),
            ]);
        }
        Ok(())
    }
}

declare_command!(ShowMirrorCount);

/// `clear mirror-count`
#[derive(Debug)]
pub struct ClearMirrorCount;

impl Command for ClearMirrorCount {
    const GRAMMAR: &'static str = "clear mirror-count";
    const HELP: &'static str = "Counts from zero again";
    type Plugin = MirrorCount;

    fn run(plugin: &Arc<MirrorCount>, _: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        plugin.0.iter().flatten().for_each(|count| count.store(0, Relaxed));
        Ok(())
    }
}

declare_command!(ClearMirrorCount);

#[cfg(test)]
mod tests {
    use plugin_api::testing::NodeBench;

    use super::*;

    fn ip4(protocol: u8, len: usize) -> Vec<u8> {
        let mut packet = vec![0x45; len];
        packet[9] = protocol;
        packet
    }

    #[test]
    fn packets_are_counted_under_their_protocol_and_go_on_unchanged() {
        let mut bench = NodeBench::<Count>::new(MirrorCount::default());
        let sent = [ip4(1, 84), ip4(6, 40), ip4(17, 64), ip4(17, 100), ip4(47, 20)];

        let out = bench.run(sent.clone());

        assert_eq!(out.nexts, [Some(0); 5]);
        assert_eq!(out.packets, sent);
        let counts =
            bench.plugin().0.each_ref().map(|count| count.each_ref().map(|n| n.load(Relaxed)));
        assert_eq!(counts, [[1, 84], [1, 40], [2, 164], [1, 20]]);
    }

    #[test]
    fn a_packet_too_short_to_tell_is_counted_as_other() {
        let mut bench = NodeBench::<Count>::new(MirrorCount::default());

        bench.run([vec![0x45; 9]]);

        assert_eq!(bench.plugin().0[3][0].load(Relaxed), 1);
    }
}
