//! AF_PACKET sockets and the little that is asked of kernel interfaces.

#![expect(unsafe_code, reason = "options and calls of AF_PACKET that no crate wraps")]

use std::{
    ffi::{c_int, c_uint, c_ulong, c_void},
    io,
    mem::zeroed,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use libc::{iovec, mmsghdr};
use plugin_api::TxFrame;

/// Packets of one system call at most.
const MESSAGES: usize = 256;
/// Buffers of one system call at most; more than those of the longest packet.
const PARTS: usize = 2 * MESSAGES;
/// Bytes that may wait in a socket to be sent.
const SEND_BUFFER: c_int = 4 << 20;

/// A kernel interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelInterface {
    /// Its index.
    pub(crate) index: u32,
    /// Its MAC address.
    pub(crate) mac: [u8; 6],
    /// Bytes of the largest layer-3 packet.
    pub(crate) mtu: u32,
    /// `ARPHRD_*`.
    pub(crate) hardware: u16,
}

/// What the kernel counted since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelCounters {
    /// Packets, with those dropped.
    pub(crate) packets: u32,
    /// Packets dropped because the ring was full.
    pub(crate) drops: u32,
}

/// An AF_PACKET socket, not blocking.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

#[cfg(test)]
impl std::os::fd::AsFd for PacketSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
impl PacketSocket {
    /// Sets options of a test's own socket.
    pub(crate) fn of_test(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl PacketSocket {
    /// Opens one that receives nothing until it is bound to a protocol.
    pub(crate) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the call takes numbers only.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the descriptor was just opened and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Opens one to send on interface `index`.
    pub(crate) fn open_to_send(index: u32) -> io::Result<Self> {
        let socket = Self::open()?;
        socket.bind(index, 0)?;
        // Without the right to it the usual size has to do.
        let _ = socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER);
        Ok(socket)
    }

    /// Receives packets of `protocol` (`ETH_P_*`; 0: none) of interface `index`, and sends there.
    pub(crate) fn bind(&self, index: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: all zeros is a `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = signed(index)?;
        // SAFETY: the address is as long as is said.
        check(unsafe {
            libc::bind(self.as_raw_fd(), (&raw const address).cast(), length::<libc::sockaddr_ll>())
        })?;
        Ok(())
    }

    /// Sets an option whose value is a `T`.
    pub(crate) fn set<T: Copy>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let value = ptr::from_ref(value).cast();
        // SAFETY: the value is as long as is said, and the kernel only reads it.
        check(unsafe { libc::setsockopt(self.as_raw_fd(), level, option, value, length::<T>()) })?;
        Ok(())
    }

    /// Receives packets that go to others, too; until the socket is closed.
    pub(crate) fn set_promiscuous(&self, index: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: signed(index)?,
            mr_type: u16::try_from(libc::PACKET_MR_PROMISC).unwrap_or_default(),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Makes the kernel discard what is received, or no more.
    pub(crate) fn set_muted(&self, muted: bool) -> io::Result<()> {
        if !muted {
            return match self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                result => result,
            };
        }
        // One instruction: accept 0 bytes of any packet.
        #[expect(clippy::cast_possible_truncation, reason = "an instruction of 16 bits")]
        let code = (libc::BPF_RET | libc::BPF_K) as u16;
        let mut program = [libc::sock_filter { code, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Shares the packets of one interface among sockets, by flow: the first one, with no `group`,
    /// founds the group whose number is returned.
    pub(crate) fn share(&self, group: Option<u16>) -> io::Result<u16> {
        let by_flow = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        let flags = match group {
            None => by_flow | libc::PACKET_FANOUT_FLAG_UNIQUEID,
            Some(_) => by_flow,
        };
        let value = flags << 16 | c_uint::from(group.unwrap_or(0));
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &value)?;
        let value: c_uint = self.get(libc::SOL_PACKET, libc::PACKET_FANOUT, 0)?;
        Ok(u16::try_from(value & 0xffff).unwrap_or_default())
    }

    /// What the kernel counted since the last call.
    pub(crate) fn counters(&self) -> io::Result<KernelCounters> {
        let empty = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let counted = self.get(libc::SOL_PACKET, libc::PACKET_STATISTICS, empty)?;
        Ok(KernelCounters { packets: counted.tp_packets, drops: counted.tp_drops })
    }

    /// The error that is kept for the socket, which is cleared.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match self.get(libc::SOL_SOCKET, libc::SO_ERROR, 0) {
            Ok(0) => None,
            Ok(code) => Some(io::Error::from_raw_os_error(code)),
            Err(error) => Some(error),
        }
    }

    /// Reads an option whose value is a `T`; of a shorter value the rest is `value`'s.
    fn get<T: Copy>(&self, level: c_int, option: c_int, mut value: T) -> io::Result<T> {
        let mut len = length::<T>();
        let place = (&raw mut value).cast::<c_void>();
        // SAFETY: the place is as long as is said; every option read here is made of integers.
        check(unsafe { libc::getsockopt(self.as_raw_fd(), level, option, place, &raw mut len) })?;
        Ok(value)
    }

    /// The kernel interface of that name in the socket's namespace.
    pub(crate) fn find(&self, name: &str) -> io::Result<KernelInterface> {
        let mut request = request();
        let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
        for (to, &from) in places.zip(name.as_bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        self.control(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: the kernel wrote an index.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        self.control(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: the kernel wrote an MTU.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        self.control(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: the kernel wrote an address.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            let [byte] = from.to_ne_bytes();
            *to = byte;
        }
        Ok(KernelInterface {
            index: u32::try_from(index).unwrap_or_default(),
            mac,
            mtu: u32::try_from(mtu).unwrap_or_default(),
            hardware: address.sa_family,
        })
    }

    /// Whether there is a kernel interface of that index.
    pub(crate) fn exists(&self, index: u32) -> bool {
        let mut request = request();
        request.ifr_ifru.ifru_ifindex = signed(index).unwrap_or_default();
        self.control(libc::SIOCGIFNAME, &mut request).is_ok()
    }

    fn control(&self, code: c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the requests used here read and write an `ifreq`.
        check(unsafe { libc::ioctl(self.as_raw_fd(), code, ptr::from_mut(request)) })?;
        Ok(())
    }
}

fn request() -> libc::ifreq {
    // SAFETY: all zeros is an `ifreq`.
    unsafe { zeroed() }
}

/// Room for the arguments of a system call that sends many packets.
#[derive(Debug)]
pub(crate) struct Batch {
    parts: Box<[iovec; PARTS]>,
    messages: Box<[mmsghdr; MESSAGES]>,
}

// SAFETY: its pointers are written and used within `send`, and mean nothing between two calls.
unsafe impl Send for Batch {}

impl Batch {
    pub(crate) fn new() -> Self {
        let part = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: all zeros is a `mmsghdr`.
        let message: mmsghdr = unsafe { zeroed() };
        Self { parts: Box::new([part; PARTS]), messages: Box::new([message; MESSAGES]) }
    }

    /// Sends the packets of `frame` from number `from` on; how many were sent, at least one.
    ///
    /// # Errors
    /// Why packet number `from` was not sent.
    pub(crate) fn send(
        &mut self,
        socket: &PacketSocket,
        frame: &TxFrame<'_>,
        from: usize,
    ) -> io::Result<usize> {
        let (mut messages, mut parts) = (0, 0);
        'packets: for at in (from..frame.len()).take(MESSAGES) {
            let first = parts;
            for segment in frame.segments(at) {
                let Some(part) = self.parts.get_mut(parts) else {
                    break 'packets;
                };
                part.iov_base = segment.as_ptr().cast_mut().cast();
                part.iov_len = segment.len();
                parts += 1;
            }
            let header = &mut self.messages[messages].msg_hdr;
            header.msg_iov = &raw mut self.parts[first];
            header.msg_iovlen = parts - first;
            messages += 1;
        }
        if messages == 0 {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let count = c_uint::try_from(messages).unwrap_or_default();
        // SAFETY: so many messages were filled in; they point to parts, and those to packets, that
        // are borrowed for the call.
        let sent = check(unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
            )
        })?;
        Ok(usize::try_from(sent).unwrap_or_default().max(1))
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[expect(clippy::cast_possible_truncation, reason = "structures of a few bytes")]
const fn length<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn signed(index: u32) -> io::Result<c_int> {
    c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}
