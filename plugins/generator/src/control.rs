//! What the main thread keeps: interfaces, streams, and the sums of what the queues counted.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering::Relaxed};

use plugin_api::{Error, InterfaceIndex};

use crate::{
    flow::{Flow, Flows},
    sink::SinkQueue,
    source::{Mailbox, Order, STREAMS, SourceQueue},
    stream::{Settings, Stream},
    tally::{Counts, Tallies},
};

/// Transmit queues of an interface: one for each thread there may be.
pub const TX_QUEUES: usize = 8;

/// The interfaces and streams there are.
#[derive(Debug, Default)]
pub struct Control {
    ports: BTreeMap<InterfaceIndex, Port>,
    streams: BTreeMap<String, Configured>,
}

/// An interface of this plugin.
#[derive(Debug)]
pub struct Port {
    /// Its address.
    pub mac: [u8; 6],
    mailboxes: Vec<Arc<Mailbox>>,
    tallies: Vec<Arc<Tallies>>,
}

impl Port {
    /// An interface with the address `mac`.
    pub fn new(mac: [u8; 6], rx_queues: usize) -> Self {
        Self {
            mac,
            mailboxes: (0..rx_queues).map(|_| Arc::default()).collect(),
            tallies: (0..TX_QUEUES).map(|_| Arc::default()).collect(),
        }
    }

    /// Its receive queues, without streams.
    pub fn sources(&self) -> Vec<SourceQueue> {
        self.mailboxes.iter().map(|mailbox| SourceQueue::new(Arc::clone(mailbox))).collect()
    }

    /// Its transmit queues.
    pub fn sinks(&self, flows: &Arc<Flows>) -> Vec<SinkQueue> {
        let sink = |tallies| SinkQueue::new(Arc::clone(flows), Arc::clone(tallies));
        self.tallies.iter().map(sink).collect()
    }
}

/// A stream on all receive queues of its interface.
#[derive(Debug)]
struct Configured {
    interface: InterfaceIndex,
    flows: Vec<Arc<Flow>>,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamState<'a> {
    /// Name.
    pub name: &'a str,
    /// Interface its packets come in by.
    pub interface: InterfaceIndex,
    /// Whether it sends.
    pub running: bool,
    /// Packets sent.
    pub sent: u64,
    /// What arrived.
    pub counts: Counts,
}

impl StreamState<'_> {
    /// Packets that have not arrived: lost, or still on their way.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.counts.received)
    }
}

impl Control {
    /// Adds an interface.
    pub fn add(&mut self, index: InterfaceIndex, port: Port) {
        self.ports.insert(index, port);
    }

    /// Forgets an interface and its streams.
    pub fn remove(&mut self, index: InterfaceIndex) {
        self.ports.remove(&index);
        self.streams.retain(|_, stream| stream.interface != index);
    }

    /// An interface, if it is one of this plugin's.
    pub fn port(&self, index: InterfaceIndex) -> Option<&Port> {
        self.ports.get(&index)
    }

    /// Configures a stream, new or there already; it is stopped until it is started.
    ///
    /// # Errors
    /// If the interface is no generator, or has another stream too many.
    pub fn configure(
        &mut self,
        flows: &Flows,
        interface: InterfaceIndex,
        name: &str,
        settings: &Settings,
    ) -> Result<(), Error> {
        let port = self.ports.get(&interface).ok_or("the interface is no generator")?;
        let stream = match self.streams.get(name) {
            Some(stream) if stream.interface != interface => {
                return Err(format!("stream {name} is on another interface").into());
            }
            Some(stream) => stream,
            None => {
                let on_it = self.streams.values().filter(|s| s.interface == interface).count();
                if on_it == STREAMS {
                    return Err(format!("the interface has {STREAMS} streams, no more fit").into());
                }
                let flows = flows.add(port.mailboxes.len())?;
                self.streams.entry(name.to_owned()).or_insert(Configured { interface, flows })
            }
        };
        let queues = port.mailboxes.len() as u64;
        for ((at, mailbox), flow) in (0..).zip(&port.mailboxes).zip(&stream.flows) {
            let part = settings.share(at, queues);
            let stream = Stream::new(Arc::clone(flow), part, flows.magic);
            mailbox.post(Order::Put(Some(Box::new(stream))));
        }
        Ok(())
    }

    /// Starts or stops the streams of an interface, or all; returns how many.
    pub fn run(&self, interface: Option<InterfaceIndex>, running: bool) -> usize {
        let wanted = |stream: &&Configured| interface.is_none_or(|only| only == stream.interface);
        let mut n = 0;
        for stream in self.streams.values().filter(wanted) {
            let Some(port) = self.ports.get(&stream.interface) else { continue };
            for (mailbox, flow) in port.mailboxes.iter().zip(&stream.flows) {
                let order = if running { Order::Start(flow.id) } else { Order::Stop(flow.id) };
                mailbox.post(order);
            }
            n += 1;
        }
        n
    }

    /// All streams with what became of their packets.
    pub fn streams(&self) -> impl Iterator<Item = StreamState<'_>> {
        self.streams.iter().map(|(name, stream)| {
            // What arrived is read before what was sent, so that nothing seems to come of nothing.
            let counts =
                stream.flows.iter().fold(Counts::NONE, |sum, flow| sum + self.counts(flow));
            StreamState {
                name,
                interface: stream.interface,
                running: stream.flows.iter().any(|flow| flow.sender.running.load(Relaxed)),
                sent: stream.flows.iter().map(|flow| flow.sent()).sum(),
                counts,
            }
        })
    }

    /// What all transmit queues counted of a flow.
    fn counts(&self, flow: &Flow) -> Counts {
        let queues = self.ports.values().flat_map(|port| &port.tallies);
        let tallies = queues.filter_map(|tallies| tallies.flow(flow.id));
        tallies.fold(Counts::NONE, |sum, tally| sum + tally.load())
    }

    /// All interfaces, with the packets that ended there: of streams, and others.
    pub fn sinks(&self) -> impl Iterator<Item = (InterfaceIndex, u64, u64)> {
        self.ports.iter().map(|(&index, port)| {
            let arrivals = port.tallies.iter().map(|tallies| tallies.arrivals()).sum();
            let others = port.tallies.iter().map(|tallies| tallies.others()).sum();
            (index, arrivals, others)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stream, tag::Magic};

    const INTERFACE: InterfaceIndex = InterfaceIndex(3);

    fn settings() -> Settings {
        Settings {
            source: [198, 18, 0, 1].into(),
            destination: [198, 19, 0, 1].into(),
            destinations: 1,
            order: stream::Order::Cycled,
            macs: [[2; 6]; 2],
            sizes: [64, 64],
            pps: None,
            count: None,
        }
    }

    #[test]
    fn a_stream_is_refused_where_it_cannot_be_and_leaves_nothing() {
        let flows = Flows::new(Magic::new(0));
        let mut control = Control::default();
        assert!(control.configure(&flows, INTERFACE, "a", &settings()).is_err(), "no generator");
        control.add(INTERFACE, Port::new([2; 6], 1));
        control.add(InterfaceIndex(4), Port::new([2; 6], 1));
        for at in 0..STREAMS {
            control.configure(&flows, INTERFACE, &format!("s{at}"), &settings()).unwrap();
        }

        let more = control.configure(&flows, INTERFACE, "more", &settings()).unwrap_err();
        assert_eq!(more.to_string(), "the interface has 32 streams, no more fit");
        let other = control.configure(&flows, InterfaceIndex(4), "s0", &settings()).unwrap_err();
        assert_eq!(other.to_string(), "stream s0 is on another interface");
        control.configure(&flows, INTERFACE, "s0", &settings()).unwrap();
        assert_eq!(control.streams().count(), STREAMS);
        assert_eq!(control.run(Some(INTERFACE), true), STREAMS);
        assert_eq!(control.run(Some(InterfaceIndex(4)), true), 0);

        control.remove(INTERFACE);
        assert_eq!((control.streams().count(), control.run(None, true)), (0, 0));
    }

    #[test]
    fn count_and_rate_are_divided_among_the_queues_without_remainder() {
        let whole = Settings { count: Some(11), pps: Some(9.0), ..settings() };
        let parts = [0, 1, 2].map(|at| whole.share(at, 3));
        assert_eq!(parts.each_ref().map(|part| part.count), [Some(4), Some(4), Some(3)]);
        assert_eq!(parts[2].pps, Some(3.0));
    }
}
