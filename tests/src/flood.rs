//! Numbered datagrams from one namespace to another, accounted for number by number.

use std::{
    fs,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{lab::pause, netns::Netns};

/// Bytes of a datagram, of which the first eight are its number.
const PAYLOAD: usize = 64;
/// How often a paced sender sends.
const TICK: Duration = Duration::from_millis(1);
/// How long the receiver waits for the next datagram before it believes that there is none.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a flood may last.
const LONGEST: Duration = Duration::from_secs(30);
/// Packets that the kernel keeps for a TAP whose reader is late.
const QUEUE: u32 = 20_000;

/// What became of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Datagrams sent.
    pub sent: u64,
    /// Of those, how many arrived.
    pub received: u64,
    /// Datagrams that did not arrive.
    pub missing: u64,
    /// Datagrams that arrived again.
    pub twice: u64,
    /// What the kernel dropped meanwhile, on both sides: of a link, of a socket, of its backlog.
    pub kernel_drops: u64,
}

/// A sender in one namespace, a receiver in another.
#[derive(Debug)]
pub struct Flood<'a> {
    sides: [(&'a Netns, &'a str); 2],
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl<'a> Flood<'a> {
    /// Between two namespaces, each with the name of its interface and its address.
    ///
    /// # Panics
    /// If sockets cannot be made.
    pub fn between(from: (&'a Netns, &'a str, &str), to: (&'a Netns, &'a str, &str)) -> Self {
        let (sender, receiver) = (from.0.udp(from.2), to.0.udp(to.2));
        sender.connect(receiver.local_addr().expect("it is bound")).expect("there is a route");
        receiver.set_read_timeout(Some(SILENCE)).expect("a timeout is allowed");
        for (namespace, interface, _) in [&from, &to] {
            namespace.ip(&format!("link set {interface} txqueuelen {QUEUE}"));
        }
        Self { sides: [(from.0, from.1), (to.0, to.1)], sender, receiver }
    }

    /// Datagrams that arrive each second when as many are sent as can be.
    pub fn capacity(&self, time: Duration) -> u64 {
        let account = self.run(|number| {
            let end = now() + time;
            while now() < end {
                (0..32).for_each(|_| self.send(number));
            }
        });
        account.received * 1_000 / u64::try_from(time.as_millis()).expect("a short time").max(1)
    }

    /// Sends so many datagrams each second for as long as something is done meanwhile.
    ///
    /// # Panics
    /// If the other does, or it takes too long.
    pub fn paced(&self, per_second: u64, meanwhile: impl FnOnce()) -> Account {
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let flood = scope.spawn(|| self.run(|number| self.pace(number, per_second, &ends)));
            {
                let _ends = Ends(&ends);
                meanwhile();
            }
            flood.join().expect("the flood says why")
        })
    }

    fn pace(&self, number: &mut u64, per_second: u64, ends: &AtomicBool) {
        let began = now();
        while !ends.load(Ordering::Relaxed) {
            let since = now() - began;
            assert!(since < LONGEST, "what is done meanwhile takes too long");
            let due = u128::from(per_second) * since.as_micros() / 1_000_000;
            while u128::from(*number) < due {
                self.send(number);
            }
            pause(TICK);
        }
    }

    /// What cannot be sent is none of the packets that must arrive.
    fn send(&self, number: &mut u64) {
        let mut payload = [0; PAYLOAD];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        if self.sender.send(&payload).is_ok() {
            *number += 1;
        }
    }

    fn run(&self, send: impl FnOnce(&mut u64)) -> Account {
        let drops = self.kernel_drops();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| self.receive());
            let mut sent = 0;
            send(&mut sent);
            let arrivals = receiver.join().expect("the receiver says why");
            let received = arrivals.iter().filter(|times| **times > 0).count() as u64;
            let all: u64 = arrivals.iter().map(|times| u64::from(*times)).sum();
            let kernel_drops = self.kernel_drops() - drops;
            Account {
                sent,
                received,
                missing: sent - received,
                twice: all - received,
                kernel_drops,
            }
        })
    }

    /// How often each number arrived; ends when it is quiet.
    fn receive(&self) -> Vec<u8> {
        let mut arrivals: Vec<u8> = Vec::new();
        let mut payload = [0; PAYLOAD];
        while let Ok(len) = self.receiver.recv(&mut payload) {
            assert_eq!(len, PAYLOAD, "datagrams arrive whole");
            let number = u64::from_be_bytes(*payload.first_chunk().expect("it is long enough"));
            let number = usize::try_from(number).expect("usize has 64 bits");
            assert!(number < 1 << 28, "datagram {number} was never sent");
            if arrivals.len() <= number {
                arrivals.resize(number + 1, 0);
            }
            arrivals[number] = arrivals[number].saturating_add(1);
        }
        arrivals
    }

    fn kernel_drops(&self) -> u64 {
        let links = self.sides.iter().map(|(side, interface)| side.dropped(interface));
        let sockets = self.sides.iter().map(|(side, _)| socket_drops(side));
        links.chain(sockets).sum::<u64>() + backlog_drops()
    }
}

/// Ends a flood when dropped, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Datagrams that found no room at their sockets.
fn socket_drops(side: &Netns) -> u64 {
    let snmp = side.run("cat /proc/net/snmp");
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp: "));
    let (names, counts) = lines.next().zip(lines.next()).expect("the kernel counts datagrams");
    let counts = names.split(' ').zip(counts.split(' '));
    let drops =
        counts.filter(|(name, _)| ["RcvbufErrors", "SndbufErrors", "InErrors"].contains(name));
    drops.map(|(_, count)| count.parse::<u64>().expect("a count")).sum()
}

/// Packets dropped before any interface counted them, on the whole machine.
fn backlog_drops() -> u64 {
    let stat = fs::read_to_string("/proc/net/softnet_stat").expect("the kernel counts its backlog");
    let dropped = stat.lines().filter_map(|line| line.split(' ').nth(1));
    dropped.map(|count| u64::from_str_radix(count, 16).expect("a count")).sum()
}

#[expect(clippy::disallowed_methods, reason = "senders of datagrams keep to real time")]
fn now() -> Instant {
    Instant::now()
}
