//! Clocks per packet to make a packet and to account for it, at vectors of 1, 32 and 256.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;

use gristmill_generator::{
    control::{Control, Port},
    device::GeneratorDevice,
    flow::Flows,
    stream::{Order, Settings},
    tag::Magic,
};
use plugin_api::{InterfaceIndex, testing::DeviceBench};

const ROUNDS: u32 = 20_000;
/// A packet for each nanosecond of the bench's clock.
const PPS: f64 = 1e9;

fn main() {
    println!("{:<24} {:>7} {:>12} {:>12}", "stream", "vector", "make clk/pkt", "sink clk/pkt");
    for (name, destinations, order, size) in [
        ("64 B, one address", 1, Order::Cycled, 64),
        ("64 B, 10k in turn", 10_000, Order::Cycled, 64),
        ("64 B, 10k random", 10_000, Order::Random, 64),
        ("1514 B, one address", 1, Order::Cycled, 1514),
    ] {
        for vector in [1, 32, 256] {
            let settings = Settings {
                source: [198, 18, 0, 1].into(),
                destination: [198, 19, 0, 1].into(),
                destinations,
                order,
                macs: [[2; 6]; 2],
                sizes: [size; 2],
                pps: Some(PPS),
                count: None,
            };
            run(name, &settings, vector);
        }
    }
}

fn run(name: &str, settings: &Settings, vector: u64) {
    let interface = InterfaceIndex(0);
    let flows = Arc::new(Flows::new(Magic::new(1)));
    let port = Port::new([2; 6], 1);
    let (mut rx, mut tx) = (port.sources(), port.sinks(&flows));
    let mut control = Control::default();
    control.add(interface, port);
    control.configure(&flows, interface, "bench", settings).expect("the stream fits");
    control.run(None, true);
    let mut bench = DeviceBench::new(GeneratorDevice);

    // The first packet is due at once; then one for each nanosecond.
    let clocks = bench.loop_clocks(&mut rx[0], &mut tx[0], vector, ROUNDS);

    assert_eq!(clocks.vector as u64, vector);
    let stream = control.streams().next().expect("it is there");
    assert_eq!((stream.lost(), stream.counts.duplicated, stream.counts.reordered), (0, 0, 0));
    println!("{name:<24} {vector:>7} {:>12.1} {:>12.1}", clocks.receive, clocks.transmit);
}
