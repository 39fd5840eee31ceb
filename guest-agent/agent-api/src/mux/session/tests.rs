// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

fn pair() -> (Session, Session) {
    (Session::new(Role::Host), Session::new(Role::Guest))
}

/// Carries every frame that `from` has to `to`.
fn carry(from: &mut Session, to: &mut Session) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(frame) = from.next_frame() {
        events.push(to.receive(frame).unwrap());
    }
    events
}

fn opened() -> (Session, Session, u32) {
    let (mut host, mut guest) = pair();
    let id = host.open(StreamKind::Rpc).unwrap();
    let events = carry(&mut host, &mut guest);
    assert_eq!(events, [Event::Opened { stream: id, kind: StreamKind::Rpc }]);
    (host, guest, id)
}

fn read_all(session: &mut Session, id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut buffer = [0; 1000];
    while let Transfer::Done(count) = session.read(id, &mut buffer) {
        out.extend_from_slice(&buffer[..count]);
    }
    out
}

#[test]
fn data_close_and_end_of_file_arrive_in_order() {
    let (mut host, mut guest, id) = opened();
    assert_eq!(host.write(id, b"abc"), Transfer::Done(3));
    host.close_write(id);
    carry(&mut host, &mut guest);
    let mut buffer = [0; 2];
    assert_eq!(guest.read(id, &mut buffer), Transfer::Done(2));
    assert_eq!(guest.read(id, &mut buffer), Transfer::Done(1));
    assert_eq!(guest.read(id, &mut buffer), Transfer::Eof);
    assert_eq!(host.write(id, b"more"), Transfer::Eof);
}

#[test]
fn a_full_window_blocks_its_own_stream_only() {
    let (mut host, mut guest, slow) = opened();
    let fast = host.open(StreamKind::Rpc).unwrap();
    assert_eq!(host.write(slow, &vec![1; WINDOW + 1]), Transfer::Done(WINDOW));
    assert_eq!(host.write(slow, b"x"), Transfer::Pending);
    assert_eq!(host.write(fast, b"rpc"), Transfer::Done(3));
    carry(&mut host, &mut guest);
    assert_eq!(read_all(&mut guest, fast), b"rpc");
    assert_eq!(host.write(slow, b"x"), Transfer::Pending, "nobody has read the slow stream");

    assert_eq!(read_all(&mut guest, slow).len(), WINDOW);
    let events = carry(&mut guest, &mut host);
    assert!(events.contains(&Event::Writable { stream: slow }));
    assert_eq!(host.write(slow, b"x"), Transfer::Done(1));
}

#[test]
fn streams_take_turns() {
    let (mut host, _, first) = opened();
    let second = host.open(StreamKind::Rpc).unwrap();
    host.write(first, &vec![1; WINDOW]);
    host.write(second, &vec![2; WINDOW]);
    let order: Vec<u32> = std::iter::from_fn(|| host.next_frame())
        .filter_map(|frame| match frame {
            Frame::Data { stream, .. } => Some(stream),
            _ => None,
        })
        .collect();
    assert_eq!(order, [first, second, first, second]);
}

#[test]
fn what_nobody_took_is_returned_and_the_rest_is_not() {
    let (mut host, mut guest, id) = opened();
    guest.write(id, b"taken-kept");
    carry(&mut guest, &mut host);
    let mut buffer = [0; 6];
    assert_eq!(host.read(id, &mut buffer), Transfer::Done(6));
    assert_eq!(guest.acknowledged(id), Transfer::Pending);
    // The reader goes away in an orderly manner: what it took is acknowledged before.
    host.detach(id);
    carry(&mut host, &mut guest);
    assert_eq!(guest.write(id, b"x"), Transfer::Reset);
    assert_eq!(guest.take_unacknowledged(id), b"kept");
}

#[test]
fn everything_unread_is_returned_when_the_connection_breaks() {
    let (_, mut guest, id) = opened();
    guest.write(id, b"lost on the way");
    while guest.next_frame().is_some() {}
    guest.end();
    assert_eq!(guest.take_unacknowledged(id), b"lost on the way");
}

#[test]
fn what_was_received_can_be_read_after_the_end() {
    let (mut host, mut guest, id) = opened();
    guest.write(id, b"last words");
    carry(&mut guest, &mut host);
    host.end();
    assert_eq!(read_all(&mut host, id), b"last words");
    assert_eq!(host.read(id, &mut [0; 1]), Transfer::Reset);
    assert_eq!(host.open(StreamKind::Rpc), Err(OpenError::Ended));
}

#[test]
fn a_closed_stream_still_delivers_after_its_user_has_gone() {
    let (mut host, mut guest, id) = opened();
    host.write(id, b"bye");
    host.close_write(id);
    host.detach(id);
    carry(&mut host, &mut guest);
    assert_eq!(read_all(&mut guest, id), b"bye");
    guest.close_write(id);
    guest.detach(id);
    carry(&mut guest, &mut host);
    carry(&mut host, &mut guest);
    assert!(host.streams.is_empty(), "{host:?}");
    assert!(guest.streams.is_empty(), "{guest:?}");
}

#[test]
fn a_dropped_stream_is_reset_and_late_data_is_ignored() {
    let (mut host, mut guest, id) = opened();
    guest.detach(id);
    // Sent before the host hears of the reset.
    host.write(id, b"late");
    carry(&mut host, &mut guest);
    let events = carry(&mut guest, &mut host);
    assert_eq!(events, [Event::Reset { stream: id }]);
    assert_eq!(host.read(id, &mut [0; 1]), Transfer::Reset);
    assert_eq!(host.write(id, b"x"), Transfer::Reset);
}

#[test]
fn each_violation_is_found() {
    let data = |stream, length| Frame::Data { stream, bytes: vec![0; length] };
    let open = |stream| Frame::Open { stream, kind: StreamKind::Rpc };
    let check = |frames: Vec<Frame>, expected| {
        let mut guest = Session::new(Role::Guest);
        let last = frames.into_iter().map(|f| guest.receive(f)).last().unwrap();
        assert_eq!(last, Err(expected));
    };
    check(vec![data(1, 1)], Violation::UnknownStream);
    check(vec![Frame::Reset { stream: 1 }], Violation::UnknownStream);
    check(vec![open(2), open(2)], Violation::StreamId);
    check(vec![open(2), open(1)], Violation::StreamId);
    check(vec![open(u32::MAX)], Violation::StreamId);
    // A15: more than the window, whatever the sizes of the pieces.
    check(vec![open(1), data(1, WINDOW), data(1, 1)], Violation::Window);
    check(vec![open(1), Frame::Window { stream: 1, bytes: 1 }], Violation::Acknowledged);
    check(vec![open(1), Frame::Window { stream: 1, bytes: 0 }], Violation::Acknowledged);
    check(vec![open(1), Frame::Close { stream: 1 }, data(1, 1)], Violation::Closed);
    let close = || Frame::Close { stream: 1 };
    check(vec![open(1), close(), close()], Violation::Closed);
}

#[test]
fn a_guest_opens_nothing() {
    let mut host = Session::new(Role::Host);
    let frame = Frame::Open { stream: 1, kind: StreamKind::Rpc };
    assert_eq!(host.receive(frame), Err(Violation::StreamId));
    assert_eq!(Session::new(Role::Guest).open(StreamKind::Rpc), Err(OpenError::Guest));
}

#[test]
fn streams_over_the_cap_are_reset() {
    // A25.
    let mut guest = Session::new(Role::Guest);
    let cap = u32::try_from(MAX_STREAMS).unwrap();
    for stream in 1..=cap + 5 {
        guest.receive(Frame::Open { stream, kind: StreamKind::Rpc }).unwrap();
    }
    assert_eq!(guest.streams.len(), MAX_STREAMS);
    let resets: Vec<_> = std::iter::from_fn(|| guest.next_frame()).collect();
    let expected: Vec<_> = (cap + 1..=cap + 5).map(|stream| Frame::Reset { stream }).collect();
    assert_eq!(resets, expected);

    let mut host = Session::new(Role::Host);
    for _ in 0..MAX_STREAMS {
        host.open(StreamKind::Rpc).unwrap();
    }
    assert_eq!(host.open(StreamKind::Rpc), Err(OpenError::TooMany));
}

#[test]
fn a_peer_that_never_reads_chokes_itself() {
    // A25: answers that nobody takes do not pile up for ever.
    let mut guest = Session::new(Role::Guest);
    for stream in 1.. {
        guest.receive(Frame::Open { stream, kind: StreamKind::Rpc }).unwrap();
        if guest.is_choked() {
            break;
        }
    }
    assert!(guest.control.len() <= MAX_CONTROL);
}

#[derive(Debug, Clone)]
enum Step {
    Open,
    Write { host: bool, stream: usize, length: usize },
    Read { host: bool, stream: usize, length: usize },
    Close { host: bool, stream: usize },
    Detach { host: bool, stream: usize },
    Carry { host: bool, frames: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let side = any::<bool>();
    let stream = 0usize..4;
    prop_oneof![
        1 => Just(Step::Open),
        4 => (side, stream.clone(), 1..2 * WINDOW)
            .prop_map(|(host, stream, length)| Step::Write { host, stream, length }),
        4 => (side, stream.clone(), 1..2 * WINDOW)
            .prop_map(|(host, stream, length)| Step::Read { host, stream, length }),
        1 => (side, stream.clone()).prop_map(|(host, stream)| Step::Close { host, stream }),
        1 => (side, stream).prop_map(|(host, stream)| Step::Detach { host, stream }),
        6 => (side, 1usize..8).prop_map(|(host, frames)| Step::Carry { host, frames }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two honest sides never call each other violators, and bytes arrive whole and in order.
    #[test]
    fn honest_sides_agree(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut host, mut guest) = pair();
        let mut ids = Vec::new();
        // Next byte that each direction of each stream writes and expects.
        let mut counters = std::collections::BTreeMap::<(bool, u32), (u8, u8)>::new();
        for step in steps {
            match step {
                Step::Open => {
                    if let Ok(id) = host.open(StreamKind::Rpc) {
                        ids.push(id);
                    }
                }
                Step::Write { host: side, stream, length } => {
                    let Some(id) = ids.get(stream) else { continue };
                    let session = if side { &mut host } else { &mut guest };
                    let next = &mut counters.entry((side, *id)).or_default().0;
                    let bytes: Vec<u8> = (0..length)
                        .scan(*next, |n, _| { let b = *n; *n = n.wrapping_add(1); Some(b) })
                        .collect();
                    if let Transfer::Done(count) = session.write(*id, &bytes) {
                        *next = bytes.get(count).copied().unwrap_or_else(|| {
                            bytes[count - 1].wrapping_add(1)
                        });
                    }
                }
                Step::Read { host: side, stream, length } => {
                    let Some(id) = ids.get(stream) else { continue };
                    let session = if side { &mut host } else { &mut guest };
                    let mut buffer = vec![0; length];
                    if let Transfer::Done(count) = session.read(*id, &mut buffer) {
                        let expected = &mut counters.entry((!side, *id)).or_default().1;
                        for byte in &buffer[..count] {
                            prop_assert_eq!(*byte, *expected);
                            *expected = expected.wrapping_add(1);
                        }
                    }
                }
                Step::Close { host: side, stream } => {
                    let Some(id) = ids.get(stream) else { continue };
                    if side { &mut host } else { &mut guest }.close_write(*id);
                }
                Step::Detach { host: side, stream } => {
                    let Some(id) = ids.get(stream) else { continue };
                    if side { &mut host } else { &mut guest }.detach(*id);
                }
                Step::Carry { host: side, frames } => {
                    let (from, to) =
                        if side { (&mut host, &mut guest) } else { (&mut guest, &mut host) };
                    for _ in 0..frames {
                        let Some(frame) = from.next_frame() else { break };
                        prop_assert!(to.receive(frame).is_ok());
                    }
                }
            }
        }
    }
}
