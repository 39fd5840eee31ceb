// SPDX-License-Identifier: Apache-2.0

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Heard(Mutex<Vec<Call>>);

impl Witness for Heard {
    fn witness(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }
}

impl Heard {
    fn take(&self) -> Vec<(String, String)> {
        let calls = std::mem::take(&mut *self.0.lock().unwrap());
        let told = |call: Call| match call.outcome {
            Outcome::Refused(error) => (call.name, error.detail().to_owned()),
            other => panic!("{other:?}"),
        };
        calls.into_iter().map(told).collect()
    }
}

fn frames() -> (Arc<Heard>, Frames) {
    let heard = Arc::new(Heard::default());
    let known = HashSet::from(["Hello".to_owned()]);
    let methods = Arc::new(Methods(HashMap::from([("the.Agent".to_owned(), known)])));
    let witness: Arc<dyn Witness> = Arc::<Heard>::clone(&heard);
    (heard, Frames { methods, witness, state: State::new() })
}

fn frame(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(stream.to_be_bytes());
    frame.extend([kind, 0]);
    frame.extend(payload);
    frame
}

fn request(service: &str, method: &str) -> Vec<u8> {
    let request = Request {
        service: service.into(),
        method: method.into(),
        payload: vec![7; 100],
        ..Default::default()
    };
    frame(1, MESSAGE_TYPE_REQUEST, &request.encode().unwrap())
}

fn pair(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), format!("request: {text}"))
}

#[test]
fn a_call_that_exists_is_left_to_its_method() {
    let (heard, mut frames) = frames();
    let twice = request("the.Agent", "Hello").repeat(2);
    assert_eq!(frames.feed(&twice), Ok(()));
    assert_eq!(heard.take(), []);
}

#[test]
fn unknown_calls_and_services_are_told() {
    // A18: calls that do not exist in this API.
    let (heard, mut frames) = frames();
    assert_eq!(frames.feed(&request("the.Agent", "CopyFile")), Ok(()));
    assert_eq!(frames.feed(&request("grpc.AgentService", "SetIPTables")), Ok(()));
    assert_eq!(frames.feed(&request("the.Agent", "")), Ok(()));
    assert_eq!(
        heard.take(),
        [
            pair("CopyFile", "there is no such call"),
            pair("grpc.AgentService/SetIPTables", "there is no such call"),
            pair("?", "there is no such call"),
        ]
    );
}

#[test]
fn what_is_no_request_is_told() {
    // A24.
    let (heard, mut frames) = frames();
    assert_eq!(frames.feed(&frame(1, MESSAGE_TYPE_REQUEST, &[0xff; 9])), Ok(()));
    // Nothing at all is a request without a service.
    assert_eq!(frames.feed(&frame(3, MESSAGE_TYPE_REQUEST, &[])), Ok(()));
    assert_eq!(heard.take(), [pair("?", "malformed"), pair("/", "there is no such call")]);
    assert_eq!(frames.feed(&request("the.Agent", "Hello")), Ok(()));
    assert_eq!(heard.take(), []);
}

#[test]
fn a_broken_frame_is_told_once_and_ends_the_stream() {
    // A24.
    let length = |length: u32| {
        let mut header = frame(1, MESSAGE_TYPE_REQUEST, &[]);
        header[..4].copy_from_slice(&length.to_be_bytes());
        header
    };
    for (bytes, error) in [
        (frame(2, MESSAGE_TYPE_REQUEST, b""), FrameError::Stream),
        (frame(0, MESSAGE_TYPE_REQUEST, b""), FrameError::Stream),
        (frame(1, 2, b""), FrameError::Kind),
        (frame(1, 3, b"data"), FrameError::Kind),
        (frame(1, 0, b""), FrameError::Kind),
        (length(MAX_FRAME + 1), FrameError::TooLong),
        (length(u32::MAX), FrameError::TooLong),
    ] {
        let (heard, mut frames) = frames();
        assert_eq!(frames.feed(&bytes), Err(error));
        assert_eq!(heard.take(), [pair("?", &error.to_string())]);
        assert_eq!(frames.feed(&request("the.Agent", "CopyFile")), Err(FrameError::Before));
        assert_eq!(heard.take(), []);
    }
    let (heard, mut frames) = frames();
    assert_eq!(frames.feed(&length(MAX_FRAME)), Ok(()));
    assert_eq!(heard.take(), []);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(cuts in proptest::collection::vec(1_usize..40, 1..60)) {
        let stream = [request("the.Agent", "A"), request("x", "B"), request("the.Agent", "Hello")];
        let stream = stream.concat();
        let (heard, mut whole) = frames();
        prop_assert_eq!(whole.feed(&stream), Ok(()));
        let expected = heard.take();
        prop_assert_eq!(expected.len(), 2);
        let (heard, mut pieces) = frames();
        let mut rest = stream.as_slice();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            prop_assert_eq!(pieces.feed(piece), Ok(()));
            rest = after;
        }
        prop_assert_eq!(heard.take(), expected);
    }

    #[test]
    fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, mut frames) = frames();
        let _ = frames.feed(&bytes);
    }
}
