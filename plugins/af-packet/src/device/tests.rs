//! The device over veth pairs, in namespaces made for the purpose.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    sync::mpsc,
    thread,
    time::Duration,
};

use plugin_api::testing::{DeviceBench, Namespace, host};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::*;

/// Takes the calling thread into a namespace, for ever.
fn enter(namespace: &str) {
    let file = File::open(namespace).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// A device on the bench and its queues.
struct Port {
    bench: DeviceBench<HostInterface>,
    rx: Vec<RxQueue<Rx>>,
    tx: Vec<Tx>,
}

impl Port {
    /// On an interface of the namespace the thread is in; taken up.
    fn new(name: &str) -> Self {
        let port = Self::new_down(name, 1);
        port.bench.device().set_admin(true).unwrap();
        port
    }

    fn new_down(name: &str, queues: usize) -> Self {
        let Parts { device, rx, tx } =
            HostInterface::open(host(), format!("host-{name}"), name, queues).unwrap();
        Self { bench: DeviceBench::new(device), rx, tx }
    }

    fn send<T: Into<plugin_api::testing::TestPacket>>(
        &mut self,
        packets: impl IntoIterator<Item = T>,
    ) -> usize {
        self.bench.transmit(&mut self.tx[0], packets)
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        self.bench.receive(&mut self.rx[0].queue).packets
    }

    fn is_ready(&self, wait: Duration) -> bool {
        wait_for(&[self.rx[0].queue.socket.as_fd()], wait)
    }

    /// Receives until `wanted` has been true of so many packets; those packets.
    fn receive_some(&mut self, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while found.len() < count {
            assert!(self.is_ready(Duration::from_secs(5)), "{} of {count} came", found.len());
            found.extend(self.receive().into_iter().filter(|packet| wanted(packet)));
        }
        found
    }

    fn info(&self) -> &Info {
        self.bench.device().info()
    }
}

fn wait_for(fds: &[BorrowedFd<'_>], wait: Duration) -> bool {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    poll(&mut fds, Some(&Timespec::try_from(wait).unwrap())).unwrap() > 0
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A namespace with a veth pair in it, `va` and `vb`, both up and without addresses.
fn veth() -> Option<Namespace> {
    let namespace = Namespace::new()?;
    namespace.ip("link add va type veth peer name vb");
    for name in ["va", "vb"] {
        namespace.run("sysctl", &["-qw", &format!("net.ipv6.conf.{name}.disable_ipv6=1")]);
        namespace.ip(&format!("link set {name} up"));
    }
    Some(namespace)
}

/// A packet of a protocol nobody else speaks, with a number in it.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut packet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    packet.extend(number.to_be_bytes());
    packet.extend((18..len).map(|at| at.to_le_bytes()[0]));
    packet
}

fn is_numbered(packet: &[u8]) -> bool {
    packet[12..14] == [0x88, 0xb5]
}

fn number_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[14..18].try_into().unwrap())
}

#[test]
fn ten_thousand_paced_packets_arrive_in_order_and_unchanged() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let (mut a, mut b) = (Port::new("va"), Port::new("vb"));
    let mut next = 0;
    for first in (0..10_000_u32).step_by(200) {
        let packets = (first..first + 200).map(|at| numbered(at, 60 + at as usize % 1_400));
        assert_eq!(a.send(packets), 200);
        for packet in b.receive_some(200, is_numbered) {
            assert_eq!(packet, numbered(next, 60 + next as usize % 1_400));
            next += 1;
        }
    }
    assert_eq!(next, 10_000);
    b.info().ask_kernel();
    assert_eq!(read(&b.info().counters.kernel_drops), 0);
    assert_eq!(read(&b.info().counters.kernel_packets), 10_000);
    assert!(a.receive().is_empty(), "a port does not hear itself");
}

#[test]
fn a_burst_waits_in_the_ring_while_nobody_looks() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let (mut a, mut b) = (Port::new("va"), Port::new("vb"));
    for first in (0..2_000_u32).step_by(250) {
        assert_eq!(a.send((first..first + 250).map(|at| numbered(at, 60))), 250);
    }
    let numbers = b.receive_some(2_000, is_numbered).into_iter().map(|packet| number_of(&packet));
    assert!(numbers.eq(0..2_000));
    b.info().ask_kernel();
    assert_eq!(read(&b.info().counters.kernel_drops), 0);
}

#[test]
fn vlan_tags_are_where_they_were_when_the_packet_was_sent() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let (mut a, mut b) = (Port::new("va"), Port::new("vb"));
    let tagged = |tags: &[[u8; 4]]| {
        let plain = numbered(7, 80);
        [&plain[..12], &tags.concat(), &plain[12..]].concat()
    };
    let packets = [
        tagged(&[]),
        tagged(&[[0x81, 0x00, 0xe0, 0x05]]),
        tagged(&[[0x88, 0xa8, 0x00, 0x64], [0x81, 0x00, 0x0f, 0xff]]),
    ];
    assert_eq!(a.send(packets.clone()), 3);
    assert_eq!(b.receive_some(3, |packet| packet[6..12] == [2, 0, 0, 0, 0, 9]), packets);
}

#[test]
fn long_packets_come_and_go_in_chains() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    namespace.ip("link set va mtu 9000");
    namespace.ip("link set vb mtu 9000");
    let (mut a, mut b) = (Port::new("va"), Port::new("vb"));
    assert_eq!(a.info().kernel.mtu, 9_000);
    let packets: Vec<_> = [2_047, 2_048, 2_049, 9_014]
        .into_iter()
        .zip(0..)
        .map(|(len, number)| numbered(number, len))
        .collect();
    assert_eq!(a.send(packets.clone()), 4);
    assert_eq!(b.receive_some(4, is_numbered), packets);
}

#[test]
fn a_packet_the_kernel_refuses_does_not_hold_up_the_others() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let (mut a, mut b) = (Port::new("va"), Port::new("vb"));
    let packets =
        [numbered(0, 60), numbered(9, 1_600), numbered(1, 60), vec![1; 10], numbered(2, 60)];
    assert_eq!(a.send(packets), 5);
    let numbers = b.receive_some(3, is_numbered).into_iter().map(|packet| number_of(&packet));
    assert!(numbers.eq(0..3));
    assert_eq!(read(&a.info().counters.tx_refused), 2);
}

#[test]
fn what_a_local_stack_sends_has_its_checksum_completed() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    namespace.ip("addr add 10.0.0.1/24 dev va");
    namespace.ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev va");
    let mut b = Port::new("vb");
    let socket = UdpSocket::bind("10.0.0.1:4000").unwrap();
    for len in [0, 1, 2, 3, 100, 1_471, 1_472] {
        socket.send_to(&vec![0xab; len], "10.0.0.2:5000").unwrap();
        let packet = b.receive_some(1, |packet| packet[12..14] == [8, 0]).remove(0);
        assert_eq!(packet.len(), 42 + len);
        let pseudo = [&packet[26..34], &[0, 17], &packet[38..40]].concat();
        let words = [&pseudo[..], &packet[34..]].concat();
        let sum: u32 = words
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into()))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{len} bytes");
    }
}

/// Passes packets from one port to the other, both ways, until `done`.
fn bridge(mut ports: [Port; 2], done: &mpsc::Receiver<()>) -> [Port; 2] {
    while done.try_recv() == Err(mpsc::TryRecvError::Empty) {
        let fds = ports.each_ref().map(|port| port.rx[0].queue.socket.as_fd());
        wait_for(&fds, Duration::from_millis(10));
        for (from, to) in [(0, 1), (1, 0)] {
            let packets = ports[from].receive();
            let longest = packets.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest <= 1_514, "a packet of {longest} bytes was not cut");
            if !packets.is_empty() {
                let (sent, n) = (ports[to].send(packets.clone()), packets.len());
                assert_eq!(sent, n);
            }
        }
    }
    ports
}

#[test]
fn tcp_between_two_stacks_passes_unchanged_with_their_offloads_on() {
    let Some(middle) = Namespace::new() else { return };
    let sides = [Namespace::new().unwrap(), Namespace::new().unwrap()];
    for (number, side) in sides.iter().enumerate() {
        let link = format!("link add v{number} type veth peer name inside netns {}", side.name());
        middle.ip(&link);
        middle.run("sysctl", &["-qw", &format!("net.ipv6.conf.v{number}.disable_ipv6=1")]);
        middle.ip(&format!("link set v{number} up"));
        side.ip(&format!("addr add 10.0.0.{}/24 dev inside", number + 1));
        side.ip("link set inside up");
    }
    let data: Vec<u8> =
        (0..8_u32 << 20).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let expected = data.clone();
    let [client, server] = sides.each_ref().map(Namespace::path);
    let (listening, listens) = mpsc::channel();
    let (finished, done) = mpsc::channel();
    let server = thread::spawn(move || {
        enter(&server);
        let listener = TcpListener::bind("10.0.0.2:5000").unwrap();
        listening.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == expected, "{} bytes, not those that were sent", received.len());
        stream.write_all(&received[..100_000]).unwrap();
    });
    listens.recv().unwrap();
    let client = thread::spawn(move || {
        enter(&client);
        let address: SocketAddr = "10.0.0.2:5000".parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&data).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        finished.send(()).unwrap();
        assert!(answer == data[..100_000], "{} bytes, not those that were sent", answer.len());
    });
    enter(&middle.path());
    let ports = bridge([Port::new("v0"), Port::new("v1")], &done);
    client.join().unwrap();
    server.join().unwrap();
    for port in &ports {
        let counters = &port.info().counters;
        let wrong = [&counters.rx_cut, &counters.rx_malformed, &counters.tx_refused].map(read);
        assert_eq!(wrong, [0; 3]);
        port.info().ask_kernel();
        let packets = read(&counters.kernel_packets);
        assert!(packets < 4_000, "{packets} packets: the stacks did not leave us the cutting");
    }
}

#[test]
fn a_large_packet_that_fills_the_frame_goes_on_in_the_next() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    namespace.ip("addr add 10.0.0.1/24 dev va");
    namespace.ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev va");
    let mut b = Port::new("vb");
    let socket = UdpSocket::bind("10.0.0.1:4000").unwrap();
    // Ten sends of 60 segments each: more than twice what a frame holds.
    let segment = 1_000;
    let option = leave_cutting(&socket, segment);
    assert!(option.is_ok(), "UDP_SEGMENT: {option:?}");
    for round in 0..10_u8 {
        let data: Vec<u8> = (0..60).flat_map(|at| vec![round * 16 + at % 16; segment]).collect();
        socket.send_to(&data, "10.0.0.2:5000").unwrap();
    }
    let packets = b.receive_some(600, |packet| packet[12..14] == [8, 0]);
    for (at, packet) in packets.iter().enumerate() {
        assert_eq!(packet.len(), 42 + segment);
        let expected = (at / 60) * 16 + at % 60 % 16;
        assert!(packet[42..].iter().all(|&byte| usize::from(byte) == expected), "segment {at}");
    }
}

/// Has the stack leave the cutting of what a socket sends to the card.
fn leave_cutting(socket: &UdpSocket, segment: usize) -> io::Result<()> {
    const UDP_SEGMENT: i32 = 103;
    let value = i32::try_from(segment).unwrap();
    let socket = PacketSocket::of_test(socket.as_fd().try_clone_to_owned()?);
    socket.set(libc::SOL_UDP, UDP_SEGMENT, &value)
}

#[test]
fn an_interface_that_is_down_receives_nothing_and_forgets_nothing_later() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let (mut a, mut b) = (Port::new("va"), Port::new_down("vb", 1));
    assert_eq!(a.send([numbered(1, 60)]), 1);
    assert!(!b.is_ready(Duration::from_millis(50)));
    let device = b.bench.device();
    device.set_admin(true).unwrap();
    device.set_admin(true).unwrap();
    assert_eq!(a.send([numbered(2, 60)]), 1);
    assert_eq!(number_of(&b.receive_some(1, is_numbered)[0]), 2);
    b.bench.device().set_admin(false).unwrap();
    assert_eq!(a.send([numbered(3, 60)]), 1);
    assert!(!b.is_ready(Duration::from_millis(50)));
}

#[test]
fn several_queues_share_the_flows_and_lose_none() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let (mut a, mut b) = (Port::new("va"), Port::new_down("vb", 4));
    b.bench.device().set_admin(true).unwrap();
    let flow = |port: u16| {
        let mut packet = numbered(0, 60);
        packet[12..14].copy_from_slice(&[8, 0]);
        packet[14..34]
            .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet[34..36].copy_from_slice(&port.to_be_bytes());
        packet
    };
    assert_eq!(a.send((0..200).map(flow)), 200);
    let (mut seen, mut used) = ([0; 200], [false; 4]);
    while seen.iter().sum::<u32>() < 200 {
        let sockets: Vec<_> = b.rx.iter().map(|rx| rx.queue.socket.as_fd()).collect();
        assert!(wait_for(&sockets, Duration::from_secs(5)), "{seen:?}");
        for (rx, used) in b.rx.iter_mut().zip(&mut used) {
            for packet in b.bench.receive(&mut rx.queue).packets {
                seen[usize::from(u16::from_be_bytes([packet[34], packet[35]]))] += 1;
                *used = true;
            }
        }
    }
    assert_eq!(seen, [1; 200]);
    assert_eq!(used, [true; 4]);
}

#[test]
fn a_kernel_interface_that_goes_down_or_away_is_told_and_wakes_nobody_any_more() {
    let Some(namespace) = veth() else { return };
    enter(&namespace.path());
    let mut a = Port::new("va");
    namespace.ip("link set va down");
    assert!(a.is_ready(Duration::from_secs(5)), "going down was not told");
    a.receive();
    assert!(!a.is_ready(Duration::ZERO), "the host would spin");
    assert_eq!((a.bench.link(), a.info().gone.load(Ordering::Relaxed)), (None, false));
    assert_eq!(a.send([numbered(0, 60)]), 0);
    assert_eq!(read(&a.info().counters.tx_down), 1);
    namespace.ip("link set va up");
    assert_eq!(a.send([numbered(0, 60)]), 1);
    namespace.ip("link del va");
    assert!(a.is_ready(Duration::from_secs(5)), "going away was not told");
    a.bench.set_now_ns(CHECK_NS);
    a.receive();
    assert!(!a.is_ready(Duration::ZERO), "the host would spin");
    assert_eq!((a.bench.link(), a.info().gone.load(Ordering::Relaxed)), (Some(false), true));
    assert_eq!(a.send([numbered(0, 60)]), 0);
}

#[test]
fn what_cannot_be_an_interface_is_refused_with_the_reason() {
    let Some(namespace) = Namespace::new() else { return };
    enter(&namespace.path());
    namespace.ip("tuntap add t0 mode tun");
    let refused = |name: &str| {
        let error = HostInterface::open(host(), "host-x".into(), name, 1).unwrap_err();
        crate::command::chain(&error).to_string()
    };
    for name in ["no-such", "", "a-name-that-is-longer-than-any"] {
        let text = refused(name);
        let expected = format!("there is no kernel interface {name}: No such device (os error 19)");
        assert_eq!(text, expected);
    }
    let expected = "kernel interface t0 carries no Ethernet (hardware type 65534)";
    assert_eq!(refused("t0"), expected);
}
