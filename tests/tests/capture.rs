//! A capture is replayed through ethernet and ip4 into captures, which are compared with those
//! under `golden/` byte for byte, but for the times, which no two runs have in common.
//!
//! ```text
//!            ┌ 10.7.0.0/16 ──→ forwarded        10.1.0.0/24 ──→ ttl-exceeded
//!  replay ───┤ 10.7.3.0/24 ──→ specific   and   10.2.0.0/24 ──→ unreachable
//!  10.0.0.1  └ dropped, by reason               10.3.0.0/24 ──→ echo
//! ```
//! Packets keep their order along a way through the graph, and only there: so each way has an
//! output of its own, and the answers find theirs by the sender's address. `UPDATE_GOLDEN=1`
//! writes the expected captures anew.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{env, fs, path::PathBuf, time::Duration};

use gristmill_tests::{
    Lab, SOURCE, capture,
    packet::{Ip4, Mac, ethernet, icmp, seal},
};

/// The hardware address of the interface that receives.
const OWN: Mac = [2, 0, 0x5e, 0, 0x53, 0];
/// Who sends.
const SENDER: Mac = [2, 0, 0x5e, 0, 0x53, 0xff];
/// The address of the interface that receives.
const ADDRESS: [u8; 4] = [10, 0, 0, 1];
/// The captures that are written; the last byte of an interface's hardware address is its place
/// here and 1, that of its one neighbour 16 more.
const OUTPUTS: [&str; 5] = ["forwarded", "specific", "ttl-exceeded", "unreachable", "echo"];
const TTL_EXCEEDED: usize = 2;
const UNREACHABLE: usize = 3;
const ECHO: usize = 4;
/// Packets of the capture.
const PACKETS: usize = 200;
/// Bytes of a UDP or TCP segment.
const SIZES: [usize; 8] = [8, 9, 26, 64, 100, 256, 556, 1_472];

const IP4: u16 = 0x0800;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet of the capture, and what must become of it.
struct Sample {
    packet: Vec<u8>,
    fate: Fate,
}

/// What becomes of a packet.
enum Fate {
    /// Into an output as these bytes.
    Out(usize, Vec<u8>),
    /// Dropped by a node for a reason.
    Dropped(&'static str, &'static str),
}

fn interface_mac(output: usize) -> Mac {
    [2, 0, 0x5e, 0, 0x53, u8::try_from(output).unwrap() + 1]
}

fn neighbor_mac(output: usize) -> Mac {
    [2, 0, 0x5e, 0, 0x53, u8::try_from(output).unwrap() + 17]
}

fn sent(body: &[u8]) -> Vec<u8> {
    ethernet(OWN, SENDER, IP4, body)
}

fn out(output: usize, body: &[u8]) -> Fate {
    Fate::Out(output, ethernet(neighbor_mac(output), interface_mac(output), IP4, body))
}

/// An IPv4 packet with a hop less.
fn one_hop_on(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8] -= 1;
    let header = usize::from(packet[0] & 15) * 4;
    seal(&mut packet, 0..header, 10);
    packet
}

/// What the host says about a packet (RFC 792), all in all no more than 576 bytes.
fn error(kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
    let quote = &about[..about.len().min(548)];
    let destination = *about[12..16].first_chunk().unwrap();
    let header = Ip4 { ttl: 64, protocol: ICMP, id: 0, source: ADDRESS, destination, options: &[] };
    let mut packet = header.with(&icmp(kind, code, [0; 4], quote));
    packet[1] = 0xc0; // Internetwork control.
    seal(&mut packet, 0..20, 10);
    packet
}

/// Packet `number` of the capture. Every kind comes several times, in every neighbourhood.
fn sample(number: usize) -> Sample {
    let id = u16::try_from(number).unwrap();
    let low = u8::try_from(number).unwrap();
    let payload: Vec<u8> = (low..=255).cycle().take(SIZES[number % 8]).collect();
    let header = Ip4 {
        ttl: 64,
        protocol: UDP,
        id,
        source: [10, 9, 0, 9],
        destination: [10, 7, 1, low],
        options: &[],
    };
    let good = header.with(&payload);
    let from = |net: u8| [10, net, 0, 2];
    match number * 7 % 20 {
        0..=3 => Sample { fate: out(0, &one_hop_on(&good)), packet: sent(&good) },
        4..=5 => {
            let ip = Ip4 { destination: [10, 7, 3, low], protocol: TCP, ttl: 2, ..header };
            let ip = ip.with(&payload);
            Sample { fate: out(1, &one_hop_on(&ip)), packet: sent(&ip) }
        }
        6 => {
            // Router alert, and an option nobody knows.
            let ip = Ip4 { options: &[0x94, 4, 0, 0, 0x9e, 3, 7, 0], ..header }.with(&payload);
            Sample { fate: out(0, &one_hop_on(&ip)), packet: sent(&ip) }
        }
        7 => {
            // A short packet in a frame as long as Ethernet wants it.
            let ip = header.with(&payload[..8]);
            let mut packet = sent(&ip);
            packet.resize(60, 0xee);
            Sample { fate: out(0, &one_hop_on(&ip)), packet }
        }
        8..=9 => {
            let ip = Ip4 { ttl: 1, source: from(1), ..header }.with(&payload);
            Sample { fate: out(TTL_EXCEEDED, &error(11, 0, &ip)), packet: sent(&ip) }
        }
        10..=11 => {
            let to = Ip4 { source: from(2), destination: [192, 0, 2, low], ..header };
            let ip = to.with(&payload);
            Sample { fate: out(UNREACHABLE, &error(3, 0, &ip)), packet: sent(&ip) }
        }
        12..=13 => {
            let ip = Ip4 { protocol: ICMP, source: from(3), destination: ADDRESS, ..header };
            let [request, reply] = [8, 0].map(|kind| icmp(kind, 0, [7, 7, 0, low], &payload));
            let answer = Ip4 { source: ADDRESS, destination: from(3), ..ip };
            Sample { fate: out(ECHO, &answer.with(&reply)), packet: sent(&ip.with(&request)) }
        }
        kind => bad(kind, header, &payload),
    }
}

/// A packet that must be dropped without an answer.
fn bad(kind: usize, header: Ip4<'_>, payload: &[u8]) -> Sample {
    let good = header.with(payload);
    let mut ip = good.clone();
    let (packet, node, reason) = match kind {
        14 => {
            ip[10] ^= 0x80;
            (sent(&ip), "ip4-input", "ip4-bad-checksum")
        }
        15 if header.id.is_multiple_of(2) => {
            (ethernet(OWN, SENDER, 0x88b5, &good), "ethernet-input", "ethernet-unknown-type")
        }
        15 => (ethernet(OWN, SENDER, 0x8100, &good), "ethernet-input", "ethernet-vlan-unknown"),
        16 if header.id.is_multiple_of(2) => (sent(&good[..19]), "ip4-input", "ip4-short"),
        16 => (sent(&good)[..13].to_vec(), "ethernet-input", "ethernet-too-short"),
        17 => {
            ip[0] = 0x65;
            (sent(&ip), "ip4-input", "ip4-bad-version")
        }
        18 => (sent(&good[..good.len() - 1]), "ip4-input", "ip4-bad-length"),
        _ => (ethernet(SENDER, OWN, IP4, &good), "ethernet-input", "ethernet-not-for-us"),
    };
    Sample { packet, fate: Fate::Dropped(node, reason) }
}

/// What sets the host up, but for the replay.
fn set_up(lab: &Lab) {
    for (at, name) in OUTPUTS.iter().enumerate() {
        let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
        let (own, neighbor) = (mac(interface_mac(at)), mac(neighbor_mac(at)));
        let file = lab.directory().join(name);
        lab.run(&format!("create pcap name {name} hw-addr {own} output {}", file.display()));
        lab.run(&format!("set interface state {name} up"));
        lab.run(&format!("set interface ip address {name} 10.100.{at}.1/24"));
        lab.run(&format!("set ip neighbor {name} 10.100.{at}.2 {neighbor}"));
    }
    let nets = ["10.7.0.0/16", "10.7.3.0/24", "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"];
    for (at, (net, name)) in nets.iter().zip(OUTPUTS).enumerate() {
        lab.run(&format!("ip route add {net} via 10.100.{at}.2 {name}"));
    }
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(SOURCE).join(format!("tests/golden/{name}.pcap"))
}

/// Compares a capture with the one under `golden/`, or writes that.
fn compare(name: &str, found: &[u8]) {
    let file = golden(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, found).unwrap();
        return;
    }
    let wanted = capture::read(&file);
    let (found_packets, wanted_packets) = (capture::packets(found), capture::packets(&wanted));
    for (number, (found, wanted)) in found_packets.iter().zip(&wanted_packets).enumerate() {
        assert_eq!(found, wanted, "{name}: packet {number}");
    }
    assert_eq!(found_packets.len(), wanted_packets.len(), "{name}: packets");
    assert_eq!(found, wanted, "{name}: headers of the file or of its packets");
}

/// Replays the capture, checks what was dropped, and gives what was written.
fn replay(samples: &[Sample], workers: u32) -> Vec<Vec<u8>> {
    let plugins = ["ethernet", "ip4", "pcap"];
    let mut lab = Lab::options().plugins(&plugins).workers(workers).start();
    set_up(&lab);
    let packets: Vec<Vec<u8>> = samples.iter().map(|sample| sample.packet.clone()).collect();
    let file = lab.directory().join("replay.pcap");
    let input = capture::of(&packets);
    fs::write(&file, &input).unwrap();
    compare("replay", &capture::without_times(input));
    lab.run(&format!("create pcap name replay hw-addr 02:00:5e:00:53:00 input {}", file.display()));
    lab.run("set interface ip address replay 10.0.0.1/24");
    lab.run("set interface state replay up");
    let all = lab.eventually(Duration::from_secs(10), |lab| {
        lab.run("show interface").the("Name", "replay").count("rx-packets") == PACKETS as u64
    });
    assert!(all, "{}", lab.run("show pcap").json());

    let errors = lab.run("show errors");
    let rows = errors.rows();
    let drops = |node: &str, reason: &str| {
        let row = rows.iter().find(|row| row.text("Node") == node && row.text("Reason") == reason);
        row.map_or(0, |row| usize::try_from(row.count("Count")).unwrap())
    };
    let wanted = |drop: (&str, &str)| {
        let is = |sample: &&Sample| matches!(sample.fate, Fate::Dropped(a, b) if (a, b) == drop);
        samples.iter().filter(is).count()
    };
    for sample in samples {
        if let Fate::Dropped(node, reason) = sample.fate {
            assert_eq!(drops(node, reason), wanted((node, reason)), "{node}, {reason}");
        }
    }
    for name in OUTPUTS {
        lab.run(&format!("delete pcap {name}"));
    }
    let written = OUTPUTS.map(|name| capture::read(&lab.directory().join(name)));
    lab.finish();
    written.into_iter().map(capture::without_times).collect()
}

#[test]
fn a_capture_comes_out_as_expected_byte_for_byte() {
    let samples: Vec<Sample> = (0..PACKETS).map(sample).collect();
    for workers in [0, 1, 2] {
        for (at, (name, found)) in OUTPUTS.iter().zip(replay(&samples, workers)).enumerate() {
            // By reckoning, packet by packet, so that an update cannot make a fault expected.
            let wanted = samples.iter().filter_map(|sample| match &sample.fate {
                Fate::Out(output, packet) if *output == at => Some(packet),
                _ => None,
            });
            let found_packets = capture::packets(&found);
            assert_eq!(found_packets.len(), wanted.clone().count(), "{name}");
            for (number, (found, wanted)) in found_packets.iter().zip(wanted).enumerate() {
                assert_eq!(found, wanted, "{name}: packet {number}");
            }
            compare(name, &found);
        }
    }
}

#[test]
fn a_groups_address_is_refused_before_any_file_is_touched() {
    let lab = Lab::options().plugins(&["pcap"]).start();
    let file = lab.directory().join("out.pcap");
    fs::write(&file, "kept").unwrap();
    let create = |mac: &str| format!("create pcap hw-addr {mac} output {}", file.display());
    assert!(lab.refused(&create("03:00:5e:00:53:00")).contains("hw-addr"));
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    lab.run(&create("02:00:5e:00:53:00"));
    assert_eq!(lab.run("show interface").text(0, "MAC"), "02:00:5e:00:53:00");
    lab.finish();
}
