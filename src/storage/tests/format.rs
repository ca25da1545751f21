//! The bytes themselves. The golden ones must never change: they are on people's disks.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::storage::format::*;

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.chunks(16).map(hex::encode).collect();
    lines.join("\n")
}

#[test]
fn a_golden_header() {
    let header = SegmentHeader {
        version: 1,
        identity: Identity { cluster: ClusterId(0x1122_3344_5566_7788), node: NodeId(3) },
        sequence: 7,
        first_index: LogIndex(1000),
        previous_end: 0x3ff_ffc0,
    };
    let golden = "\
4b56524146544c470100000040000000
88776655443322110300000000000000
0700000000000000e803000000000000
c0ffff030000000000000000129c1ccf";
    assert_eq!(hex(&header.encode()), golden);
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn a_golden_group() {
    let mut buffer = BytesMut::new();
    let salt = Salt::new(IDENTITY, 2);
    let mut group = GroupEncoder::begin(&mut buffer, salt, 512, None);
    let kind = RecordKind::Entry(EntryKind::Command);
    group.record(kind, Term(5), LogIndex(42), b"hello, disk");
    group.record(RecordKind::Truncation, Term(0), LogIndex(40), &[]);
    group.finish();
    let golden = "\
10000000137e817c0500000000000000
00000000000000000000000000000000
00020000000000008000000000000000
0b000000c7ad9b470101000006000000
05000000000000002a00000000000000
68656c6c6f2c206469736b0000000000
00000000cd8c091a030000000c000000
00000000000000002800000000000000";
    assert_eq!(hex(&buffer), golden);
}

#[test]
fn a_golden_mark() {
    let mut buffer = BytesMut::new();
    let summary = Summary {
        last_index: LogIndex(41),
        last_term: Term(5),
        truncations: 2,
        truncated_from: LogIndex(39),
        snapshot: LogIndex(30),
        hard_state: 0xabcd_ef01,
    };
    GroupEncoder::begin(&mut buffer, Salt::new(IDENTITY, 2), 512, Some(summary)).finish();
    let golden = "\
38000000d80f6ff90500000000000000
00000000000000000000000000000000
00020000000000005800000000000000
29000000000000000500000000000000
27000000000000001e00000000000000
0200000001efcdab";
    assert_eq!(hex(&buffer), golden);
    let mark = decode_mark(&buffer[RECORD_HEADER_LEN..]);
    assert_eq!(mark, Some(Mark { durable: 512, length: MARK_LEN, summary: Some(summary) }));
}

#[test]
fn a_header_that_is_damaged_anywhere_is_refused() {
    let header = SegmentHeader {
        version: VERSION,
        identity: IDENTITY,
        sequence: 1,
        first_index: LogIndex(1),
        previous_end: 0,
    };
    let good = header.encode();
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good;
            damaged[byte] ^= 1 << bit;
            let decoded = SegmentHeader::decode(&damaged);
            assert!(matches!(decoded, Err(HeaderError::Damaged(_))), "{byte} {bit}: {decoded:?}");
        }
    }
    assert!(SegmentHeader::decode(&good[..HEADER_LEN - 1]).is_err());
}

#[test]
fn names_are_numbers_of_twenty_digits() {
    let name = segment_name(7, LogIndex(123));
    assert_eq!(name, "00000000000000000007-00000000000000000123.seg");
    assert_eq!(parse_segment_name(&name), Some(Ok((7, LogIndex(123)))));
    assert_eq!(parse_segment_name("next.tmp"), None);
    for wrong in ["1-2.seg", ".seg", "0000000000000000000x-00000000000000000123.seg"] {
        assert!(matches!(parse_segment_name(wrong), Some(Err(_))), "{wrong}");
    }
    let too_large = "99999999999999999999-00000000000000000123.seg";
    assert!(matches!(parse_segment_name(too_large), Some(Err(_))));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_record_is_valid_in_one_place_only(
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        term in any::<u64>(),
        index in any::<u64>(),
        base in (0u64..1 << 40).prop_map(|n| n * 8),
        sequence in 1u64..1 << 40,
        bit in any::<proptest::sample::Index>(),
    ) {
        let mut buffer = BytesMut::new();
        let salt = Salt::new(IDENTITY, sequence);
        let mut group = GroupEncoder::begin(&mut buffer, salt, base, Some(Summary::default()));
        let kind = RecordKind::Entry(EntryKind::Command);
        group.record(kind, Term(term), LogIndex(index), &payload);
        group.finish();

        let offset = base + MARK_LEN;
        let record = &buffer[MARK_LEN as usize..];
        let header = RecordHeader::decode(record, offset).unwrap();
        prop_assert_eq!(header.record_len(), record.len() as u64);
        prop_assert_eq!((header.kind, header.group), (kind, base));
        prop_assert_eq!((header.term, header.index), (Term(term), LogIndex(index)));
        prop_assert_eq!(&record[RECORD_HEADER_LEN..][..header.length], &payload[..]);
        prop_assert!(salt.verify(&header, offset, record));

        prop_assert!(!salt.verify(&header, offset + 8, record), "elsewhere in the segment");
        let other = Salt::new(IDENTITY, sequence + 1);
        prop_assert!(!other.verify(&header, offset, record), "in another segment");
        let foreign = Identity { node: NodeId(9), ..IDENTITY };
        prop_assert!(!Salt::new(foreign, sequence).verify(&header, offset, record));

        let mut damaged = record.to_vec();
        let bit = bit.index(damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        let survives = RecordHeader::decode(&damaged, offset)
            .is_some_and(|header| salt.verify(&header, offset, &damaged));
        prop_assert!(!survives, "bit {}", bit);
    }
}
