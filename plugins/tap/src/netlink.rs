//! What a TAP asks of the kernel over a routing netlink socket.
//!
//! ```text
//! message:    length u32 │ type u16 │ flags u16 │ sequence u32 │ port u32 │ body │ attributes
//! attribute:  length u16 │ type u16 │ value │ up to 3 bytes, so that the next is aligned
//! ```

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netdevice::name_to_index, netlink::SocketAddrNetlink,
    },
};

const HEADER: usize = 16;
/// `struct ifinfomsg`.
const LINK_BODY: usize = 16;
/// Room for one answer; that for a link with all its attributes is about 2 KiB.
const ANSWER: usize = 16 * 1024;

const RUNNING: u32 = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the kernel's headers")]
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the kernel's headers")]
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the kernel's headers")]
const ERROR: u16 = libc::NLMSG_ERROR as u16;

/// A kernel interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index in its namespace.
    pub(crate) index: u32,
    /// Its MAC address; zeros if it has none.
    pub(crate) mac: [u8; 6],
    /// Bytes of the largest layer-3 packet.
    pub(crate) mtu: u32,
    /// Up, with a carrier.
    pub(crate) running: bool,
}

/// A socket for questions; belongs to the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: socket(SocketFlags::empty(), 0)?, answer: vec![0; ANSWER] })
    }

    /// The index of the interface of that name.
    pub(crate) fn find(&self, name: &str) -> io::Result<u32> {
        Ok(name_to_index(&self.socket, name)?)
    }

    pub(crate) fn set_mac(&mut self, index: u32, mac: [u8; 6]) -> io::Result<()> {
        let mut request = Request::link(libc::RTM_NEWLINK, index, 0);
        request.attribute(libc::IFLA_ADDRESS, &mac);
        self.ask(request).map(drop)
    }

    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut request = Request::link(libc::RTM_NEWLINK, index, 0);
        request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        self.ask(request).map(drop)
    }

    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.ask(Request::link(libc::RTM_NEWLINK, index, libc::IFF_UP as u32)).map(drop)
    }

    pub(crate) fn add_ip4(&mut self, index: u32, address: Ipv4Addr, len: u8) -> io::Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "2")]
        let family = libc::AF_INET as u8;
        let [a, b, c, d] = index.to_ne_bytes();
        let mut request = Request::new(libc::RTM_NEWADDR, &[family, len, 0, 0, a, b, c, d]);
        request.attribute(libc::IFA_LOCAL, &address.octets());
        if len < 31 {
            let broadcast = u32::from(address) | u32::MAX >> len;
            request.attribute(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
        }
        self.ask(request).map(drop)
    }

    pub(crate) fn link(&mut self, index: u32) -> io::Result<Link> {
        let answer = self.ask(Request::link(libc::RTM_GETLINK, index, 0))?;
        let found = messages(answer).find_map(|message| message.link());
        found.ok_or_else(|| io::Error::other("no such interface in the answer"))
    }

    /// Sends a request and gives what came back; what the kernel refuses is an error.
    fn ask(&mut self, request: Request) -> io::Result<&[u8]> {
        net::send(&self.socket, &request.finish(), SendFlags::empty())?;
        let (_, len) = net::recv(&self.socket, &mut self.answer[..], RecvFlags::empty())?;
        let answer = &self.answer[..len.min(ANSWER)];
        for message in messages(answer).filter(|message| message.kind == ERROR) {
            let code = i32::from_ne_bytes(*message.body.first_chunk().unwrap_or(&[0; 4]));
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
        }
        Ok(answer)
    }
}

/// Hears of the link state of one interface.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    socket: OwnedFd,
    index: u32,
    answer: Vec<u8>,
}

impl LinkWatch {
    /// Watches interface `index` of the calling thread's namespace.
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let socket = socket(SocketFlags::NONBLOCK, libc::RTMGRP_LINK as u32)?;
        Ok(Self { socket, index, answer: vec![0; ANSWER] })
    }

    /// Whether the link is up, if that was said since the last call.
    pub(crate) fn changed(&mut self) -> Option<bool> {
        let mut up = None;
        loop {
            match net::recv(&self.socket, &mut self.answer[..], RecvFlags::empty()) {
                Ok((_, len)) => {
                    for message in messages(&self.answer[..len.min(ANSWER)]) {
                        if let Some(link) = message.link().filter(|link| link.index == self.index) {
                            up = Some(link.running && message.kind != libc::RTM_DELLINK);
                        }
                    }
                }
                // So much happened that something was lost: what is so now will be said.
                Err(Errno::NOBUFS) => {
                    let request = Request::link(libc::RTM_GETLINK, self.index, 0).finish();
                    if net::send(&self.socket, &request, SendFlags::empty()).is_err() {
                        return up;
                    }
                }
                Err(_) => return up,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socket(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// A message in the making.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        // An answer needs no acknowledgement beside it.
        let flags = if kind == libc::RTM_GETLINK { REQUEST } else { REQUEST | ACKNOWLEDGE };
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// About interface `index`: `flags` are to be set, the others stay as they are.
    fn link(kind: u16, index: u32, flags: u32) -> Self {
        let mut body = [0; LINK_BODY];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        body[12..16].copy_from_slice(&flags.to_ne_bytes());
        Self::new(kind, &body)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        #[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
        let len = (4 + value.len()) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }
}

/// One message the kernel sent.
struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

impl Message<'_> {
    /// The interface it is about, if it is about one.
    fn link(&self) -> Option<Link> {
        if self.kind != libc::RTM_NEWLINK && self.kind != libc::RTM_DELLINK {
            return None;
        }
        let (body, mut rest) = self.body.split_at_checked(LINK_BODY)?;
        let mut link = Link {
            index: u32_at(body, 4)?,
            running: u32_at(body, 8)? & RUNNING == RUNNING,
            ..Link::default()
        };
        while let Some((kind, value, behind)) = split_attribute(rest) {
            match kind {
                libc::IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
                libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
                _ => {}
            }
            rest = behind;
        }
        Some(link)
    }
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(bytes, 0)? as usize;
        let kind = u16_at(bytes, 4)?;
        let body = bytes.get(HEADER..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, body })
    })
}

fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = usize::from(u16_at(bytes, 0)?);
    let value = bytes.get(4..len)?;
    let rest = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((u16_at(bytes, 2)?, value, rest))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut request = Request::link(libc::RTM_NEWLINK, 7, RUNNING);
        request.attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]);
        request.attribute(libc::IFLA_MTU, &9_000_u32.to_ne_bytes());
        let bytes = request.finish();
        let links: Vec<_> = messages(&bytes).filter_map(|message| message.link()).collect();
        let expected = Link { index: 7, mac: [2, 0, 0, 0, 0, 9], mtu: 9_000, running: true };
        assert_eq!(links, [expected]);
    }

    #[test]
    fn a_message_cut_anywhere_is_no_message_and_no_panic() {
        let mut request = Request::link(libc::RTM_NEWLINK, 7, 0);
        request.attribute(libc::IFLA_MTU, &9_000_u32.to_ne_bytes());
        let bytes = request.finish();
        for len in 0..bytes.len() {
            assert_eq!(messages(&bytes[..len]).count(), 0, "{len} bytes");
        }
        let mut wrong = bytes.clone();
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 5, 0x7f, 0xff] {
                wrong[at] = value;
                for message in messages(&wrong).take(100) {
                    message.link();
                }
            }
            wrong[at] = bytes[at];
        }
    }
}
