use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use millctl::protocol::{self, REPLY_MAX, REQUEST_MAX, Request};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage};

use super::super::toy::Toy;
use super::*;

const TOKEN: u64 = 100;

/// A server, its context and its directory, driven by hand.
struct Bench {
    server: Server,
    toy: Toy,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new(sessions_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut toy = Toy::new();
        let path = Some(directory.path().join("cli.sock"));
        let options = Options { path, sessions_max, token: TOKEN, ..Options::default() };
        let server = Server::open(&options, &mut toy).unwrap();
        Self { server, toy, directory }
    }

    fn connect(&mut self) -> UnixStream {
        let client = UnixStream::connect(self.server.path()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        self.settle();
        client
    }

    /// One round of a level-triggered poller; whether anything was ready.
    fn turn(&mut self) -> bool {
        let watched: Vec<_> = self.toy.watched.iter().map(|(&fd, &at)| (fd, at)).collect();
        let mut polled: Vec<_> = watched
            .iter()
            .map(|&(fd, (_, interest))| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, interest.read);
                flags.set(PollFlags::OUT, interest.write);
                let borrowed = self.server.fd(fd);
                PollFd::from_borrowed_fd(borrowed, flags)
            })
            .collect();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now)).unwrap();
        let ready: Vec<u64> = polled
            .iter()
            .zip(&watched)
            .filter(|(poll, _)| !poll.revents().is_empty())
            .map(|(_, &(_, (token, _)))| token)
            .collect();
        ready.iter().for_each(|&token| self.server.ready(token, &mut self.toy));
        !ready.is_empty()
    }

    /// Runs the poller until nothing is ready any more.
    fn settle(&mut self) {
        let mut rounds = 0;
        while self.turn() {
            rounds += 1;
            assert!(rounds < 10_000, "a descriptor stays ready: the host would spin");
        }
    }

    /// Sends a request and returns the reply.
    fn ask(&mut self, client: &mut UnixStream, argv: &[&str]) -> Reply {
        client.write_all(&request(argv)).unwrap();
        self.settle();
        reply(client).unwrap()
    }
}

impl Server {
    /// One of the server's own descriptors.
    fn fd(&self, raw: i32) -> BorrowedFd<'_> {
        use std::os::fd::AsRawFd;
        let sessions = self.sessions.iter().flatten().map(|watched| watched.session.as_fd());
        let mut all = std::iter::once(self.listener.as_fd()).chain(sessions);
        all.find(|fd| fd.as_raw_fd() == raw).expect("only the server's descriptors are watched")
    }
}

fn request(argv: &[&str]) -> Vec<u8> {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    protocol::encode(&Request { argv, ..Request::default() }, REQUEST_MAX).unwrap()
}

fn reply(client: &mut UnixStream) -> io::Result<Reply> {
    let mut header = [0; 4];
    client.read_exact(&mut header)?;
    let mut body = vec![0; protocol::announced(header, REPLY_MAX).unwrap()];
    client.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

/// Sends bytes with descriptors beside them.
fn send_with(client: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(files)));
    let part = [IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(client, &part, &mut ancillary, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

/// How many of this process's descriptors are of that file.
fn descriptors(path: &Path) -> usize {
    let path = path.canonicalize().unwrap();
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|open| open == path)).count()
}

#[test]
fn commands_are_answered_one_after_the_other_until_quit() {
    let mut bench = Bench::new(2);
    let mut client = bench.connect();
    assert!(bench.ask(&mut client, &["set", "int", "state", "tap0", "up"]).ok);
    let shown = bench.ask(&mut client, &["sh", "int"]);
    assert_eq!(shown.printed(), "Name  Up\ntap0  yes\ntap1  no\n");
    let failed = bench.ask(&mut client, &["nonsense"]);
    assert_eq!((failed.ok, failed.error.as_deref()), (false, Some("unknown input `nonsense'")));
    assert!(bench.ask(&mut client, &["quit"]).end);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!((bench.server.session_count(), bench.toy.watched.len()), (0, 1));
}

#[test]
fn a_program_gets_json() {
    let mut bench = Bench::new(2);
    let mut client = bench.connect();
    let argv = vec!["sh".into(), "int".into()];
    let request = Request { argv, json: true, ..Request::default() };
    client.write_all(&protocol::encode(&request, REQUEST_MAX).unwrap()).unwrap();
    bench.settle();
    let shown = reply(&mut client).unwrap().printed();
    assert!(shown.starts_with(r#"{"tables":[{"title":null,"columns":[{"name":"Name""#), "{shown}");
}

#[test]
fn a_request_may_come_byte_by_byte_and_several_at_once() {
    let mut bench = Bench::new(2);
    let mut client = bench.connect();
    for byte in request(&["show", "interface"]) {
        client.write_all(&[byte]).unwrap();
        bench.settle();
    }
    assert!(reply(&mut client).unwrap().ok);
    let both = [request(&["set", "int", "state", "tap1", "up"]), request(&["fail", "x"])].concat();
    client.write_all(&both).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    bench.settle();
    assert!(reply(&mut client).unwrap().ok);
    assert_eq!(reply(&mut client).unwrap().error.as_deref(), Some("fail: cannot: x"));
    assert_eq!(bench.server.session_count(), 0);
}

#[test]
fn a_client_that_does_not_read_holds_no_one_up_and_is_not_read_from() {
    let mut bench = Bench::new(2);
    let mut slow = bench.connect();
    for _ in 0..3 {
        slow.write_all(&request(&["flood", "2000"])).unwrap();
    }
    bench.settle();
    let waits = |bench: &Bench| bench.toy.watched.values().any(|at| at.1 == Interest::WRITE);
    assert!(waits(&bench));
    let mut other = bench.connect();
    assert!(bench.ask(&mut other, &["sh", "int"]).ok);

    slow.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 65536];
        match slow.read(&mut part) {
            Ok(0) => panic!("the session ended"),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !bench.turn() {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(bytes.len() > 3 * 2000 * 1000, "{} bytes", bytes.len());
    assert!(!waits(&bench));
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let mut bench = Bench::new(4);
    for bytes in [&b""[..], b"\x05", b"\x05\0\0\0{", &request(&["flood", "2000"])] {
        let mut client = bench.connect();
        client.write_all(bytes).unwrap();
        bench.settle();
        assert_eq!(bench.server.session_count(), 1);
        drop(client);
        bench.settle();
        assert_eq!((bench.server.session_count(), bench.toy.watched.len()), (0, 1));
    }
}

#[test]
fn what_is_no_request_ends_the_session_with_a_reason() {
    for bytes in [
        &b"\0\0\0\0"[..],
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x02\0\0\0[]",
        b"\x02\0\0\0{}",
        b"\x0d\0\0\0{\"argv\":\"x\"}!",
        b"\x19\0\0\0{\"argv\":[\"q\"],\"files\":[0]}",
    ] {
        let mut bench = Bench::new(1);
        let mut client = bench.connect();
        client.write_all(bytes).unwrap();
        bench.settle();
        let refused = reply(&mut client).unwrap();
        assert!(!refused.ok && refused.end && refused.error.is_some(), "{bytes:?}");
        assert_eq!(bench.server.session_count(), 0, "{bytes:?}");
    }
}

#[test]
fn deep_json_and_many_words_are_refused_or_answered_but_never_fatal() {
    let mut bench = Bench::new(1);
    let deep = format!("{{\"argv\":{}", "[".repeat(REQUEST_MAX - 8));
    let mut client = bench.connect();
    let mut bytes = u32::try_from(deep.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(deep.as_bytes());
    client.write_all(&bytes).unwrap();
    bench.settle();
    assert!(!reply(&mut client).unwrap().ok);
    let mut client = bench.connect();
    assert!(!bench.ask(&mut client, &vec!["x"; 15_000]).ok);
    assert!(bench.ask(&mut client, &["comment", &"x".repeat(60_000)]).ok);
}

#[test]
fn one_session_too_many_is_told_so_and_the_others_go_on() {
    let mut bench = Bench::new(2);
    let mut first = bench.connect();
    let second = bench.connect();
    let mut third = bench.connect();
    let refused = reply(&mut third).unwrap();
    assert_eq!(refused.error.as_deref(), Some("2 sessions are open, try again later"));
    assert!(bench.ask(&mut first, &["sh", "int"]).ok);
    drop(second);
    bench.settle();
    let mut fourth = bench.connect();
    assert!(bench.ask(&mut fourth, &["sh", "int"]).ok);
}

#[test]
fn a_descriptor_belongs_to_its_word_and_is_closed_after_the_command() {
    let mut bench = Bench::new(1);
    let path = bench.directory.path().join("file");
    std::fs::write(&path, "first\nsecond\n").unwrap();
    let file = File::open(&path).unwrap();
    let mut client = bench.connect();
    let ask = |files| {
        let argv = vec!["show".into(), "file".into(), "elsewhere".into()];
        protocol::encode(&Request { argv, files, json: false }, REQUEST_MAX).unwrap()
    };
    send_with(&client, &ask(vec![2]), &[file.as_fd()]);
    bench.settle();
    assert_eq!(reply(&mut client).unwrap().printed(), "first\n");

    // The descriptor of another word is not this one's.
    send_with(&client, &ask(vec![0]), &[file.as_fd()]);
    bench.settle();
    assert!(!reply(&mut client).unwrap().ok);
    // A place where there is no word is nobody's.
    send_with(&client, &ask(vec![usize::MAX]), &[file.as_fd()]);
    bench.settle();
    assert!(!reply(&mut client).unwrap().ok);
    assert_eq!(bench.server.session_count(), 1);
    assert_eq!(descriptors(&path), 1);
}

#[test]
fn descriptors_that_no_request_has_room_for_end_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let file = File::create(&path).unwrap();
    for count in [5, 64] {
        let mut bench = Bench::new(1);
        let mut client = bench.connect();
        send_with(&client, &request(&["quit"]), &vec![file.as_fd(); count]);
        bench.settle();
        let refused = reply(&mut client).unwrap().error.unwrap();
        assert_eq!(refused, "more than 4 descriptors beside a request");
    }
    // Nor can they be gathered in small portions.
    let mut bench = Bench::new(1);
    let client = bench.connect();
    for byte in &request(&["quit"])[..6] {
        send_with(&client, &[*byte], &[file.as_fd()]);
        bench.settle();
        if bench.server.session_count() == 0 {
            break;
        }
    }
    assert_eq!(bench.server.session_count(), 0);
    drop((bench, client));
    assert_eq!(descriptors(&path), 1);
}

#[test]
fn tokens_that_are_nobody_s_are_ignored() {
    let mut bench = Bench::new(2);
    let mut client = bench.connect();
    for token in [0, TOKEN, TOKEN + 1, TOKEN + 2, TOKEN + 3, u64::MAX] {
        bench.server.ready(token, &mut bench.toy);
    }
    assert_eq!(bench.server.tokens(), TOKEN..=TOKEN + 2);
    assert!(bench.ask(&mut client, &["sh", "int"]).ok);
    let Bench { server, mut toy, directory } = bench;
    server.close(&mut toy);
    assert!(toy.watched.is_empty());
    assert!(!directory.path().join("cli.sock").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever bytes come, in whatever portions, the next client is served.
    #[test]
    fn no_bytes_bring_the_server_down(
        portions in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                Just(request(&["sh", "int"])),
                (0_u32..64, "\\PC{0,64}").prop_map(|(length, text)| {
                    [&length.to_le_bytes()[..], text.as_bytes()].concat()
                }),
            ],
            0..6,
        ),
    ) {
        let mut bench = Bench::new(1);
        let mut hostile = bench.connect();
        for portion in portions {
            // The server may have closed the connection by now.
            let _ = hostile.write_all(&portion);
            bench.settle();
        }
        drop(hostile);
        bench.settle();
        let mut client = bench.connect();
        prop_assert!(bench.ask(&mut client, &["sh", "int"]).ok);
    }
}
