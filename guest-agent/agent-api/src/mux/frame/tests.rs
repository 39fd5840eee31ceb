// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

const TAG: u16 = 0x1234;

fn process() -> impl Strategy<Value = ProcessId> {
    ("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", proptest::option::of("[a-z0-9]{1,128}")).prop_map(
        |(container, exec)| {
            let exec = exec.map(|e| ExecId::parse(&e).unwrap());
            ProcessId::new(ContainerId::parse(&container).unwrap(), exec)
        },
    )
}

fn kind() -> impl Strategy<Value = StreamKind> {
    prop_oneof![
        Just(StreamKind::Rpc),
        process().prop_map(StreamKind::Stdin),
        process().prop_map(StreamKind::Stdout),
        process().prop_map(StreamKind::Stderr),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let stream = 1..u32::MAX;
    prop_oneof![
        (stream.clone(), kind()).prop_map(|(stream, kind)| Frame::Open { stream, kind }),
        (stream.clone(), proptest::collection::vec(any::<u8>(), 1..2000))
            .prop_map(|(stream, bytes)| Frame::Data { stream, bytes }),
        (stream.clone(), any::<u32>()).prop_map(|(stream, bytes)| Frame::Window { stream, bytes }),
        stream.clone().prop_map(|stream| Frame::Close { stream }),
        stream.prop_map(|stream| Frame::Reset { stream }),
        ".{0,200}".prop_map(|message| Frame::Fatal { code: Code::InitdataMismatch, message }),
    ]
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(TAG, &mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<Option<Item>, Malformed> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    decoder.next(TAG)
}

fn every_kind_of_frame() -> Vec<Frame> {
    let process =
        ProcessId::new(ContainerId::parse("web").unwrap(), Some(ExecId::parse("probe").unwrap()));
    vec![
        Frame::Open { stream: 1, kind: StreamKind::Rpc },
        Frame::Open { stream: 3, kind: StreamKind::Stdout(process) },
        Frame::Data { stream: 1, bytes: b"hello".to_vec() },
        Frame::Window { stream: 1, bytes: 5 },
        Frame::Close { stream: 1 },
        Frame::Reset { stream: 1 },
        Frame::Fatal { code: Code::InitdataMissing, message: "no device".into() },
    ]
}

proptest! {
    #[test]
    fn frames_survive_any_cut_of_the_stream(
        frames in proptest::collection::vec(frame(), 1..8),
        step in 1usize..5000,
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|f| f.encode(TAG, &mut bytes));
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(item) = decoder.next(TAG).unwrap() {
                out.push(item);
            }
        }
        let expected: Vec<Item> = frames.into_iter().map(Item::Frame).collect();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let _ = decoder.hunt();
    }

    #[test]
    fn a_preface_is_found_behind_stale_bytes(
        stale in proptest::collection::vec(any::<u8>(), 0..200),
        epoch in any::<u64>(),
        step in 1usize..50,
    ) {
        let hello = Hello { version: VERSION, role: Role::Guest, epoch };
        let mut bytes = stale.clone();
        bytes.extend_from_slice(&hello.encode());
        let mut decoder = Decoder::default();
        let mut found = None;
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            if let (_, Some(Ok(hello))) = decoder.hunt() {
                found = Some(hello);
            }
        }
        prop_assert_eq!(found, Some(hello));
    }
}

#[test]
fn a_truncated_frame_waits_for_the_rest() {
    for frame in every_kind_of_frame() {
        let bytes = encode(&frame);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Ok(None), "{frame:?} cut at {length}");
        }
    }
}

#[test]
fn a_changed_byte_changes_the_frame_or_is_refused() {
    for frame in every_kind_of_frame() {
        let bytes = encode(&frame);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let same = Ok(Some(Item::Frame(frame.clone())));
                assert_ne!(decode(&changed), same, "{frame:?} byte {at}");
            }
        }
    }
}

#[test]
fn each_malformed_frame_has_its_reason() {
    let mut frame = encode(&Frame::Close { stream: 1 });
    frame[0] = 99;
    assert_eq!(decode(&frame), Err(Malformed::Kind));

    let mut frame = encode(&Frame::Close { stream: 1 });
    frame[1] = 1;
    assert_eq!(decode(&frame), Err(Malformed::Reserved));

    let mut frame = encode(&Frame::Close { stream: 1 });
    frame[2] ^= 1;
    assert_eq!(decode(&frame), Err(Malformed::Tag));

    assert_eq!(decode(&encode(&Frame::Close { stream: 0 })), Err(Malformed::Stream));

    // A24: four gigabytes are refused before any of them is awaited.
    let mut frame = encode(&Frame::Data { stream: 1, bytes: vec![0] });
    frame[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(&frame), Err(Malformed::Length));

    let empty = encode(&Frame::Data { stream: 1, bytes: Vec::new() });
    assert_eq!(decode(&empty), Err(Malformed::Length));

    let mut frame = encode(&Frame::Open { stream: 1, kind: StreamKind::Rpc });
    frame[12] = 77;
    assert_eq!(decode(&frame), Err(Malformed::StreamKind));

    let mut out = Vec::new();
    put(&mut out, KIND_OPEN, TAG, 1, b"\x02\x03a/b\x00");
    assert_eq!(decode(&out), Err(Malformed::StreamKind), "an id with a slash");

    let mut out = Vec::new();
    put(&mut out, KIND_FATAL, TAG, 0, b"\x03abc");
    assert_eq!(decode(&out), Err(Malformed::Fatal));
}

#[test]
fn each_malformed_preface_has_its_reason() {
    let good = Hello { version: VERSION, role: Role::Host, epoch: 7 }.encode();
    let decode = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        Hello::decode(&bytes)
    };
    assert_eq!(decode(0, 0), Err(Malformed::Magic));
    assert_eq!(decode(10, 9), Err(Malformed::Role));
    assert_eq!(decode(11, 1), Err(Malformed::Reserved));
    assert_eq!(Hello::decode(&good).unwrap().epoch, 7);
}

#[test]
fn a_repeated_preface_is_told_from_a_frame() {
    let hello = Hello { version: VERSION, role: Role::Host, epoch: 7 };
    assert_eq!(decode(&hello.encode()), Ok(Some(Item::Hello(hello))));
}

#[test]
fn a_long_fatal_text_is_cut() {
    let message = "é".repeat(MAX_FATAL_TEXT);
    let bytes = encode(&Frame::Fatal { code: Code::Internal, message });
    assert_eq!(bytes.len(), HEADER + MAX_FATAL_TEXT);
    assert!(matches!(decode(&bytes), Ok(Some(Item::Frame(Frame::Fatal { .. })))));
}
