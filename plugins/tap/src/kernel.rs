//! The kernel's side of a TAP: made with one ioctl, set up through netlink.

#![expect(unsafe_code, reason = "the ioctl that makes a TAP")]

use std::{
    ffi::c_short,
    fs::{File, OpenOptions},
    io,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
};

use rustix::ioctl::{self, Opcode, Updater};

use crate::{
    namespace::Namespace,
    netlink::{Link, LinkWatch, Netlink},
};

/// The device that TAPs come from.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// Longest name of a kernel interface.
const NAME_MAX: usize = 15;

/// What is wanted of the kernel's side.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelSpec {
    /// Name.
    pub(crate) name: String,
    /// Carries IP packets without an Ethernet header.
    pub(crate) tun: bool,
    /// Network namespace; `None`: the host's own.
    pub(crate) namespace: Option<String>,
    /// MAC address; `None`: as the kernel chooses.
    pub(crate) mac: Option<[u8; 6]>,
    /// Address and length of its prefix.
    pub(crate) ip4: Option<(Ipv4Addr, u8)>,
    /// MTU; `None`: as the kernel chooses.
    pub(crate) mtu: Option<u32>,
    /// Queues, at least 1.
    pub(crate) queues: usize,
}

/// A TAP as the kernel made it.
#[derive(Debug)]
pub(crate) struct KernelTap {
    /// A file for each queue, not blocking.
    pub(crate) queues: Vec<File>,
    /// Index, MAC and MTU.
    pub(crate) link: Link,
    /// Tells of its link state, if it is in another namespace than the host.
    pub(crate) watch: Option<LinkWatch>,
}

/// Why a TAP could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("{0:?} is no name for an interface: 1 to 15 bytes, no blank, no '/', ':' or '%'")]
    Name(String),
    #[error("cannot enter network namespace {name}")]
    Namespace { name: String, source: io::Error },
    #[error("cannot open {CLONE_DEVICE}")]
    Open { source: io::Error },
    #[error("cannot make kernel interface {name}: {}", hint(source))]
    Make { name: String, source: io::Error },
    #[error("cannot set {what} of kernel interface {name}")]
    SetUp { what: &'static str, name: String, source: io::Error },
}

/// What the errors of the ioctl mean, which the system's words do not tell.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "the name is in use",
        Some(libc::EINVAL) => "the name is taken by an interface of another kind",
        Some(libc::EPERM) => "it takes CAP_NET_ADMIN",
        _ => "the kernel refuses",
    }
}

/// Makes a TAP and takes it up; it is gone when the last of its queues is closed.
pub(crate) fn create(spec: &KernelSpec) -> Result<KernelTap, CreateError> {
    let name = &spec.name;
    let bad = |byte: u8| !byte.is_ascii_graphic() || b"/:%".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || name.bytes().any(bad) {
        return Err(CreateError::Name(name.clone()));
    }
    let Some(namespace) = &spec.namespace else { return create_here(spec, false) };
    let failed = |source| CreateError::Namespace { name: namespace.clone(), source };
    let place = Namespace::open(namespace).map_err(failed)?;
    if place.is_own() {
        return create_here(spec, false);
    }
    place.run(|| create_here(spec, true)).map_err(failed)?
}

/// Makes it in the namespace of the calling thread.
fn create_here(spec: &KernelSpec, watched: bool) -> Result<KernelTap, CreateError> {
    let mut queues = Vec::with_capacity(spec.queues);
    for _ in 0..spec.queues {
        queues.push(open_queue(spec)?);
    }
    let name = &spec.name;
    let failed =
        |what| move |source: io::Error| CreateError::SetUp { what, name: name.clone(), source };
    let mut netlink = Netlink::open().map_err(failed("anything"))?;
    let index = netlink.find(name).map_err(failed("the index"))?;
    // Watching begins before the first change, so that none is missed.
    let watch = watched.then(|| LinkWatch::open(index)).transpose().map_err(failed("a watch"))?;
    if let Some(mac) = spec.mac {
        netlink.set_mac(index, mac).map_err(failed("the MAC address"))?;
    }
    if let Some(mtu) = spec.mtu {
        netlink.set_mtu(index, mtu).map_err(failed("the MTU"))?;
    }
    if let Some((address, len)) = spec.ip4 {
        netlink.add_ip4(index, address, len).map_err(failed("the address"))?;
    }
    netlink.set_up(index).map_err(failed("the state"))?;
    let link = netlink.link(index).map_err(failed("anything"))?;
    Ok(KernelTap { queues, link, watch })
}

/// `struct ifreq` as `TUNSETIFF` uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_MAX + 1],
    flags: c_short,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

#[expect(clippy::cast_possible_truncation, reason = "flags of 16 bits and a code of 32")]
fn open_queue(spec: &KernelSpec) -> Result<File, CreateError> {
    const MAKE: Opcode = libc::TUNSETIFF as Opcode;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(CLONE_DEVICE)
        .map_err(|source| CreateError::Open { source })?;
    let mut flags = libc::IFF_NO_PI | if spec.tun { libc::IFF_TUN } else { libc::IFF_TAP };
    if spec.queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut name = [0; NAME_MAX + 1];
    name[..spec.name.len()].copy_from_slice(spec.name.as_bytes());
    let mut request = InterfaceRequest { name, flags: flags as c_short, rest: [0; 22] };
    // SAFETY: the request of that number reads and writes an `ifreq`, which this is.
    let request = unsafe { Updater::<MAKE, InterfaceRequest>::new(&mut request) };
    // SAFETY: as above; the file is that of the device the request is for.
    unsafe { ioctl::ioctl(&file, request) }
        .map_err(|error| CreateError::Make { name: spec.name.clone(), source: error.into() })?;
    Ok(file)
}
