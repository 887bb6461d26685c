//! Clocks per packet of `acme-dpi-classify`: `cargo bench`.

use acme_dpi_plugin::acme_dpi_classify::AcmeDpiClassify;
use plugin_api::testing::{NodeBench, TestPacket, create};

const ROUNDS: u32 = 20_000;

fn main() {
    // IPv4, 32 bytes, UDP, to port 53.
    let packet = *b"\x45\0\0\x20\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02\
        \xc0\0\0\x35\0\x0c\0\0data";
    for vector in [1, 32, 256] {
        let plugin = create(&[]).expect("it is made without any setting");
        let packets = vec![TestPacket::new(packet); vector];
        let clocks = NodeBench::<AcmeDpiClassify>::new(plugin).clocks(&packets, ROUNDS);
        println!("vector {vector:>3}: {clocks:>6.1} clocks per packet");
    }
}
