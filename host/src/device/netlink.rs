//! Which links the kernel has and which of them are up, as it changes.
//!
//! Only the header and the name of a link message are read. Its other attributes differ between
//! kernels, and decoding all of them can fail, or panic, over one that does not matter here
//! (rust-netlink/netlink-packet-route#143).

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NlasIterator, parse_i32,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkFlags, LinkHeader, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Longest datagram the kernel sends for links: a dump's are 32 KiB, twice that is room.
const DATAGRAM: usize = 64 << 10;
/// Datagrams that one [`LinkWatcher::read`] takes at most.
const READS: usize = 64;
/// How often a list that changed while it was read is asked for again.
const DUMPS: usize = 16;
/// Bytes of events the kernel keeps for us, if it allows.
const RECEIVE_BUFFER: libc::c_int = 1 << 20;
/// Length of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

// Kernel API: linux/rtnetlink.h, linux/if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTNLGRP_LINK: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const NLMSG_ALIGN: usize = 4;

/// A link of the kernel that came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// The kernel's index; not used again soon, but in time.
    pub kernel_index: u32,
    /// The name it has now, or had last.
    pub name: String,
    /// Whether packets can pass: it is administratively up, has a carrier, and is not dormant.
    pub up: bool,
    /// Whether it is gone from this network namespace.
    pub deleted: bool,
}

/// Follows the links of the network namespace it was opened in. Context: main.
pub struct LinkWatcher {
    events: Socket,
    /// For whole lists, so that events do not mix with them; both are of the same namespace.
    lists: Socket,
    links: BTreeMap<u32, Link>,
    /// Whether events were lost since the last whole list.
    stale: bool,
    overruns: u64,
    buffer: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    up: bool,
}

/// What one netlink message says.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Present(u32, Link),
    Gone(u32),
    /// A dump has ended, with 0 or a negative error number.
    Done(i32),
    Other,
}

impl LinkWatcher {
    /// Starts to follow the links. The first [`LinkWatcher::dump`] or [`LinkWatcher::read`] tells
    /// those that there are; do not wait for the descriptor before it.
    ///
    /// # Errors
    /// If the system gives no netlink socket.
    pub fn open() -> io::Result<Self> {
        let events = socket()?;
        // Less than wanted only means more whole lists.
        let _less = events.set_rx_buf_sz(RECEIVE_BUFFER);
        events.add_membership(RTNLGRP_LINK)?;
        Ok(Self {
            events,
            lists: socket()?,
            links: BTreeMap::new(),
            stale: true,
            overruns: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// Readable when [`LinkWatcher::read`] has something to read; to be polled level-triggered.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Appends all links there are, by index; later changes are told relative to these.
    ///
    /// # Errors
    /// If the kernel gives no list.
    pub fn dump(&mut self, links: &mut Vec<LinkChange>) -> io::Result<()> {
        self.resync(&mut Vec::new())?;
        links.extend(self.links.iter().map(|(index, link)| link.change(*index)));
        Ok(())
    }

    /// Appends what changed since the last call, in order, without waiting.
    ///
    /// A message that changes neither name nor state is not told. If the kernel had to drop
    /// events, the whole list is read and what differs is told, deleted links too. It stops after
    /// a number of messages, so that a storm does not hold up the caller.
    ///
    /// # Errors
    /// If the socket fails; what was lost by it is made up for by the next call.
    pub fn read(&mut self, changes: &mut Vec<LinkChange>) -> io::Result<()> {
        for _ in 0..READS {
            match receive(&self.events, &mut self.buffer) {
                // While events are missing, those that are left are older than the list to come.
                Ok(true) if !self.stale => {
                    for message in messages(&self.buffer) {
                        changes.extend(apply(&mut self.links, message));
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if self.stale { self.resync(changes) } else { Ok(()) };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.overruns += 1;
                    self.stale = true;
                }
                Err(error) => {
                    self.stale = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The link as it was last told, for an interface that begins to stand for it.
    pub fn link(&self, kernel_index: u32) -> Option<LinkChange> {
        self.links.get(&kernel_index).map(|link| link.change(kernel_index))
    }

    /// How often the kernel had to drop events.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Reads the whole list and appends how it differs from what was known.
    fn resync(&mut self, changes: &mut Vec<LinkChange>) -> io::Result<()> {
        let found = list(&self.lists, &mut self.buffer)?;
        self.stale = false;
        let known = std::mem::take(&mut self.links);
        changes.extend(
            known.iter().filter(|(index, _)| !found.contains_key(*index)).map(|(index, link)| {
                LinkChange { up: false, deleted: true, ..link.change(*index) }
            }),
        );
        for (index, link) in found {
            if known.get(&index) != Some(&link) {
                changes.push(link.change(index));
            }
            self.links.insert(index, link);
        }
        Ok(())
    }
}

impl AsFd for LinkWatcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

impl std::fmt::Debug for LinkWatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkWatcher").field("links", &self.links).finish_non_exhaustive()
    }
}

impl Link {
    fn change(&self, kernel_index: u32) -> LinkChange {
        LinkChange { kernel_index, name: self.name.clone(), up: self.up, deleted: false }
    }
}

/// Brings what is known up to date; returns the change if there is one.
fn apply(links: &mut BTreeMap<u32, Link>, message: Message) -> Option<LinkChange> {
    match message {
        Message::Present(index, link) => {
            if links.get(&index) == Some(&link) {
                return None;
            }
            let change = link.change(index);
            links.insert(index, link);
            Some(change)
        }
        Message::Gone(index) => {
            let link = links.remove(&index)?;
            Some(LinkChange { up: false, deleted: true, ..link.change(index) })
        }
        Message::Done(_) | Message::Other => None,
    }
}

fn socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    Ok(socket)
}

/// All links.
fn list(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<BTreeMap<u32, Link>> {
    for _ in 0..DUMPS {
        // What a reading that failed left behind is not part of this one.
        while receive(socket, buffer).is_ok() {}
        if let Some(links) = list_once(socket, buffer)? {
            return Ok(links);
        }
    }
    Err(io::Error::other(format!("the kernel's links changed during each of {DUMPS} readings")))
}

/// All links, or `None` if they changed meanwhile so that some may be missing.
///
/// It does not wait: the kernel makes a list's first part while it takes the request, and each
/// other while the one before is read.
fn list_once(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<Option<BTreeMap<u32, Link>>> {
    socket.send_to(&list_request(), &SocketAddr::new(0, 0), 0)?;
    let mut links = BTreeMap::new();
    let mut whole = true;
    loop {
        let from_kernel = match receive(socket, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if !from_kernel {
            continue;
        }
        whole &= !is_interrupted(buffer);
        for message in messages(buffer) {
            match message {
                Message::Done(0) => return Ok(whole.then_some(links)),
                Message::Done(error) => {
                    return Err(io::Error::from_raw_os_error(error.saturating_abs()));
                }
                message => {
                    apply(&mut links, message);
                }
            }
        }
    }
}

fn list_request() -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let payload = RouteNetlinkMessage::GetLink(LinkMessage::default()).into();
    let mut request = NetlinkMessage::new(header, payload);
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Receives a datagram; tells whether it came from the kernel.
fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    let (length, from) = socket.recv_from(buffer, libc::MSG_TRUNC)?;
    if length > buffer.len() {
        // Cut short is as good as lost.
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    Ok(from.port_number() == 0)
}

/// Whether the kernel says that what it listed changed while it did.
fn is_interrupted(datagram: &[u8]) -> bool {
    parts(datagram).any(|part| part.flags() & NLM_F_DUMP_INTR != 0)
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = Message> {
    parts(datagram).map(|part| message(part.message_type(), part.payload()))
}

/// The netlink messages of a datagram, up to the first that is malformed.
fn parts(mut rest: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let part = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(part.length()).ok()?.next_multiple_of(NLMSG_ALIGN);
        rest = rest.get(length..).unwrap_or(&[]);
        Some(part)
    })
}

/// Reads one message; what is malformed or not about links is [`Message::Other`].
fn message(kind: u16, payload: &[u8]) -> Message {
    match kind {
        RTM_NEWLINK | RTM_DELLINK => link(kind, payload).unwrap_or(Message::Other),
        NLMSG_DONE | NLMSG_ERROR => {
            let code = payload.get(..4).and_then(|code| parse_i32(code).ok());
            Message::Done(code.unwrap_or(0))
        }
        _ => Message::Other,
    }
}

fn link(kind: u16, payload: &[u8]) -> Option<Message> {
    let header = LinkHeader::parse(payload).ok()?;
    // A bridge says in the same messages, with its own family, that a port came or went.
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    if kind == RTM_DELLINK {
        return Some(Message::Gone(header.index));
    }
    let mut attributes = NlasIterator::new(payload.get(LINK_HEADER..)?).map_while(Result::ok);
    let name = attributes.find(|attribute| attribute.kind() == IFLA_IFNAME)?;
    let name = name.value().split(|byte| *byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    let up = header.flags.contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp);
    Some(Message::Present(header.index, Link { name, up }))
}

#[cfg(test)]
mod tests;
