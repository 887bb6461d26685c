//! The commands.

use std::{net::Ipv4Addr, sync::Arc};

use plugin_api::{
    Answer, Args, Command, Error, Interface, InterfaceIndex, Role, RxQueue, declare_command,
};

use crate::{
    Generator,
    control::{Port, StreamState},
    device::GeneratorDevice,
    pace::FASTEST_PPS,
    stream::{Order, Settings},
    tag::SHORTEST,
};

/// Source address of a stream that has none (RFC 2544: for benchmarks).
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Destination address of a stream that has none (RFC 2544).
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// Bytes of a packet, if nothing else is asked for.
const SIZE: u16 = 64;
/// Bytes of one buffer.
const LONGEST: u16 = 2048;
const RX_QUEUES: u32 = 16;

/// `create generator`
#[derive(Debug)]
pub struct CreateGenerator;

impl Command for CreateGenerator {
    const GRAMMAR: &'static str =
        "create generator [id <id:u32>] [name <name:word>] [rx-queues <rx-queues:u32>]";
    const HELP: &'static str =
        "Creates an interface that makes packets and accounts for those it sends";
    type Plugin = Generator;

    fn run(
        generator: &Arc<Generator>,
        args: &Args<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Error> {
        let host = &generator.host;
        let named = |id: u32| format!("generator{id}");
        let is_free = |id: &u32| host.find_interface(&named(*id)).is_none();
        let id = args.u32("id").or_else(|| (0..).find(is_free)).ok_or("no id is free")?;
        let name = args.text("name").map_or_else(|| named(id), str::to_owned);
        let rx_queues = args.u32("rx-queues").unwrap_or(1);
        if !(1..=RX_QUEUES).contains(&rx_queues) {
            return Err(format!("{rx_queues} rx queues: between 1 and {RX_QUEUES}").into());
        }
        let port = Port::new(mac(OWN, id), rx_queues as usize);
        let interface =
            Interface { name: &name, mac: port.mac, mtu: 9000, is_l3: false, kernel_index: 0 };
        let rx = port.sources().into_iter().map(|queue| RxQueue { queue, readable: None });
        let tx = port.sinks(&generator.flows);
        let index =
            host.create_interface(&interface, Arc::new(GeneratorDevice), rx.collect(), tx)?;
        generator.control.lock().add(index, port);
        answer.line(&name);
        Ok(())
    }
}

declare_command!(CreateGenerator);

/// `generator stream`
#[derive(Debug)]
pub struct ConfigureStream;

impl Command for ConfigureStream {
    const GRAMMAR: &'static str = "generator stream <interface:interface> name <name:word> \
        [source <source:ip4>] [destination <destination:ip4>] [destinations <destinations:u32>] \
        [order {order:cycled|random}] [destination-mac <destination-mac:mac>] [size <size:u16>] \
        [sizes <least:u16> <most:u16>] [rate <rate:f64>] [count <count:u64>]";
    const HELP: &'static str =
        "Configures a stream of packets that an interface receives once it is started";
    type Plugin = Generator;

    fn run(generator: &Arc<Generator>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let interface = args.interface("interface").ok_or("no interface")?;
        let name = args.text("name").ok_or("no name")?;
        let mut control = generator.control.lock();
        let own = control.port(interface).ok_or("the interface is no generator")?.mac;
        let asked = Asked {
            source: args.ip4("source"),
            destination: args.ip4("destination"),
            destinations: args.u32("destinations"),
            random: args.text("order") == Some("random"),
            destination_mac: args.mac("destination-mac"),
            size: args.u16("size"),
            sizes: args.u16("least").zip(args.u16("most")),
            rate: args.f64("rate"),
            count: args.u64("count"),
        };
        let settings = asked.settings(own)?;
        control.configure(&generator.flows, interface, name, &settings)
    }
}

declare_command!(ConfigureStream);

/// `generator start`
#[derive(Debug)]
pub struct Start;

impl Command for Start {
    const GRAMMAR: &'static str = "generator start [<interface:interface>]";
    const HELP: &'static str = "Starts the streams of an interface, or all";
    type Plugin = Generator;

    fn run(generator: &Arc<Generator>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        run_streams(generator, args.interface("interface"), true)
    }
}

declare_command!(Start);

/// `generator stop`
#[derive(Debug)]
pub struct Stop;

impl Command for Stop {
    const GRAMMAR: &'static str = "generator stop [<interface:interface>]";
    const HELP: &'static str = "Stops the streams of an interface, or all";
    type Plugin = Generator;

    fn run(generator: &Arc<Generator>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        run_streams(generator, args.interface("interface"), false)
    }
}

declare_command!(Stop);

fn run_streams(
    generator: &Generator,
    interface: Option<InterfaceIndex>,
    running: bool,
) -> Result<(), Error> {
    match generator.control.lock().run(interface, running) {
        0 => Err("there is no stream: configure one with generator stream".into()),
        _ => Ok(()),
    }
}

/// `show generator`
#[derive(Debug)]
pub struct ShowGenerator;

impl Command for ShowGenerator {
    const GRAMMAR: &'static str = "show generator";
    const HELP: &'static str =
        "Shows what became of the packets of each stream; those on their way count as lost";
    const ROLE: Role = Role::Read;
    type Plugin = Generator;

    fn run(generator: &Arc<Generator>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let columns = [
            "stream",
            "interface",
            "state",
            "sent",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "late",
            "bytes",
            "mpps",
            "latency-ns-min",
            "latency-ns-avg",
            "latency-ns-max",
        ];
        answer.table("", &columns);
        for stream in generator.control.lock().streams() {
            let StreamState { name, interface, running, sent, counts } = stream;
            let arrived = (counts.arrivals() > 0).then_some(counts);
            answer.row([
                name.into(),
                generator.name(interface).into(),
                (if running { "running" } else { "stopped" }).into(),
                sent.into(),
                counts.received.into(),
                stream.lost().into(),
                counts.duplicated.into(),
                counts.reordered.into(),
                counts.late.into(),
                counts.bytes.into(),
                counts.mpps().into(),
                arrived.map(|counts| counts.latency_ns_min).into(),
                counts.latency_ns_mean().into(),
                arrived.map(|counts| counts.latency_ns_max).into(),
            ]);
        }
        Ok(())
    }
}

declare_command!(ShowGenerator);

/// `show generator sink`
#[derive(Debug)]
pub struct ShowGeneratorSink;

impl Command for ShowGeneratorSink {
    const GRAMMAR: &'static str = "show generator sink";
    const HELP: &'static str = "Shows how many packets ended at each interface, and how many \
        of them are of no stream";
    const ROLE: Role = Role::Read;
    type Plugin = Generator;

    fn run(generator: &Arc<Generator>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        answer.table("", &["interface", "of-streams", "others"]);
        for (interface, arrivals, others) in generator.control.lock().sinks() {
            answer.row([generator.name(interface).into(), arrivals.into(), others.into()]);
        }
        Ok(())
    }
}

declare_command!(ShowGeneratorSink);

impl Generator {
    /// The name of an interface; its index if it is gone.
    fn name(&self, index: InterfaceIndex) -> String {
        self.host.interface(index).map_or_else(|| index.to_string(), |info| info.name)
    }
}

/// Second byte of an interface's own address.
const OWN: u8 = 0x67;
/// Second byte of the address its packets come from.
const STATION: u8 = 0x66;

/// A locally administered address that tells kind and interface.
fn mac(kind: u8, id: u32) -> [u8; 6] {
    let [a, b, c, d] = id.to_be_bytes();
    [0x02, kind, a, b, c, d]
}

/// The options of a stream as they were given.
#[derive(Clone, Debug, Default)]
struct Asked {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    destinations: Option<u32>,
    random: bool,
    destination_mac: Option<[u8; 6]>,
    size: Option<u16>,
    sizes: Option<(u16, u16)>,
    rate: Option<f64>,
    count: Option<u64>,
}

impl Asked {
    /// The settings, with what was left out; `own` is the interface's address.
    fn settings(self, own: [u8; 6]) -> Result<Settings, Error> {
        let destination = self.destination.unwrap_or(DESTINATION);
        let destinations = self.destinations.unwrap_or(1);
        let further = destinations.checked_sub(1).ok_or("0 destinations: at least 1")?;
        if destination.to_bits().checked_add(further).is_none() {
            return Err(format!("{destinations} addresses from {destination} are too many").into());
        }
        let (least, most) = match (self.size, self.sizes) {
            (Some(_), Some(_)) => return Err("size and sizes: only one of them".into()),
            (size, sizes) => sizes.or_else(|| size.zip(size)).unwrap_or((SIZE, SIZE)),
        };
        if usize::from(least) < SHORTEST || most > LONGEST || least > most {
            return Err(format!("sizes {least} to {most}: from {SHORTEST} to {LONGEST}").into());
        }
        if let Some(rate) = self.rate.filter(|&rate| !(rate > 0.0 && rate <= FASTEST_PPS)) {
            return Err(format!("rate {rate}: above 0, at most {FASTEST_PPS}").into());
        }
        if self.count == Some(0) {
            return Err("count 0: at least 1".into());
        }
        let [_, _, id @ ..] = own;
        Ok(Settings {
            source: self.source.unwrap_or(SOURCE),
            destination,
            destinations,
            order: if self.random { Order::Random } else { Order::Cycled },
            macs: [mac(STATION, u32::from_be_bytes(id)), self.destination_mac.unwrap_or(own)],
            sizes: [least, most],
            pps: self.rate,
            count: self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(asked: Asked) -> String {
        asked.settings([2; 6]).unwrap_err().to_string()
    }

    #[test]
    fn a_stream_without_options_goes_flat_out_to_its_own_interface() {
        let own = mac(OWN, 5);
        let settings = Asked::default().settings(own).unwrap();
        assert_eq!(settings.macs, [[2, 0x66, 0, 0, 0, 5], own]);
        assert_eq!((settings.sizes, settings.pps, settings.count), ([64, 64], None, None));
    }

    #[test]
    fn settings_that_make_no_packets_are_refused_with_the_value() {
        let none = Asked::default;
        assert_eq!(refused(Asked { size: Some(61), ..none() }), "sizes 61 to 61: from 62 to 2048");
        assert_eq!(
            refused(Asked { sizes: Some((65, 64)), ..none() }),
            "sizes 65 to 64: from 62 to 2048"
        );
        assert!(refused(Asked { size: Some(2049), ..none() }).starts_with("sizes 2049"));
        assert!(refused(Asked { size: Some(64), sizes: Some((64, 65)), ..none() }).contains("one"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e9] {
            assert!(refused(Asked { rate: Some(rate), ..none() }).starts_with("rate"), "{rate}");
        }
        assert_eq!(refused(Asked { count: Some(0), ..none() }), "count 0: at least 1");
        assert_eq!(
            refused(Asked { destinations: Some(0), ..none() }),
            "0 destinations: at least 1"
        );
        let last = Some(Ipv4Addr::BROADCAST);
        assert!(Asked { destination: last, ..none() }.settings([2; 6]).is_ok());
        assert_eq!(
            refused(Asked { destination: last, destinations: Some(2), ..none() }),
            "2 addresses from 255.255.255.255 are too many"
        );
    }
}
