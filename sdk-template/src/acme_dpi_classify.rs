//! Node `acme-dpi-classify`, a feature on the arc `ip4-unicast`.

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use plugin_api::{
    CounterDecl, Error, Frame, Node, Packet, ThreadIndex, TraceFormat, counters, declare_feature,
    declare_node, next_nodes, trace_record,
};

use crate::{AcmeDpi, class::Class, totals::Seen};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        Onward => Feature,
        Blocked => DropInfo("acme-dpi-blocked"),
    }
}

counters! {
    /// What `show node acme-dpi-classify` lists beside its nexts.
    pub enum Counter {
        Malformed => "malformed",
    }
}

trace_record! {
    /// What `show trace` says of a packet here: a few bytes while packets flow, text when one looks.
    #[derive(Debug)]
    pub struct Classified { class: u8, len: u32 }
}

impl Classified {
    fn of(packet: &Packet<'_>) -> Option<Self> {
        let class = Class::of(packet.data(), packet.total_len()).ok()?;
        Some(Self { class: class as u8, len: u32::try_from(packet.total_len()).ok()? })
    }
}

impl Display for Classified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = Class::ALL.get(usize::from(self.class)).map_or("unknown", |class| class.name());
        write!(f, "class {class}, {} bytes", self.len)
    }
}

/// The node; one on each thread.
#[derive(Debug)]
pub struct AcmeDpiClassify(Arc<AcmeDpi>);

impl Node for AcmeDpiClassify {
    const NAME: &'static str = "acme-dpi-classify";
    const COUNTERS: &'static [CounterDecl] = Counter::ALL;
    const TRACE: TraceFormat = TraceFormat::of::<Classified>();
    type Plugin = AcmeDpi;
    type Next = Next;

    fn new(plugin: &Arc<AcmeDpi>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self(Arc::clone(plugin)))
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        frame.trace_each(Classified::of); // One test, unless an operator asked for a trace.
        let blocked = self.0.settings.blocked;
        let (mut seen, mut malformed) = (Seen::default(), 0);
        frame.enqueue_each(|packet| {
            let len = packet.total_len();
            let class = Class::of(packet.data(), len).unwrap_or_else(|_| {
                malformed += 1; // Whether to drop it is for others to say.
                Class::Other
            });
            seen.add(class, len);
            if blocked == Some(class) { Next::Blocked } else { Next::Onward }
        });
        frame.count(Counter::Malformed, malformed);
        self.0.totals.add(&seen); // Once for all packets: other threads write there too.
        self.0.news.tell(&seen);
    }
}

declare_node!(AcmeDpiClassify);
// On for every interface from the load on. Without `default: on` an operator turns it on for one:
// `set interface feature generator0 acme-dpi-classify arc ip4-unicast`.
declare_feature!(AcmeDpiClassify, arc: "ip4-unicast", default: on);

#[cfg(test)]
mod tests {
    use plugin_api::{
        NextNodes as _,
        testing::{NodeBench, create},
    };

    use super::*;
    use crate::class::{tcp, udp};

    fn bench(settings: &[(&str, &str)]) -> NodeBench<AcmeDpiClassify> {
        NodeBench::new(create(settings).unwrap())
    }

    #[test]
    fn packets_are_counted_by_class_and_go_on_unchanged() {
        let mut bench = bench(&[]);
        let sent = [udp(53), tcp(443, b""), udp(53)];

        let out = bench.run(sent.clone());

        assert_eq!(out.nexts, [Some(Next::Onward.index()); 3]);
        assert_eq!(out.packets, sent);
        let totals = bench.plugin().totals.read();
        assert_eq!(totals.of(Class::Dns), [2, 64]);
        assert_eq!(totals.of(Class::Tls), [1, 40]);
        assert_eq!(totals.of(Class::Other), [0, 0]);
    }

    #[test]
    fn the_class_that_is_blocked_is_dropped_and_its_neighbours_are_not() {
        let mut bench = bench(&[("block", "dns")]);

        let out = bench.run([udp(443), udp(53), udp(9)]);

        let nexts = [Next::Onward, Next::Blocked, Next::Onward];
        assert_eq!(out.nexts, nexts.map(|next| Some(next.index())));
        assert_eq!(
            bench.plugin().totals.read().of(Class::Dns),
            [1, 32],
            "it is counted all the same"
        );
    }

    #[test]
    fn a_traced_packet_leaves_its_class_and_one_that_cannot_be_read_leaves_nothing() {
        let mut bench = bench(&[]);
        bench.trace(true);

        let out = bench.run([udp(53), udp(53)[..27].to_vec()]);

        assert_eq!(out.traces, [Some("class dns, 32 bytes".to_owned()), None]);
    }

    #[test]
    fn what_cannot_be_read_is_counted_as_malformed_and_goes_on() {
        let mut bench = bench(&[]);

        let out = bench.run([udp(53)[..27].to_vec()]);

        assert_eq!(out.nexts, [Some(Next::Onward.index())]);
        assert_eq!(bench.counter(Counter::Malformed), 1);
        assert_eq!(bench.plugin().totals.read().of(Class::Other), [1, 27]);
    }
}
