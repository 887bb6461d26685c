use std::{
    env,
    process::{Command, Output},
};

use netlink_packet_core::Emitable;
use netlink_packet_route::link::LinkAttribute;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::*;

/// Set in a test that runs in a namespace of its own.
const INSIDE: &str = "GRISTMILL_TEST_NETNS";

/// Runs the rest of test `name` in a new network namespace: true where it is to run.
///
/// Outside CI it says what is missing and skips; with `CI=true` that is a failure.
fn in_namespace(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let this = env::current_exe().unwrap();
    unshare.args(["--net", "--"]);
    for (program, args, package) in
        [("unshare", ["--version"], "util-linux"), ("ip", ["-Version"], "iproute2")]
    {
        if Command::new(program).args(args).output().is_err() {
            return skip(name, &format!("no {program}: install {package}"));
        }
    }
    let mut probe = Command::new("unshare");
    probe.args(unshare.get_args()).arg("true");
    let probe = probe.output().unwrap();
    if !probe.status.success() {
        return skip(name, &format!("no network namespace: {}", text(&probe)));
    }
    let name = format!("device::netlink::tests::{name}");
    let output = unshare
        .arg(this)
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = text(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn skip(name: &str, why: &str) -> bool {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "{name}: {why}");
    let _gone =
        io::Write::write_all(&mut io::stderr(), format!("{name} skipped: {why}\n").as_bytes());
    false
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// Runs `ip` with each line of `commands`.
fn ip(commands: &str) {
    let file = env::temp_dir().join(format!("gristmill-ip-{}", std::process::id()));
    std::fs::write(&file, commands).unwrap();
    let output = Command::new("ip").arg("-batch").arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{commands}: {}", text(&output));
}

/// Reads until `done` holds for all changes read.
fn read_until(watcher: &mut LinkWatcher, done: impl Fn(&[LinkChange]) -> bool) -> Vec<LinkChange> {
    let mut changes = Vec::new();
    loop {
        watcher.read(&mut changes).unwrap();
        if done(&changes) {
            return changes;
        }
        let mut fds = [PollFd::new(watcher, PollFlags::IN)];
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        match poll(&mut fds, Some(&patience)) {
            Ok(0) => panic!("nothing more came after {changes:#?}"),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn last<'c>(changes: &'c [LinkChange], name: &str) -> Option<&'c LinkChange> {
    changes.iter().rev().find(|change| change.name == name)
}

fn is_up(changes: &[LinkChange], name: &str) -> bool {
    last(changes, name).is_some_and(|change| change.up && !change.deleted)
}

fn is_down(changes: &[LinkChange], name: &str) -> bool {
    last(changes, name).is_some_and(|change| !change.up && !change.deleted)
}

fn is_deleted(changes: &[LinkChange], name: &str) -> bool {
    last(changes, name).is_some_and(|change| change.deleted)
}

#[test]
fn a_veth_pair_is_followed_from_its_birth_to_its_end() {
    if !in_namespace("a_veth_pair_is_followed_from_its_birth_to_its_end") {
        return;
    }
    let mut watcher = LinkWatcher::open().unwrap();
    let mut links = Vec::new();
    watcher.dump(&mut links).unwrap();
    let lo = LinkChange { kernel_index: 1, name: "lo".into(), up: false, deleted: false };
    assert_eq!(last(&links, "lo"), Some(&lo));
    assert_eq!((watcher.link(1), watcher.link(99)), (Some(lo), None));

    ip("link add v0 type veth peer name v1");
    let born = read_until(&mut watcher, |all| is_down(all, "v0") && is_down(all, "v1"));
    let index = last(&born, "v0").unwrap().kernel_index;
    assert_eq!(last(&born, "lo"), None, "what did not change is not told");

    // Up without a carrier is not up.
    ip("link set v0 up");
    let mut changes = Vec::new();
    watcher.read(&mut changes).unwrap();
    assert!(!is_up(&changes, "v0"));
    ip("link set v1 up");
    read_until(&mut watcher, |all| is_up(all, "v0") && is_up(all, "v1"));
    ip("link set v1 down");
    let changes = read_until(&mut watcher, |all| is_down(all, "v0") && is_down(all, "v1"));
    assert_eq!(last(&changes, "v0").unwrap().kernel_index, index);

    ip("link set v0 name w0");
    let changes = read_until(&mut watcher, |all| is_down(all, "w0"));
    assert_eq!(last(&changes, "w0").unwrap().kernel_index, index);

    ip("link del w0");
    let changes = read_until(&mut watcher, |all| is_deleted(all, "w0") && is_deleted(all, "v1"));
    assert_eq!(changes.iter().filter(|change| change.deleted).count(), 2);
    watcher.dump(&mut links).unwrap();
    assert_eq!(links.iter().filter(|link| link.name == "w0").count(), 0);
    assert_eq!(watcher.overruns(), 0);
}

#[test]
fn a_link_that_leaves_its_bridge_is_not_gone() {
    if !in_namespace("a_link_that_leaves_its_bridge_is_not_gone") {
        return;
    }
    ip("link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up\n");
    let mut watcher = LinkWatcher::open().unwrap();
    read_until(&mut watcher, |all| is_up(all, "v0") && is_up(all, "v1"));
    let bridge = Command::new("ip").args(["link", "add", "b0", "type", "bridge"]).output().unwrap();
    if !bridge.status.success() {
        skip("a_link_that_leaves_its_bridge_is_not_gone", "the kernel has no bridge");
        return;
    }
    ip("link set v0 master b0\nlink set v0 nomaster\nlink del b0\n");
    let changes = read_until(&mut watcher, |all| is_deleted(all, "b0"));
    assert_eq!(last(&changes, "v0"), None, "{changes:?}");
}

#[test]
fn what_an_overrun_lost_is_told_all_the_same() {
    if !in_namespace("what_an_overrun_lost_is_told_all_the_same") {
        return;
    }
    ip("link add v0 type veth peer name v1\nlink add gone type veth peer name gone1\n");
    let mut watcher = LinkWatcher::open().unwrap();
    watcher.events.set_rx_buf_sz(4_096 as libc::c_int).unwrap();
    watcher.dump(&mut Vec::new()).unwrap();
    let flaps = "link set v0 up\nlink set v0 down\n".repeat(200);
    ip(&format!(
        "{flaps}link del gone\nlink add new type veth peer name new1\nlink set v0 up\nlink set v1 up\n"
    ));
    let changes = read_until(&mut watcher, |all| {
        is_up(all, "v0") && is_up(all, "v1") && is_deleted(all, "gone") && is_down(all, "new")
    });
    assert!(watcher.overruns() > 0, "{changes:?}");
    assert!(is_deleted(&changes, "gone1"));
    // It is in step again: the next change comes as one.
    ip("link set new up\nlink set new1 up\n");
    read_until(&mut watcher, |all| is_up(all, "new") && is_up(all, "new1"));
    let mut links = Vec::new();
    watcher.dump(&mut links).unwrap();
    let names: Vec<_> = links.iter().map(|link| &link.name[..]).collect();
    for name in ["lo", "v0", "v1", "new", "new1"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}

#[test]
fn a_list_longer_than_one_datagram_is_whole() {
    if !in_namespace("a_list_longer_than_one_datagram_is_whole") {
        return;
    }
    let mut watcher = LinkWatcher::open().unwrap();
    let pairs: String = (0..100)
        .map(|number| format!("link add a{number} type veth peer name b{number}\n"))
        .collect();
    ip(&pairs);
    let mut links = Vec::new();
    watcher.dump(&mut links).unwrap();
    for number in 0..100 {
        assert!(is_down(&links, &format!("a{number}")), "{number}");
        assert!(is_down(&links, &format!("b{number}")), "{number}");
    }
}

/// A link message's payload as the kernel writes it.
fn payload(family: AddressFamily, flags: LinkFlags, name: Option<&str>) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.interface_family = family;
    message.header.index = 7;
    message.header.flags = flags;
    message.attributes.push(LinkAttribute::Mtu(1_500));
    message.attributes.extend(name.map(|name| LinkAttribute::IfName(name.into())));
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

#[test]
fn a_link_is_up_only_with_all_three_flags() {
    let all = [LinkFlags::Up, LinkFlags::Running, LinkFlags::LowerUp];
    for bits in 0..8 {
        let set = (0..3).filter(|bit| bits & 1 << bit != 0);
        let flags = set.fold(LinkFlags::empty(), |flags, bit| flags | all[bit]);
        let up = Message::Present(7, Link { name: "x".into(), up: bits == 7 });
        assert_eq!(message(RTM_NEWLINK, &payload(AddressFamily::Unspec, flags, Some("x"))), up);
    }
}

#[test]
fn a_message_of_a_bridge_says_nothing_of_the_link() {
    for kind in [RTM_NEWLINK, RTM_DELLINK] {
        let bytes = payload(AddressFamily::Bridge, LinkFlags::empty(), Some("x"));
        assert_eq!(message(kind, &bytes), Message::Other);
    }
    let bytes = payload(AddressFamily::Unspec, LinkFlags::empty(), Some("x"));
    assert_eq!(message(RTM_DELLINK, &bytes), Message::Gone(7));
}

#[test]
fn a_message_cut_anywhere_does_not_panic() {
    let inner = payload(AddressFamily::Unspec, LinkFlags::all(), Some("eth0"));
    let mut datagram = vec![0; 16 + inner.len()];
    let mut header = NetlinkBuffer::new(&mut datagram);
    header.set_length(u32::try_from(16 + inner.len()).unwrap());
    header.set_message_type(RTM_NEWLINK);
    datagram[16..].copy_from_slice(&inner);
    assert_eq!(messages(&datagram).count(), 1);
    for length in 0..datagram.len() {
        assert_eq!(messages(&datagram[..length]).count(), 0, "{length}");
        message(RTM_NEWLINK, &inner[..length.min(inner.len())]);
    }
    for at in 0..datagram.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut broken = datagram.clone();
            broken[at] = value;
            messages(&broken).for_each(drop);
            is_interrupted(&broken);
        }
    }
}

#[test]
fn nothing_is_told_twice() {
    let mut links = BTreeMap::new();
    let message = || Message::Present(7, Link { name: "x".into(), up: true });
    assert!(apply(&mut links, message()).is_some());
    assert_eq!(apply(&mut links, message()), None);
    let gone = LinkChange { kernel_index: 7, name: "x".into(), up: false, deleted: true };
    assert_eq!(apply(&mut links, Message::Gone(7)), Some(gone));
    assert_eq!(apply(&mut links, Message::Gone(7)), None);
    assert!(links.is_empty());
}
