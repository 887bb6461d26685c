use plugin_api::wire::{Checksum, checksum};

use super::*;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn packet(protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ipv4::HEADER];
    let header = Header { ttl: 1, ..Header::new(protocol, HOST, OWN, payload.len()) };
    header.emit(bytes.first_chunk_mut().unwrap()).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

fn icmp(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; icmp4::HEADER];
    icmp4::emit(message.first_chunk_mut().unwrap(), kind, 7, 9, payload);
    message.extend_from_slice(payload);
    packet(Protocol::ICMP, &message)
}

#[test]
fn an_echo_request_comes_back_with_its_payload_and_right_checksums() {
    let mut bytes = icmp(Kind::EchoRequest, b"how are you");
    let len = bytes.len();
    echo_reply(&mut bytes, len).unwrap();
    let ip = Ipv4::parse(&bytes).unwrap();
    assert_eq!((ip.source(), ip.destination(), ip.ttl()), (OWN, HOST, 64));
    assert!(ip.checksum_ok());
    let message = Icmp4::parse(ip.payload()).unwrap();
    assert_eq!((message.kind(), message.identifier(), message.sequence()), (Kind::EchoReply, 7, 9));
    assert_eq!(message.payload(), b"how are you");
    assert!(message.checksum_ok());
}

#[test]
fn what_is_no_sound_echo_request_stays_as_it_is() {
    let refused = |bytes: &[u8]| {
        let mut changed = bytes.to_vec();
        let error = echo_reply(&mut changed, bytes.len()).unwrap_err();
        assert_eq!(changed, bytes);
        error
    };
    assert_eq!(refused(&icmp(Kind::EchoReply, b"")), NotAnswered::OtherMessage);
    assert_eq!(refused(&packet(Protocol::UDP, &[8, 0, 0, 0])), NotAnswered::OtherMessage);
    assert_eq!(refused(&packet(Protocol::ICMP, &[8, 0])), NotAnswered::Malformed(Malformed::Short));
    let mut wrong = icmp(Kind::EchoRequest, b"");
    wrong[22] ^= 1;
    assert_eq!(refused(&wrong), NotAnswered::Checksum);
    let mut from_all = icmp(Kind::EchoRequest, b"");
    from_all[12..16].fill(255);
    assert_eq!(refused(&from_all), NotAnswered::NotOneHost);
}

#[test]
fn an_error_quotes_the_packet_and_goes_to_its_sender() {
    let kinds =
        [Kind::TtlExceeded, Kind::Unreachable(Unreachable::FragmentationNeeded { mtu: 1400 })];
    for kind in kinds {
        let about = packet(Protocol::UDP, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut bytes = vec![0xaa; ERROR_HEADERS];
        bytes.extend_from_slice(&about);
        write_error(&mut bytes, kind, OWN).unwrap();
        let ip = Ipv4::parse(&bytes).unwrap();
        assert_eq!((ip.source(), ip.destination(), ip.protocol()), (OWN, HOST, Protocol::ICMP));
        assert!(ip.checksum_ok());
        let message = Icmp4::parse(ip.payload()).unwrap();
        assert_eq!((message.kind(), message.payload()), (kind, &about[..]));
        assert_eq!(Checksum::new().with(ip.payload()).finish(), 0);
        assert_eq!(checksum::checksum(ip.payload()), 0);
    }
}

#[test]
fn an_error_about_nothing_is_not_written() {
    let mut bytes = [7; ERROR_HEADERS + 19];
    assert_eq!(write_error(&mut bytes, Kind::TtlExceeded, OWN), Err(Malformed::Short));
    assert_eq!(bytes, [7; ERROR_HEADERS + 19]);
    assert_eq!(write_error(&mut bytes[..5], Kind::TtlExceeded, OWN), Err(Malformed::Short));
}

#[test]
fn no_error_is_told_about_errors_later_fragments_and_groups() {
    let reported = |bytes: &[u8]| may_report(&Ipv4::parse(bytes).unwrap(), true);
    let plain = packet(Protocol::UDP, &[0; 8]);
    assert!(reported(&plain));
    assert!(!may_report(&Ipv4::parse(&plain).unwrap(), false));
    assert!(reported(&icmp(Kind::EchoRequest, b"")));
    assert!(!reported(&icmp(Kind::TtlExceeded, b"")));
    assert!(!reported(&packet(Protocol::ICMP, &[8])), "what cannot be told may be an error");
    let with = |at: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[at] = value;
        bytes
    };
    assert!(!reported(&with(7, 1)), "a later fragment");
    assert!(reported(&with(6, 0x20)), "the first fragment");
    assert!(!reported(&with(12, 224)), "from a group");
    assert!(!reported(&with(12, 0)), "from nobody");
    assert!(!reported(&with(16, 239)), "to a group");
}

#[test]
fn a_rate_limit_gives_its_burst_then_its_rate() {
    let mut limit = RateLimit::new(10, 3);
    let mut allowed = |millis: u64| limit.allow(Duration::from_millis(millis));
    assert_eq!([0, 0, 0, 0].map(&mut allowed), [true, true, true, false]);
    assert_eq!([99, 100, 150, 200, 250].map(&mut allowed), [false, true, false, true, false]);
    assert_eq!([5_000; 5].map(&mut allowed), [true, true, true, false, false]);
}
