//! The device against the kernel's own stack, in namespaces made for the purpose.

use std::{net::Ipv4Addr, time::Duration};

use plugin_api::testing::{DeviceBench, Namespace, host};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::kernel;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OUR_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const THEIR_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// A device on the bench, its queues, and the namespace of its kernel side.
struct Lab {
    bench: DeviceBench<TapDevice>,
    rx: Vec<RxQueue<TapRx>>,
    tx: Vec<TapTx>,
    namespace: Namespace,
}

impl Lab {
    fn new(change: impl FnOnce(&mut KernelSpec)) -> Option<Self> {
        let namespace = Namespace::new()?;
        let mut spec = KernelSpec {
            name: "inside".into(),
            namespace: Some(namespace.name().into()),
            mac: Some(THEIRS),
            ip4: Some((THEIR_IP, 24)),
            queues: 1,
            ..KernelSpec::default()
        };
        change(&mut spec);
        let made = kernel::create(&spec).unwrap();
        let Parts { device, rx, tx } = TapDevice::open(host(), "tap0".into(), spec, made).unwrap();
        Some(Self { bench: DeviceBench::new(device), rx, tx, namespace })
    }

    fn send(&mut self, packet: &[u8]) -> usize {
        self.bench.transmit(&mut self.tx[0], [packet])
    }

    /// Whether the descriptor the host waits on says that something waits.
    fn is_ready(&self, wait: Duration) -> bool {
        let mut fds = [PollFd::new(&self.rx[0].queue.ready, PollFlags::IN)];
        let wait = Timespec::try_from(wait).unwrap();
        poll(&mut fds, Some(&wait)).unwrap() > 0
    }

    /// Receives until a packet is as wanted; its next and bytes.
    fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool) -> (Option<u16>, Vec<u8>) {
        for _ in 0..100 {
            assert!(self.is_ready(Duration::from_secs(5)), "nothing came");
            let out = self.bench.receive(&mut self.rx[0].queue);
            for (next, packet) in out.nexts.into_iter().zip(out.packets) {
                if wanted(&packet) {
                    return (next, packet);
                }
            }
        }
        panic!("other packets came");
    }
}

fn sum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into()))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn arp_request() -> Vec<u8> {
    let mut packet = [&[0xff; 6][..], &OURS, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &OURS].concat();
    packet.extend(OUR_IP.octets());
    packet.extend([0; 6]);
    packet.extend(THEIR_IP.octets());
    packet
}

/// An ICMP echo request as an IPv4 packet.
fn echo_request(payload: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..=255).cycle().take(payload).collect();
    let mut icmp = [&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], &data].concat();
    let checksum = sum(&icmp);
    icmp[2..4].copy_from_slice(&checksum);
    let [high, low] = u16::try_from(20 + icmp.len()).unwrap().to_be_bytes();
    let mut ip = vec![0x45, 0, high, low, 0, 1, 0x40, 0, 64, 1, 0, 0];
    ip.extend(OUR_IP.octets());
    ip.extend(THEIR_IP.octets());
    let checksum = sum(&ip);
    ip[10..12].copy_from_slice(&checksum);
    [ip, icmp].concat()
}

fn ethernet(ip: &[u8]) -> Vec<u8> {
    [&THEIRS[..], &OURS, &[8, 0], ip].concat()
}

fn is_echo_reply(ip: &[u8], payload: usize) -> bool {
    ip.len() == 28 + payload
        && (ip[9], ip[20]) == (1, 0)
        && ip[12..16] == THEIR_IP.octets()
        && ip[28..].iter().zip((0..=255).cycle()).all(|(&byte, expected)| byte == expected)
}

/// Lets the kernel know who we are, so that it answers without asking.
fn greet(lab: &mut Lab) {
    assert_eq!(lab.send(&arp_request()), 1);
    let (next, reply) = lab.receive(|packet| packet[12..14] == [8, 6] && packet[21] == 2);
    assert_eq!(next, Some(Next::Ethernet as u16));
    assert_eq!((&reply[..6], &reply[22..28]), (&OURS[..], &THEIRS[..]));
}

#[test]
fn the_kernel_answers_arp_and_echo_through_a_tap() {
    let Some(mut lab) = Lab::new(|_| {}) else { return };
    greet(&mut lab);
    assert_eq!(lab.send(&ethernet(&echo_request(56))), 1);
    lab.receive(|packet| packet[12..14] == [8, 0] && is_echo_reply(&packet[14..], 56));
}

#[test]
fn the_kernel_answers_echo_through_a_tun_and_other_protocols_are_told_apart() {
    let Some(mut lab) = Lab::new(|spec| (spec.tun, spec.mac) = (true, None)) else { return };
    assert_eq!(lab.send(&echo_request(56)), 1);
    let (next, _) = lab.receive(|packet| packet[0] >> 4 == 4 && is_echo_reply(packet, 56));
    assert_eq!(next, Some(Next::Ip4 as u16));
    lab.namespace.ip("-6 addr add fd00::1/64 dev inside nodad");
    let _ = lab.namespace.run("ping", &["-6", "-c1", "-W1", "fd00::2"]);
    let (next, _) = lab.receive(|packet| packet[0] >> 4 == 6);
    assert_eq!(next, Some(Next::NotIp4 as u16));
    // Not IP at all: the kernel refuses it and it does not hold up the one behind it.
    let packets = [vec![0x10; 40], echo_request(8)];
    assert_eq!(lab.bench.transmit(&mut lab.tx[1], packets), 2);
    assert_eq!(lab.bench.device().info.counters.tx_refused.load(Ordering::Relaxed), 1);
    lab.receive(|packet| is_echo_reply(packet, 8));
}

#[test]
fn packets_of_a_large_mtu_come_and_go_in_chains() {
    let Some(mut lab) = Lab::new(|spec| spec.mtu = Some(65_521)) else { return };
    greet(&mut lab);
    for payload in [2_006, 2_007, 8_972, 65_521 - 28] {
        assert_eq!(lab.send(&ethernet(&echo_request(payload))), 1);
        lab.receive(|packet| packet[12..14] == [8, 0] && is_echo_reply(&packet[14..], payload));
    }
    let counters = &lab.bench.device().info.counters;
    assert_eq!(counters.rx_too_long.load(Ordering::Relaxed), 0);
}

#[test]
fn a_packet_longer_than_the_room_is_counted_and_not_passed_on_cut() {
    let Some(mut lab) = Lab::new(|_| {}) else { return };
    greet(&mut lab);
    lab.namespace.ip("link set inside mtu 9000");
    // The kernel sends its answer in one piece, which is longer than it was when we began.
    assert_eq!(lab.send(&ethernet(&echo_request(4_000))), 1);
    assert_eq!(lab.send(&ethernet(&echo_request(8))), 1);
    lab.receive(|packet| {
        assert!(packet.len() < 2_000);
        packet[12..14] == [8, 0] && is_echo_reply(&packet[14..], 8)
    });
    let counters = &lab.bench.device().info.counters;
    assert_eq!(counters.rx_too_long.load(Ordering::Relaxed), 1);
}

#[test]
fn every_queue_gets_packets_and_none_comes_twice() {
    let Some(mut lab) = Lab::new(|spec| spec.queues = 4) else { return };
    assert_eq!((lab.rx.len(), lab.tx.len()), (4, TX_QUEUES));
    greet_any(&mut lab);
    for port in 0..64_u16 {
        let mut packet = echo_request(56);
        packet[24..26].copy_from_slice(&port.to_be_bytes());
        packet[22..24].fill(0);
        let checksum = sum(&packet[20..]);
        packet[22..24].copy_from_slice(&checksum);
        let queue = usize::from(port) % TX_QUEUES;
        assert_eq!(lab.bench.transmit(&mut lab.tx[queue], [ethernet(&packet)]), 1);
    }
    let mut seen = [0; 64];
    for _ in 0..1_000 {
        for rx in &mut lab.rx {
            for packet in lab.bench.receive(&mut rx.queue).packets {
                if packet[12..14] == [8, 0] && is_echo_reply(&packet[14..], 56) {
                    seen[usize::from(u16::from_be_bytes([packet[38], packet[39]]))] += 1;
                }
            }
        }
        if seen == [1; 64] {
            return;
        }
        poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
    }
    panic!("replies: {seen:?}");
}

fn greet_any(lab: &mut Lab) {
    let mac = OURS.map(|byte| format!("{byte:02x}")).join(":");
    lab.namespace.ip(&format!("neigh add {OUR_IP} lladdr {mac} dev inside"));
}

#[test]
fn the_link_follows_the_kernel_s_side_in_another_namespace() {
    let Some(mut lab) = Lab::new(|_| {}) else { return };
    for (state, up) in [("down", false), ("up", true)] {
        lab.namespace.ip(&format!("link set inside {state}"));
        for _ in 0..100 {
            if lab.bench.link() == Some(up) {
                break;
            }
            assert!(lab.is_ready(Duration::from_secs(5)), "{state} was not told");
            lab.bench.receive(&mut lab.rx[0].queue);
        }
        assert_eq!(lab.bench.link(), Some(up));
        let sent = lab.send(&arp_request());
        assert_eq!(sent, usize::from(up), "sent while {state}");
    }
    assert_eq!(lab.bench.device().info.counters.tx_down.load(Ordering::Relaxed), 1);
}

#[test]
fn a_deleted_interface_is_reported_and_wakes_nobody_any_more() {
    let Some(mut lab) = Lab::new(|_| {}) else { return };
    lab.namespace.ip("link del inside");
    for _ in 0..10 {
        assert!(lab.is_ready(Duration::from_secs(5)), "the end was not told");
        lab.bench.receive(&mut lab.rx[0].queue);
        if lab.rx[0].queue.gone {
            break;
        }
    }
    assert_eq!(lab.bench.link(), Some(false));
    assert!(lab.bench.device().info.gone.load(Ordering::Relaxed));
    lab.bench.receive(&mut lab.rx[0].queue);
    assert!(!lab.is_ready(Duration::ZERO), "the host would spin");
    assert_eq!(lab.send(&arp_request()), 0);
}

#[test]
fn what_is_wrong_with_a_wish_is_said() {
    let Some(namespace) = Namespace::new() else { return };
    let spec = |name: &str, namespace: &str| KernelSpec {
        name: name.into(),
        namespace: Some(namespace.into()),
        queues: 1,
        ..KernelSpec::default()
    };
    let refused = |spec| {
        let error = kernel::create(&spec).unwrap_err();
        crate::command::chain(&error).to_string()
    };
    let here = namespace.name();
    for name in ["", "sixteen-bytes-xx", "a b", "a/b", "a%d"] {
        let text = refused(spec(name, here));
        assert!(text.contains("is no name for an interface"), "{text}");
    }
    let text = refused(spec("x", "no-such-namespace"));
    let expected = "cannot enter network namespace no-such-namespace: No such file or directory";
    assert!(text.starts_with(expected), "{text}");
    let text = refused(spec("x", "/etc/hostname"));
    assert!(text.starts_with("cannot enter network namespace /etc/hostname: "), "{text}");
    let text = refused(spec("lo", here));
    assert!(text.contains("interface lo: the name is taken by an interface of another"), "{text}");
    let first = kernel::create(&spec("busy", &namespace.path())).unwrap();
    let text = refused(spec("busy", here));
    assert!(text.contains("interface busy: the name is in use"), "{text}");
    drop(first);
    let text = refused(KernelSpec { mtu: Some(10), ..spec("busy", here) });
    assert!(text.starts_with("cannot set the MTU of kernel interface busy: "), "{text}");
    assert!(!namespace.ip("link").contains("busy"), "a failed creation leaves something behind");
}
