//! Sockets in a namespace: a socket belongs to the namespace of the thread that makes it, and
//! stays there whichever thread uses it.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use rustix::{
    net::sockopt::set_socket_recv_buffer_size_force,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::netns::Netns;

/// How long a socket waits.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that a receiver of datagrams keeps until they are read.
const RECEIVE_BYTES: usize = 8 << 20;

impl Netns {
    /// Does something on a thread of its own inside the namespace.
    ///
    /// # Panics
    /// If it panics, or there is no way in.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name());
        let namespace = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let work = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|error| panic!("{path}: {error}"));
            work()
        };
        thread::scope(|scope| match scope.spawn(work).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A socket for datagrams at an address of the namespace, with room for many.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.inside(|| UdpSocket::bind((address, 0)));
        let socket = socket.unwrap_or_else(|error| panic!("{address}: {error}"));
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES).expect("we are root");
        socket
    }

    /// Sends bytes by TCP to an address in another namespace; gives what arrives there.
    ///
    /// # Panics
    /// If there is no connection, or it stands still.
    pub fn transfer(&self, other: &Self, others: &str, bytes: &[u8]) -> Vec<u8> {
        let listener = other.inside(|| TcpListener::bind((others, 0))).expect("a free port");
        let to: SocketAddr = listener.local_addr().expect("it listens");
        thread::scope(|scope| {
            let arrived = scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("someone comes");
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is allowed");
                let mut arrived = Vec::with_capacity(bytes.len());
                stream.read_to_end(&mut arrived).expect("the transfer goes on");
                arrived
            });
            let sent = self.inside(|| -> std::io::Result<()> {
                let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.write_all(bytes)
            });
            sent.unwrap_or_else(|error| {
                // Someone must come, or the listener waits for ever.
                let _ = other.inside(|| TcpStream::connect(to));
                panic!("{to}: {error}")
            });
            arrived.join().expect("the receiver says why")
        })
    }
}
