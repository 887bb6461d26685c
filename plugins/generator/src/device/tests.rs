use std::sync::Arc;

use plugin_api::{InterfaceIndex, testing::DeviceBench};

use super::*;
use crate::{
    control::{Control, Port, StreamState},
    flow::Flows,
    stream::{Order, Settings},
    tag::Magic,
};

const INTERFACE: InterfaceIndex = InterfaceIndex(0);

/// A generator whose packets the test carries from the receive to the transmit side itself.
struct Bench {
    device: DeviceBench<GeneratorDevice>,
    control: Control,
    flows: Arc<Flows>,
    rx: Vec<SourceQueue>,
    tx: Vec<SinkQueue>,
}

fn bench(rx_queues: usize) -> Bench {
    let flows = Arc::new(Flows::new(Magic::new(9)));
    let port = Port::new([2; 6], rx_queues);
    let (rx, tx) = (port.sources(), port.sinks(&flows));
    let mut control = Control::default();
    control.add(INTERFACE, port);
    Bench { device: DeviceBench::new(GeneratorDevice), control, flows, rx, tx }
}

fn settings() -> Settings {
    Settings {
        source: [198, 18, 0, 1].into(),
        destination: [198, 19, 0, 1].into(),
        destinations: 1,
        order: Order::Cycled,
        macs: [[2; 6]; 2],
        sizes: [64, 64],
        pps: None,
        count: None,
    }
}

impl Bench {
    fn configure(&mut self, name: &str, settings: &Settings) {
        self.control.configure(&self.flows, INTERFACE, name, settings).unwrap();
    }

    fn receive(&mut self, queue: usize) -> Vec<Vec<u8>> {
        let out = self.device.receive(&mut self.rx[queue]);
        assert!(out.nexts.iter().all(|&next| next == Some(0)), "{:?}", out.nexts);
        out.packets
    }

    fn transmit(&mut self, queue: usize, packets: &[Vec<u8>]) {
        let sent = self.device.transmit(&mut self.tx[queue], packets.iter().cloned());
        assert_eq!(sent, packets.len());
    }

    fn state(&self, name: &str) -> StreamState<'_> {
        self.control.streams().find(|stream| stream.name == name).unwrap()
    }

    /// Lost, duplicated, reordered.
    fn harm(&self, name: &str) -> [u64; 3] {
        let state = self.state(name);
        [state.lost(), state.counts.duplicated, state.counts.reordered]
    }
}

#[test]
fn flat_out_means_full_frames_and_nothing_before_the_start_or_after_the_stop() {
    let mut bench = bench(1);
    assert_eq!(bench.receive(0).len(), 0);
    bench.configure("a", &settings());
    assert_eq!(bench.receive(0).len(), 0);
    assert!(!bench.state("a").running);

    bench.control.run(None, true);
    for _ in 0..3 {
        let packets = bench.receive(0);
        assert_eq!(packets.len(), 256);
        bench.transmit(0, &packets);
    }
    assert!(bench.state("a").running);
    bench.control.run(None, false);
    assert_eq!(bench.receive(0).len(), 0);

    let state = bench.state("a");
    assert_eq!((state.sent, state.counts.received, state.running), (768, 768, false));
    assert_eq!(state.counts.bytes, 768 * 64);
    assert_eq!(bench.harm("a"), [0; 3]);
}

#[test]
fn each_kind_of_harm_is_told_from_the_others() {
    let mut bench = bench(1);
    bench.configure("a", &Settings { count: Some(100), ..settings() });
    bench.control.run(None, true);
    let mut packets = bench.receive(0);
    assert_eq!(packets.len(), 100);

    packets.remove(0); // The first,
    packets.pop(); // the last
    packets.remove(50); // and one between are lost.
    packets.push(packets[10].clone());
    packets.swap(20, 21);
    bench.transmit(0, &packets[..60]);
    bench.transmit(5, &packets[60..]);

    assert_eq!(bench.harm("a"), [3, 1, 1]);
    assert_eq!(bench.state("a").counts.received, 97);
}

#[test]
fn packets_of_one_stream_may_end_on_any_queue() {
    let mut bench = bench(1);
    bench.configure("a", &settings());
    bench.control.run(None, true);
    for _ in 0..20 {
        for (at, packet) in bench.receive(0).chunks(32).enumerate() {
            bench.transmit(at, packet);
        }
    }
    assert_eq!(bench.harm("a"), [0; 3]);
    assert_eq!(bench.state("a").counts.received, 20 * 256);
}

#[test]
fn a_count_is_met_exactly_over_all_queues_and_again_after_another_start() {
    let mut bench = bench(3);
    bench.configure("a", &Settings { count: Some(1000), ..settings() });
    for round in 1..=2 {
        bench.control.run(Some(INTERFACE), true);
        for _ in 0..5 {
            for queue in 0..3 {
                let packets = bench.receive(queue);
                bench.transmit(queue, &packets);
            }
        }
        let state = bench.state("a");
        assert_eq!((state.sent, state.running), (1000 * round, false));
        assert_eq!(bench.harm("a"), [0; 3]);
    }
}

#[test]
fn a_rate_is_kept_by_the_clock_of_the_frame() {
    let mut bench = bench(1);
    bench.configure("a", &Settings { pps: Some(1e6), ..settings() });
    bench.control.run(None, true);
    let mut sent = 0;
    for now_us in 0..=2000 {
        bench.device.set_now_ns(now_us * 1000);
        sent += bench.receive(0).len();
    }
    assert_eq!(sent, 2001);
}

#[test]
fn flat_out_streams_share_a_frame_and_a_paced_one_comes_first() {
    let mut bench = bench(1);
    for name in ["a", "b", "c"] {
        bench.configure(name, &settings());
    }
    bench.configure("paced", &Settings { pps: Some(1e6), ..settings() });
    bench.control.run(None, true);
    for turn in 0..40 {
        bench.device.set_now_ns(turn * 10_000);
        assert_eq!(bench.receive(0).len(), 256);
    }
    assert_eq!(bench.state("paced").sent, 391);
    let shares = ["a", "b", "c"].map(|name| bench.state(name).sent);
    assert_eq!(shares.iter().sum::<u64>(), 40 * 256 - 391);
    assert!(shares.iter().all(|share| share.abs_diff((40 * 256 - 391) / 3) < 40), "{shares:?}");
}

#[test]
fn streams_that_ask_for_more_than_there_is_take_turns() {
    let mut bench = bench(1);
    for name in ["a", "b"] {
        bench.configure(name, &Settings { pps: Some(1e9), ..settings() });
    }
    bench.control.run(None, true);
    for turn in 0..10 {
        bench.device.set_now_ns(turn * 10_000);
        bench.receive(0);
    }
    let shares = ["a", "b"].map(|name| bench.state(name).sent);
    assert!(shares.iter().all(|&share| share >= 4 * 256), "{shares:?}");
}

#[test]
fn a_stream_that_is_configured_anew_goes_on_with_its_numbers() {
    let mut bench = bench(1);
    bench.configure("a", &Settings { count: Some(10), ..settings() });
    bench.control.run(None, true);
    let packets = bench.receive(0);
    bench.transmit(0, &packets);

    bench.configure("a", &Settings { count: Some(5), sizes: [100, 100], ..settings() });
    assert_eq!(bench.receive(0).len(), 0, "stopped until it is started");
    bench.control.run(None, true);
    let packets = bench.receive(0);
    bench.transmit(0, &packets);

    assert_eq!(packets[0].len(), 100);
    let state = bench.state("a");
    assert_eq!((state.sent, state.counts.received, state.counts.bytes), (15, 15, 640 + 500));
    assert_eq!(bench.harm("a"), [0; 3]);
}

#[test]
fn interleaved_streams_are_told_apart_and_strangers_counted_apart() {
    let mut bench = bench(1);
    for name in ["a", "b"] {
        bench.configure(name, &Settings { count: Some(20), ..settings() });
    }
    bench.control.run(None, true);
    let packets = bench.receive(0);
    let (first, second) = packets.split_at(20);
    let mixed: Vec<Vec<u8>> =
        first.iter().zip(second).flat_map(|(a, b)| [a.clone(), b.clone(), vec![0; 64]]).collect();
    bench.transmit(0, &mixed);
    bench.transmit(0, &[Vec::new(), vec![0xff; 61]]);
    let mut unsent = packets[0].clone();
    unsent[48] = 0x80;
    bench.transmit(1, &[unsent]);

    assert_eq!((bench.harm("a"), bench.harm("b")), ([0; 3], [0; 3]));
    let sinks: Vec<_> = bench.control.sinks().collect();
    assert_eq!(sinks, [(INTERFACE, 40, 23)]);
}
