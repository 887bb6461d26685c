//! The plugin: the FIB and the neighbours behind one lock that packets with a known way never
//! take, and what the packet path reads of them without it.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use plugin_api::{
    Buffer, Config, Error, Grace, GraceDomain, GraceReader, Host, InterfaceIndex, LogLevel, Notice,
    Plugin, ThreadIndex, Timer, TimerKind,
    service::{ethernet_types, ip4_fib},
    wire::{EtherType, Ip4Prefix, MacAddress},
};

use crate::{
    adjacency::Link,
    arena::Full,
    fib::{AddressError, Fib, Forwarder, InterfaceAddress, Path},
    neighbor::{Action, Key, Limits, Neighbors},
};

/// Interfaces whose address the packet path knows.
const INTERFACES: usize = 4096;
/// How soon what waits for a grace period is looked at again.
const RECLAIM_NS: u64 = 10_000_000;

/// The plugin.
#[derive(Debug)]
pub struct Ip4 {
    pub(crate) host: Host,
    pub(crate) router: Mutex<Router>,
    forwarder: Forwarder,
    pub(crate) grace: Arc<GraceDomain>,
    /// A reader for each thread: what the lookup found is used by the nodes after it.
    readers: Mutex<HashMap<u32, GraceReader>>,
    /// First address of each interface, as a number; 0 is none.
    addresses: Box<[AtomicU32]>,
    /// What a timer wants sent; `ip4-neighbor` sends it.
    outbox: Mutex<Vec<Action>>,
    has_outbox: AtomicBool,
    timer: Mutex<Option<Timer>>,
}

/// The writing side: one thread at a time.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) fib: Fib,
    pub(crate) neighbors: Neighbors,
    /// Packets that wait for a neighbour, by the number the neighbour table has for them.
    waiting: HashMap<u32, Buffer>,
    tickets: u32,
    grace: Option<Grace>,
}

/// What a node has to do about a neighbour.
pub(crate) enum Work {
    /// Broadcast or ask.
    Probe {
        /// Where to ask.
        interface: InterfaceIndex,
        /// Whom.
        target: Ipv4Addr,
        /// Where the request goes.
        destination: MacAddress,
        /// Who asks.
        source: (MacAddress, Ipv4Addr),
    },
    /// The way is known: look it up again.
    Forward(Vec<Buffer>),
    /// The neighbour does not answer: host unreachable.
    Unreachable(Vec<Buffer>),
    /// No room to wait.
    Drop(Buffer),
}

impl Plugin for Ip4 {
    const NAME: &'static str = "ip4";

    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error> {
        let limits = limits(config)?;
        let fib = Fib::new().map_err(|error| error.to_string())?;
        let plugin = Self {
            host,
            forwarder: fib.forwarder(),
            router: Mutex::new(Router {
                fib,
                neighbors: Neighbors::new(limits),
                waiting: HashMap::new(),
                tickets: 0,
                grace: None,
            }),
            grace: Arc::default(),
            readers: Mutex::default(),
            addresses: (0..INTERFACES).map(|_| AtomicU32::new(0)).collect(),
            outbox: Mutex::default(),
            has_outbox: AtomicBool::new(false),
            timer: Mutex::default(),
        };
        for interface in host.interface_indices() {
            plugin.learn_interface(interface);
        }
        Ok(plugin)
    }

    fn start(self: &Arc<Self>) -> Result<(), Error> {
        let ethernet = ethernet_types::Client::find(self.host, "^1")?;
        ethernet.register(EtherType::IP4.0, "ip4-input".into())?;
        ethernet.register(EtherType::ARP.0, "arp-input".into())?;
        let plugin: Weak<Self> = Arc::downgrade(self);
        let timer = self.host.timer("ip4-neighbors", TimerKind::default(), move |now_ns| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.tick(now_ns);
            }
        })?;
        *self.timer.lock() = Some(timer);
        Ok(())
    }

    fn stop(self: &Arc<Self>) {
        let timer = self.timer.lock().take();
        drop(timer); // Not under the lock: this waits for its function.
        self.router.lock().waiting.clear();
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        match notice {
            Notice::InterfaceAdded(interface) | Notice::InterfaceState(interface) => {
                self.learn_interface(interface);
            }
            Notice::InterfaceRemoved(interface) => self.forget_interface(interface),
            // It may have gone before it said that it reads no more.
            Notice::ThreadRemoved(thread) => drop(self.readers.lock().remove(&thread.0)),
            _ => {}
        }
    }
}

fn limits(config: &Config<'_>) -> Result<Limits, Error> {
    let usual = Limits::default();
    let seconds = |key: &str, usual: Duration| {
        config.parse(key).map(|found| found.map_or(usual, Duration::from_secs))
    };
    Ok(Limits {
        neighbors_max: config.parse("neighbors-max")?.unwrap_or(usual.neighbors_max),
        reachable: seconds("neighbor-reachable-seconds", usual.reachable)?,
        ..usual
    })
}

impl Ip4 {
    /// The reading side of the FIB, and how a thread says that it reads it: nodes enter, and
    /// `ip4-neighbor` leaves when the next turn of the loop begins.
    pub(crate) fn reader(&self, thread: ThreadIndex) -> (Forwarder, GraceReader) {
        let mut readers = self.readers.lock();
        let reader = readers.entry(thread.0).or_insert_with(|| self.grace.reader());
        (self.forwarder.clone(), reader.clone())
    }

    /// The address of an interface by which the packet path speaks for this host.
    pub(crate) fn address_of(&self, interface: InterfaceIndex) -> Option<Ipv4Addr> {
        let address = self.addresses.get(interface.0 as usize)?.load(Ordering::Relaxed);
        (address != 0).then(|| Ipv4Addr::from_bits(address))
    }

    fn learn_interface(&self, index: InterfaceIndex) {
        let Some(interface) = self.host.interface(index) else { return };
        let link =
            Link { mac: MacAddress(interface.mac), mtu: interface.mtu, is_l3: interface.is_l3 };
        if let Err(error) = self.router.lock().fib.set_link(index, link) {
            self.host.log(LogLevel::Error, &format!("interface {}: {error}", interface.name));
        }
    }

    fn forget_interface(&self, interface: InterfaceIndex) {
        let mut actions = Vec::new();
        let mut router = self.router.lock();
        router.neighbors.remove_all(interface, Ip4Prefix::DEFAULT, &mut actions);
        let work = self.apply(&mut router, actions);
        if let Err(error) = router.fib.remove_interface(interface) {
            self.host.log(LogLevel::Error, &format!("interface {interface}: {error}"));
        }
        self.publish_addresses(&router);
        self.settle(router);
        drop(work); // Packets that waited for a neighbour there: nobody sends them now.
    }

    /// Sets an interface's address.
    pub(crate) fn add_address(&self, new: InterfaceAddress) -> Result<(), AddressError> {
        let mut router = self.router.lock();
        router.fib.add_address(new)?;
        self.publish_addresses(&router);
        self.settle(router);
        Ok(())
    }

    /// Removes an interface's address and the neighbours that only it could reach.
    pub(crate) fn remove_address(
        &self,
        interface: InterfaceIndex,
        address: Ipv4Addr,
    ) -> Result<(), AddressError> {
        let mut actions = Vec::new();
        let mut router = self.router.lock();
        let own = router.fib.addresses().iter();
        let prefix = own.copied().find(|own| own.address == address).map(|own| own.prefix);
        router.fib.remove_address(interface, address)?;
        let left = router.fib.addresses().iter();
        let stays =
            left.filter(|own| own.interface == interface).any(|own| Some(own.prefix) == prefix);
        if let Some(prefix) = prefix.filter(|_| !stays) {
            router.neighbors.remove_all(interface, prefix, &mut actions);
        }
        self.outbox.lock().extend(actions);
        self.deliver(&mut router);
        self.publish_addresses(&router);
        self.settle(router);
        Ok(())
    }

    fn publish_addresses(&self, router: &Router) {
        let mut first: HashMap<usize, u32> = HashMap::new();
        for own in router.fib.addresses() {
            first.entry(own.interface.0 as usize).or_insert_with(|| own.address.to_bits());
        }
        for (at, slot) in self.addresses.iter().enumerate() {
            slot.store(first.get(&at).copied().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Changes routes.
    pub(crate) fn change_routes<R>(&self, change: impl FnOnce(&mut Fib) -> R) -> R {
        let mut router = self.router.lock();
        let result = change(&mut router.fib);
        self.settle(router);
        result
    }

    /// Sets or removes a neighbour by hand.
    pub(crate) fn set_neighbor(&self, key: Key, mac: Option<MacAddress>) -> Result<(), Error> {
        let now = Duration::from_nanos(self.host.now_ns());
        let mut actions = Vec::new();
        let mut router = self.router.lock();
        let done = match mac {
            Some(mac) => router.neighbors.set_static(now, key, mac, &mut actions),
            None => router.neighbors.remove(key, &mut actions),
        };
        self.outbox.lock().extend(actions);
        self.deliver(&mut router);
        self.settle(router);
        match (done, mac) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err("there are too many neighbours".into()),
            (false, None) => Err(format!("there is no neighbour {}", key.1).into()),
        }
    }

    /// A packet whose neighbour is not known: it waits, and someone is asked.
    pub(crate) fn resolve(&self, now_ns: u64, key: Key, buffer: Buffer) -> Vec<Work> {
        let mut router = self.router.lock();
        let ticket = router.tickets;
        router.tickets = router.tickets.wrapping_add(1);
        router.waiting.insert(ticket, buffer);
        let mut actions = Vec::new();
        router.neighbors.packet(Duration::from_nanos(now_ns), key, ticket, &mut actions);
        let work = self.apply(&mut router, actions);
        self.settle(router);
        work
    }

    /// An ARP message told who has an address.
    pub(crate) fn learn(&self, now_ns: u64, key: Key, mac: MacAddress, create: bool) -> Vec<Work> {
        let mut router = self.router.lock();
        let mut actions = Vec::new();
        let now = Duration::from_nanos(now_ns);
        router.neighbors.learn(now, key, mac, create, &mut actions);
        if actions.is_empty() {
            return Vec::new();
        }
        let work = self.apply(&mut router, actions);
        self.settle(router);
        work
    }

    /// Whether an address is one of ours on that interface, by the routes.
    pub(crate) fn owns(&self, interface: InterfaceIndex, address: Ipv4Addr) -> bool {
        self.router.lock().fib.interface_of(address) == Some(interface)
    }

    /// The hardware address of an interface.
    pub(crate) fn host_mac(&self, interface: InterfaceIndex) -> Option<MacAddress> {
        self.router.lock().fib.adjacencies().link(interface).map(|link| link.mac)
    }

    /// What timers left to be sent.
    pub(crate) fn take_outbox(&self) -> Vec<Work> {
        if !self.has_outbox.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.has_outbox.store(false, Ordering::Relaxed);
        let mut router = self.router.lock();
        let actions = std::mem::take(&mut *self.outbox.lock());
        let work = self.apply(&mut router, actions);
        self.settle(router);
        work
    }

    fn tick(&self, now_ns: u64) {
        let mut actions = Vec::new();
        let mut router = self.router.lock();
        router.neighbors.tick(Duration::from_nanos(now_ns), &mut actions);
        self.outbox.lock().extend(actions);
        self.deliver(&mut router);
        self.settle(router);
    }

    /// Does at once what needs no packet sent, and leaves the rest to `ip4-neighbor`.
    fn deliver(&self, router: &mut Router) {
        let actions = std::mem::take(&mut *self.outbox.lock());
        let (later, now): (Vec<_>, Vec<_>) = actions.into_iter().partition(|action| match action {
            Action::Probe { .. } | Action::Refused { .. } => true,
            Action::Resolved { waiting, .. } | Action::Failed { waiting, .. } => {
                !waiting.is_empty()
            }
            Action::Lost { .. } => false,
        });
        drop(self.apply(router, now));
        if !later.is_empty() {
            self.outbox.lock().extend(later);
            self.has_outbox.store(true, Ordering::Relaxed);
        }
    }

    /// Brings the FIB in line with the neighbours; gives what is to be sent or dropped.
    fn apply(&self, router: &mut Router, actions: Vec<Action>) -> Vec<Work> {
        let mut work = Vec::with_capacity(actions.len());
        for action in actions {
            match action {
                Action::Probe { interface, target, destination } => {
                    let source = router.fib.source_address(interface, target);
                    let link = router.fib.adjacencies().link(interface);
                    if let (Some(address), Some(link)) = (source, link) {
                        let source = (link.mac, address);
                        work.push(Work::Probe { interface, target, destination, source });
                    }
                }
                Action::Resolved { key, mac, waiting } => {
                    let known = router.fib.neighbor_resolved(key.0, key.1, mac);
                    self.log_full(known);
                    work.push(Work::Forward(router.take(waiting)));
                }
                Action::Lost { key } => self.log_full(router.fib.neighbor_lost(key.0, key.1)),
                Action::Failed { waiting, .. } => {
                    work.push(Work::Unreachable(router.take(waiting)));
                }
                Action::Refused { buffer, .. } => {
                    work.extend(router.take(vec![buffer]).into_iter().map(Work::Drop));
                }
            }
        }
        work
    }

    fn log_full(&self, done: Result<(), Full>) {
        if let Err(error) = done {
            self.host.log(LogLevel::Error, &error.to_string());
        }
    }

    /// Before the lock is released: uses memory again that no frame can see, and sets the timer
    /// for what is due next.
    fn settle(&self, mut router: parking_lot::MutexGuard<'_, Router>) {
        if router.grace.is_some_and(|grace| self.grace.is_over(grace)) {
            router.fib.end_grace();
            router.grace = None;
        }
        if router.grace.is_none() && router.fib.begin_grace() {
            router.grace = Some(self.grace.begin());
        }
        let due = router.neighbors.next_due().filter(|&due| due != Duration::MAX);
        let due = due.map(|due| u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
        let waits = router.grace.is_some();
        drop(router);
        let reclaim = waits.then(|| self.host.now_ns() + RECLAIM_NS);
        if let Some(at) = due.into_iter().chain(reclaim).min()
            && let Some(timer) = &*self.timer.lock()
        {
            timer.modify(at);
        }
    }
}

impl Router {
    fn take(&mut self, tickets: Vec<u32>) -> Vec<Buffer> {
        tickets.into_iter().filter_map(|ticket| self.waiting.remove(&ticket)).collect()
    }
}

impl ip4_fib::Provider for Ip4 {
    fn add_route(
        &self,
        prefix: u32,
        len: u32,
        next_hop: u32,
        interface: u32,
    ) -> Result<u32, Error> {
        let prefix = service_prefix(prefix, len)?;
        let interface = (interface != u32::MAX).then_some(InterfaceIndex(interface));
        let path = path(Ipv4Addr::from_bits(next_hop), interface)?;
        self.change_routes(|fib| fib.add_path(prefix, path)).map_err(|error| error.to_string())?;
        Ok(0)
    }

    fn remove_route(&self, prefix: u32, len: u32) -> Result<u32, Error> {
        let prefix = service_prefix(prefix, len)?;
        self.change_routes(|fib| fib.remove_route(prefix)).map_err(|error| error.to_string())?;
        Ok(0)
    }
}

fn service_prefix(prefix: u32, len: u32) -> Result<Ip4Prefix, Error> {
    let len = u8::try_from(len).map_err(|_| format!("{len} is no prefix length"))?;
    Ok(Ip4Prefix::new(Ipv4Addr::from_bits(prefix), len).map_err(|error| error.to_string())?)
}

/// The path through `next_hop` and `interface`, as far as they are given.
pub(crate) fn path(next_hop: Ipv4Addr, interface: Option<InterfaceIndex>) -> Result<Path, Error> {
    match (next_hop.is_unspecified(), interface) {
        (false, Some(interface)) => Ok(Path::Neighbor { next_hop, interface }),
        (false, None) => Ok(Path::Recursive { next_hop }),
        (true, Some(interface)) => Ok(Path::Attached { interface }),
        (true, None) => Err("a route needs a next hop or an interface".into()),
    }
}
