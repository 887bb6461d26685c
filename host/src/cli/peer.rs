//! Who is at the other end of a control connection, and who may be.

#![expect(
    unsafe_code,
    reason = "getsockopt: rustix has no SO_PEERGROUPS and no peer without a pid"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// More groups than the kernel lets a process have.
const GROUPS_MAX: usize = 1 << 16;

/// The process that connected, as it was when it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its process; 0 if it lives in a namespace that this host does not see.
    pub pid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

impl Peer {
    /// Asks the kernel about a connected unix socket.
    ///
    /// # Errors
    /// What the kernel answers; it may be that `socket` is no unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let credentials = credentials(socket.as_fd())?;
        let groups = match groups(socket.as_fd()) {
            // Linux before 4.13 does not tell: then only the effective group counts.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Vec::new(),
            groups => groups?,
        };
        let pid = u32::try_from(credentials.pid).unwrap_or(0);
        Ok(Self { uid: credentials.uid, gid: credentials.gid, pid, groups })
    }
}

/// Who may give commands, besides user 0 and the host's own user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// The group whose members may.
    pub group: Option<u32>,
}

impl Access {
    /// Whether `peer` may give commands to a host that runs as `own`.
    pub fn admits(self, peer: &Peer, own: u32) -> bool {
        let member = |group| peer.gid == group || peer.groups.contains(&group);
        peer.uid == 0 || peer.uid == own || self.group.is_some_and(member)
    }
}

/// The number of a group that is given by number or by its name in `/etc/group`.
///
/// # Errors
/// The file cannot be read; `NotFound` if there is no such group.
pub fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let file = std::fs::read_to_string("/etc/group")?;
    group_in(&file, group).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no group {group:?} in /etc/group"))
    })
}

/// Looks a group up in lines of `name:password:id:members`.
fn group_in(file: &str, group: &str) -> Option<u32> {
    let mut fields = file.lines().map(|line| line.split(':'));
    fields.find_map(|mut fields| (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?)
}

/// The peer's process, user and group.
fn credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut credentials = [libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX }];
    if option(socket, libc::SO_PEERCRED, &mut credentials)? != 1 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(credentials[0])
}

/// The peer's supplementary groups.
fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        match option(socket, libc::SO_PEERGROUPS, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err(error)
                if error.raw_os_error() == Some(libc::ERANGE) && groups.len() < GROUPS_MAX =>
            {
                groups.resize(groups.len() * 4, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What the kernel may fill with any bytes.
trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for libc::ucred {}

/// Reads a socket option into `values` and says how many of them the kernel filled.
fn option<T: Plain>(socket: BorrowedFd<'_>, name: i32, values: &mut [T]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(size_of_val(values)).map_err(io::Error::other)?;
    // SAFETY: `values` is `length` bytes that may be written, of a type for which any bytes do.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let filled = usize::try_from(length).map_err(io::Error::other)?;
    Ok((filled / size_of::<T>()).min(values.len()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_is_who_connected() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(peer.pid, std::process::id());
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        let mut found = peer.groups;
        found.sort_unstable();
        assert_eq!(found, groups);
        assert!(Peer::of(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn the_superuser_the_host_s_user_and_the_group_may_and_no_one_else() {
        let peer = |uid, gid, groups: &[u32]| Peer { uid, gid, pid: 1, groups: groups.to_vec() };
        let closed = Access::default();
        assert!(closed.admits(&peer(0, 5, &[]), 1000));
        assert!(closed.admits(&peer(1000, 5, &[]), 1000));
        assert!(!closed.admits(&peer(1001, 0, &[0]), 1000));
        let group = Access { group: Some(7) };
        assert!(group.admits(&peer(1001, 7, &[]), 1000));
        assert!(group.admits(&peer(1001, 5, &[3, 7]), 1000));
        assert!(!group.admits(&peer(1001, 5, &[3]), 1000));
    }

    #[test]
    fn a_group_is_found_by_number_and_by_name() {
        assert_eq!(group_id("1234").unwrap(), 1234);
        let file = "root:x:0:\nbroken\nmill:x:77:a,b\nmillers:x:no:\n";
        assert_eq!(group_in(file, "mill"), Some(77));
        assert_eq!(group_in(file, "broken"), None);
        assert_eq!(group_in(file, "millers"), None);
        assert!(group_id("no such group").is_err());
    }
}
