use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::*;
use crate::{
    Config, Error, Frame, InterfaceIndex, NextNodes as _, Node, Plugin, ThreadIndex, next_nodes,
    testing::NodeBench,
};

trace_record! {
    #[derive(Clone, Debug, PartialEq)]
    struct All {
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: i64,
        f: bool,
        g: [u8; 6],
        h: Ipv4Addr,
        i: Ipv6Addr,
        j: InterfaceIndex,
        k: Option<InterfaceIndex>,
        l: Option<InterfaceIndex>,
    }
}

impl Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn all() -> All {
    All {
        a: 1,
        b: 0x0203,
        c: u32::MAX,
        d: 1 << 63,
        e: -5,
        f: true,
        g: [1, 2, 3, 4, 5, 6],
        h: Ipv4Addr::LOCALHOST,
        i: Ipv6Addr::LOCALHOST,
        j: InterfaceIndex(7),
        k: None,
        l: Some(InterfaceIndex(9)),
    }
}

#[test]
fn a_record_is_read_as_it_was_written_and_not_from_fewer_or_more_bytes() {
    let mut room = [0xee; TRACE_RECORD + 1];
    all().encode(&mut room[..All::SIZE]);
    assert_eq!(All::SIZE, 62);
    assert!(room[All::SIZE..].iter().all(|&byte| byte == 0xee));
    assert_eq!(All::decode(&room[..All::SIZE]), Some(all()));
    for size in (0..=room.len()).filter(|&size| size != All::SIZE) {
        assert_eq!(All::decode(&room[..size]), None, "{size} bytes");
    }
}

struct Acme;

impl Plugin for Acme {
    const NAME: &'static str = "acme";
    fn create(_: Host, _: &Config<'_>) -> Result<Self, Error> {
        Ok(Self)
    }
}

next_nodes! { enum Next { Onward => Feature, Short => Drop("acme-short") } }

trace_record! {
    #[derive(Debug)]
    struct First { byte: u8, len: u16 }
}

impl Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(self.byte != 13, "an unlucky byte");
        write!(f, "begins with {}, {} bytes", self.byte, self.len)
    }
}

fn first(packet: &Packet<'_>) -> Option<First> {
    let byte = *packet.data().first()?;
    Some(First { byte, len: u16::try_from(packet.len()).unwrap() })
}

/// Leaves records in the three ways that there are, as its number says.
struct Traced<const WAY: u8> {
    records: usize,
}

impl<const WAY: u8> Node for Traced<WAY> {
    const NAME: &'static str = "acme-traced";
    const TRACE: TraceFormat = TraceFormat::of::<First>();
    type Plugin = Acme;
    type Next = Next;
    fn new(_: &Arc<Acme>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self { records: 0 })
    }
    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let records = &mut self.records;
        let mut record = |packet: &Packet<'_>| {
            *records += 1;
            first(packet)
        };
        match WAY {
            0 => {
                frame.trace_each(record);
                frame.enqueue_each(
                    |packet| if packet.len() < 2 { Next::Short } else { Next::Onward },
                );
            }
            1 => {
                let tracer = frame.tracer();
                frame.enqueue_each(|packet| {
                    tracer.record(packet, || record(packet).unwrap());
                    Next::Onward
                });
            }
            _ => {
                for at in 0..frame.len() {
                    frame.trace(at, |packet| record(packet).unwrap());
                    frame.set_next(at, Next::Onward);
                }
                let taken = frame.take(0);
                frame.trace(0, |packet| record(packet).unwrap());
                frame.emit(Next::Onward, taken);
            }
        }
    }
}

#[test]
fn a_node_on_the_bench_leaves_records_of_traced_packets_and_is_not_asked_for_others() {
    let mut bench = NodeBench::<Traced<0>>::new(Acme);
    let out = bench.run([vec![7], vec![8, 0]]);
    assert_eq!(out.traces, [None, None]);
    bench.trace(true);
    let out = bench.run([vec![7], vec![8, 0], vec![]]);
    let lines = [Some("begins with 7, 1 bytes"), Some("begins with 8, 2 bytes"), None];
    assert_eq!(out.traces, lines.map(|line| line.map(str::to_owned)));
    let nexts = [Next::Short, Next::Onward, Next::Short].map(|next| Some(next.index()));
    assert_eq!(out.nexts, nexts);
}

#[test]
fn records_may_be_left_packet_by_packet_and_by_position() {
    let lines = ["begins with 7, 1 bytes", "begins with 8, 2 bytes"].map(|line| Some(line.into()));
    let mut each = NodeBench::<Traced<1>>::new(Acme);
    assert_eq!(each.run([vec![7]]).traces, [None]);
    each.trace(true);
    assert_eq!(each.run([vec![7], vec![8, 0]]).traces, lines);
    let mut by_position = NodeBench::<Traced<2>>::new(Acme);
    by_position.trace(true);
    assert_eq!(by_position.run([vec![7], vec![8, 0]]).traces, lines);
}

#[test]
#[should_panic(expected = "cannot be shown: Status(2)")]
fn the_bench_says_that_a_record_cannot_be_shown() {
    let mut bench = NodeBench::<Traced<0>>::new(Acme);
    bench.trace(true);
    bench.run([vec![13]]);
}

#[test]
fn a_format_says_that_it_panicked_or_could_not_read_the_record() {
    unsafe extern "C" fn nowhere(_: *mut c_void, _: gristmill_abi::Str<'_>) {}
    let head = gristmill_abi::Head::of::<TraceText>();
    let text = TraceText { head, context: null_mut(), write: nowhere };
    let format = TraceFormat::of::<First>().0.unwrap();
    let status = |record: &[u8]| {
        let len = u32::try_from(record.len()).unwrap();
        // SAFETY: record and sink are good for the call.
        unsafe { format(record.as_ptr(), len, &raw const text) }
    };
    assert_eq!(status(&[1, 0, 0]), Status::OK);
    assert_eq!(status(&[1, 0]), Status::FAILED);
    assert_eq!(status(&[13, 0, 0]), Status::PANICKED);
    assert!(TraceFormat::HEX.0.is_none());
    assert_eq!(text_of(TraceFormat::HEX, &[0, 0xab]), "00ab");
}

/// A node without nexts compiles with the default format.
struct Silent;

impl Node for Silent {
    const NAME: &'static str = "acme-silent";
    type Plugin = Acme;
    type Next = Infallible;
    fn new(_: &Arc<Acme>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self)
    }
    fn dispatch(&mut self, frame: &mut Frame<'_, Infallible>) {
        assert!(!frame.is_traced());
    }
}

#[test]
fn a_frame_is_not_traced_unless_the_host_says_so() {
    assert!(NodeBench::<Silent>::new(Acme).run([vec![0]]).traces == [None]);
}
