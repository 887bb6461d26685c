use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

/// RFC 1071 as it is written: 16-bit words, carry brought round.
fn naive_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|b| u16::from_be_bytes([b[0], b.get(1).copied().unwrap_or(0)]));
    !words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

fn header(identification: u16, ttl: u8) -> [u8; 20] {
    let mut bytes = [0; 20];
    let fields = ipv4::Header {
        identification,
        ttl,
        ..ipv4::Header::new(
            Protocol::UDP,
            Ipv4Addr::new(10, 0, 0, 1),
            Ipv4Addr::new(20, 0, 0, 5),
            0,
        )
    };
    fields.emit(&mut bytes).unwrap();
    bytes
}

fn computed(bytes: &[u8; 20]) -> u16 {
    let mut zeroed = *bytes;
    put16(&mut zeroed, 10, 0);
    naive_checksum(&zeroed)
}

/// Patching must give what summing the whole header gives, for every checksum there is.
#[test]
fn a_patched_checksum_equals_a_computed_one() {
    for identification in 0..=u16::MAX {
        let mut bytes = header(identification, 64);
        assert!(Ipv4::parse(&bytes).unwrap().checksum_ok(), "{identification:#06x}");
        Ipv4Mut::parse(&mut bytes).unwrap().decrement_ttl();
        assert_eq!(be16(&bytes, 10), computed(&bytes), "identification {identification:#06x}");
        Ipv4Mut::parse(&mut bytes).unwrap().set_ttl(1);
        assert_eq!(be16(&bytes, 10), computed(&bytes), "identification {identification:#06x}");
    }
}

#[test]
fn every_ttl_loses_one_hop_and_keeps_a_right_checksum() {
    for ttl in 1..=u8::MAX {
        let mut bytes = header(7, ttl);
        let mut ip = Ipv4Mut::parse(&mut bytes).unwrap();
        ip.decrement_ttl();
        assert_eq!(ip.view().ttl(), ttl - 1);
        assert!(ip.view().checksum_ok(), "ttl {ttl}");
    }
}

#[test]
fn any_wrong_bit_in_a_header_is_seen_by_the_checksum() {
    let right = header(0x1234, 64);
    for bit in 8..160 {
        let mut wrong = right;
        wrong[bit / 8] ^= 1 << (bit % 8);
        if let Ok(ip) = Ipv4::parse_first(&wrong, usize::MAX) {
            assert!(!ip.checksum_ok(), "bit {bit}");
        }
    }
}

#[test]
fn the_checksum_of_rfc_1071_s_example_is_right() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(checksum::checksum(&bytes), !0xddf2);
}

#[test]
fn only_a_header_with_consistent_lengths_parses() {
    let good = header(0, 64);
    let parse = |change: &dyn Fn(&mut [u8; 20])| {
        let mut bytes = good;
        change(&mut bytes);
        Ipv4::parse(&bytes).map(|_| ())
    };
    assert_eq!(parse(&|_| ()), Ok(()));
    assert_eq!(parse(&|bytes| bytes[0] = 0x65), Err(Malformed::Version));
    assert_eq!(parse(&|bytes| bytes[0] = 0x44), Err(Malformed::HeaderLength));
    assert_eq!(parse(&|bytes| bytes[0] = 0x46), Err(Malformed::HeaderLength));
    assert_eq!(parse(&|bytes| bytes[3] = 19), Err(Malformed::TotalLength));
    assert_eq!(parse(&|bytes| bytes[3] = 21), Err(Malformed::TotalLength));
    assert_eq!(Ipv4::parse(&good[..19]).map(|_| ()), Err(Malformed::Short));
    assert_eq!(Ipv4::parse_first(&good, 19).map(|_| ()), Err(Malformed::TotalLength));
}

#[test]
fn the_payload_ends_where_the_total_length_says() {
    let mut bytes = [0_u8; 64];
    let fields = ipv4::Header::new(Protocol::UDP, Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, 12);
    fields.emit(bytes.first_chunk_mut().unwrap()).unwrap();
    assert_eq!(Ipv4::parse(&bytes).unwrap().payload().len(), 12);
    assert_eq!(Ipv4Mut::parse(&mut bytes).unwrap().payload_mut().len(), 12);
    // Four bytes of options, taken out of the payload.
    bytes[0] = 0x46;
    Ipv4Mut::parse(&mut bytes).unwrap().write_checksum();
    let ip = Ipv4::parse(&bytes).unwrap();
    assert_eq!((ip.options().len(), ip.payload().len(), ip.header_len()), (4, 8, 24));
    assert!(ip.checksum_ok());
}

#[test]
fn a_packet_longer_than_the_length_field_is_not_written() {
    let mut bytes = [7; 20];
    let fields = ipv4::Header::new(Protocol::UDP, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, 65_516);
    assert_eq!(fields.emit(&mut bytes), Err(Malformed::TotalLength));
    assert_eq!(bytes, [7; 20]);
    let mut bytes = [7; 8];
    assert_eq!(udp::emit(&mut bytes, 1, 2, 65_528), Err(Malformed::TotalLength));
    assert_eq!(bytes, [7; 8]);
}

#[test]
fn an_echo_request_becomes_a_reply_with_a_right_checksum() {
    for identifier in 0..=u16::MAX {
        let mut message = [0; 8];
        icmp4::emit(&mut message, icmp4::Kind::EchoRequest, identifier, 3, &[]);
        assert!(icmp4::echo_reply(&mut message));
        let view = Icmp4::parse(&message).unwrap();
        assert_eq!((view.kind(), view.identifier()), (icmp4::Kind::EchoReply, identifier));
        assert!(view.checksum_ok(), "identifier {identifier}");
        assert!(!icmp4::echo_reply(&mut message), "a reply is no request");
    }
}

#[test]
fn every_type_and_code_of_icmp_reads_back() {
    for (kind, code) in (0..=u8::MAX).flat_map(|kind| (0..=u8::MAX).map(move |code| (kind, code))) {
        let bytes = [kind, code, 0, 0, 0, 0, 5, 220];
        let read = Icmp4::parse(&bytes).unwrap().kind();
        assert_eq!(read.type_and_code(), (kind, code));
        let mut written = [0; 8];
        icmp4::emit(&mut written, read, 0, 0, b"odd");
        assert_eq!(Icmp4::parse(&written).unwrap().kind(), read);
        assert_eq!(
            Checksum::new().with(&written).with(b"odd").finish(),
            0,
            "type {kind} code {code}"
        );
    }
}

#[test]
fn an_arp_reply_answers_who_asked() {
    let (asker, owner) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut bytes = [0; arp::LEN];
    arp::Message::request(asker, from, to).emit(&mut bytes);
    let request = Arp::parse(&bytes).unwrap();
    assert_eq!(request.operation(), arp::Operation::REQUEST);
    assert!(!request.is_gratuitous());
    let reply = arp::Message::reply_to(&request, owner);
    reply.emit(&mut bytes);
    let reply = Arp::parse(&bytes).unwrap();
    assert_eq!((reply.sender_mac(), reply.sender_ip()), (owner, to));
    assert_eq!((reply.target_mac(), reply.target_ip()), (asker, from));
    for at in 0..6 {
        let mut other = bytes;
        other[at] ^= 1;
        assert_eq!(Arp::parse(&other).map(|_| ()), Err(Malformed::Version), "byte {at}");
    }
}

#[test]
fn a_tag_stands_between_the_addresses_and_the_type() {
    let mut frame = [0; 18];
    let (to, from) = (MacAddress::BROADCAST, MacAddress([2, 0, 0, 0, 0, 1]));
    ethernet::emit(frame.first_chunk_mut().unwrap(), to, from, EtherType::VLAN);
    let tag = ethernet::VlanTag(0x7064);
    ethernet::emit_tag(frame.last_chunk_mut().unwrap(), tag, EtherType::IP4);
    let view = Ethernet::parse(&frame).unwrap();
    assert_eq!((view.destination(), view.source()), (to, from));
    let (read, ethertype, rest) = view.tag().unwrap();
    assert_eq!((read.id(), read.priority(), read.drop_eligible()), (100, 3, true));
    assert_eq!((ethertype, rest.len()), (EtherType::IP4, 0));
    assert_eq!(Ethernet::parse(&frame[..17]).unwrap().tag(), Err(Malformed::Short));
    frame[12] = 0x08;
    assert_eq!(Ethernet::parse(&frame).unwrap().tag(), Err(Malformed::Version));
}

#[test]
fn addresses_and_prefixes_read_back_as_they_are_shown() {
    let mac: MacAddress = "02:FE:0:00:00:9".parse().unwrap();
    assert_eq!(mac.to_string(), "02:fe:00:00:00:09");
    for wrong in ["", "02:fe:00:00:00", "02:fe:00:00:00:09:01", "02:fe:00:00:00:+9", "02-fe"] {
        assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
    }
    let prefix: Ip4Prefix = "10.1.2.3/8".parse().unwrap();
    assert_eq!(prefix.to_string(), "10.0.0.0/8");
    for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/", "/8"] {
        assert!(wrong.parse::<Ip4Prefix>().is_err(), "{wrong}");
    }
    let (address, prefix) = Ip4Prefix::parse_with_address("10.1.2.3/24").unwrap();
    assert_eq!(
        (address.to_string(), prefix.to_string()),
        ("10.1.2.3".into(), "10.1.2.0/24".into())
    );
    assert_eq!(Ip4Prefix::DEFAULT.last(), Ipv4Addr::BROADCAST);
    assert_eq!("0.0.0.0/1".parse::<Ip4Prefix>().unwrap().parent(), Some(Ip4Prefix::DEFAULT));
}

proptest! {
    #[test]
    fn the_fast_checksum_is_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(checksum::checksum(&bytes), naive_checksum(&bytes));
    }

    #[test]
    fn a_sum_in_parts_is_the_sum_of_the_whole(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        cuts in proptest::collection::vec(0_usize..200, 3),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let ends = [cuts[0], cuts[1], cuts[2], bytes.len()];
        let mut start = 0;
        let mut sum = Checksum::new();
        for end in ends {
            sum = sum.with(&bytes[start..end]);
            start = end;
        }
        prop_assert_eq!(sum.finish(), naive_checksum(&bytes));
    }

    #[test]
    fn a_changed_address_keeps_the_checksum_right(id: u16, source: u32, destination: u32) {
        let mut bytes = header(id, 64);
        let mut ip = Ipv4Mut::parse(&mut bytes).unwrap();
        ip.set_source(Ipv4Addr::from_bits(source));
        ip.set_destination(Ipv4Addr::from_bits(destination));
        ip.swap_addresses();
        prop_assert_eq!(ip.view().destination(), Ipv4Addr::from_bits(source));
        prop_assert!(ip.view().checksum_ok());
        prop_assert_eq!(be16(&bytes, 10), computed(&bytes));
    }

    #[test]
    fn no_bytes_make_a_view_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), available: usize) {
        let mut bytes = bytes;
        if let Ok(ip) = Ipv4::parse_first(&bytes, available) {
            let _ = (ip.payload(), ip.options(), ip.checksum_ok(), ip.fragment_offset());
        }
        if let Ok(mut ip) = Ipv4Mut::parse_first(&mut bytes, available) {
            ip.write_checksum();
            ip.decrement_ttl();
            ip.payload_mut().fill(0);
            prop_assert!(ip.view().header_len() <= 60);
        }
        if let Ok(tcp) = Tcp::parse(&bytes) {
            prop_assert_eq!(tcp.header_len() + tcp.payload().len(), bytes.len());
            prop_assert_eq!(tcp.options().len() + tcp::HEADER, tcp.header_len());
        }
        if let Ok(udp) = Udp::parse(&bytes) {
            prop_assert_eq!(usize::from(udp.total_len()), udp::HEADER + udp.payload().len());
        }
        if let Ok(ethernet) = Ethernet::parse(&bytes) {
            let _ = ethernet.tag();
        }
        let _ = (Arp::parse(&bytes).map(|arp| arp.operation()), Icmp4::parse(&bytes).map(|icmp| icmp.kind()));
        icmp4::echo_reply(&mut bytes);
    }

    #[test]
    fn a_prefix_contains_what_shares_its_bits(address: u32, other: u32, len in 0_u8..=32) {
        let prefix = Ip4Prefix::new(Ipv4Addr::from_bits(address), len).unwrap();
        let shared = (address ^ other).leading_zeros() >= len.into();
        prop_assert_eq!(prefix.contains(Ipv4Addr::from_bits(other)), shared);
        prop_assert!(prefix.contains(prefix.first()) && prefix.contains(prefix.last()));
        let size = u64::from(prefix.last().to_bits()) - u64::from(prefix.first().to_bits()) + 1;
        prop_assert_eq!(size, 1 << (32 - len));
        prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        prop_assert!(prefix.parent().is_none_or(|parent| parent.covers(prefix)));
    }
}
