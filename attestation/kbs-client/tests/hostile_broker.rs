// SPDX-License-Identifier: Apache-2.0
//! What the client makes of a broker, or of whoever answers in its place, that misbehaves.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use casemate_agent_api::Code;
use casemate_kbs_client::ClientError;
use casemate_kbs_client::Endpoint;
use casemate_kbs_client::EvidenceError;
use casemate_kbs_client::Session;
use casemate_kbs_client::Tee;
use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::TeeKeyPair;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Bytes that the server answers a path with.
type Script = fn(path: &str) -> Vec<u8>;

struct Hostile {
    address: SocketAddr,
    ca: String,
    /// Paths asked for, in order.
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn start(script: Script) -> Hostile {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut tls) = acceptor.accept(stream).await else { continue };
            let path = read_request(&mut tls).await;
            log.lock().unwrap().push(path.clone());
            // The client may hang up on too long an answer.
            let _ = tls.write_all(&script(&path)).await;
            let _ = tls.shutdown().await;
        }
    });
    Hostile { address, ca: certified.cert.pem(), asked, server }
}

/// Reads one request to the end of its body and gives its path.
async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).await.unwrap();
        text.extend_from_slice(&chunk[..count]);
        let head = String::from_utf8_lossy(&text).into_owned();
        let Some(end) = head.find("\r\n\r\n") else {
            assert!(count > 0);
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|n| n.trim().parse::<usize>().unwrap())
            })
            .unwrap_or(0);
        if text.len() >= end + 4 + length {
            return head.split(' ').nth(1).unwrap().to_owned();
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn challenge() -> Vec<u8> {
    answer(
        "200 OK",
        "set-cookie: kbs-session-id=00112233445566778899aabbccddeeff; Path=/\r\n",
        r#"{"nonce":"AAAA","extra-params":""}"#,
    )
}

fn problem(kind: &str) -> Vec<u8> {
    let uri = format!("https://github.com/confidential-containers/kbs/errors/{kind}");
    answer("401 Unauthorized", "", &json!({"type": uri, "detail": "no"}).to_string())
}

fn attested(path: &str, resource: Vec<u8>) -> Vec<u8> {
    match path {
        "/kbs/v0/auth" => challenge(),
        "/kbs/v0/attest" => answer("200 OK", "", r#"{"token":"t"}"#),
        _ => resource,
    }
}

/// Asks for one resource; gives the error and how many reports were made.
async fn ask(hostile: &Hostile) -> (ClientError, usize) {
    let endpoint = Endpoint::new(&format!("https://{}", hostile.address), &hostile.ca).unwrap();
    let reports = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reports);
    let source = move |data: [u8; 64]| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<Value, EvidenceError>(json!({ "report_data": data.to_vec() })) }
    };
    let session = Session::new(&endpoint, Tee::Snp, source, String::new()).unwrap();
    let error = session.resource(&"kbs:///a/b/c".parse().unwrap()).await.err().unwrap();
    (error, reports.load(Ordering::SeqCst))
}

#[tokio::test]
async fn redirects_are_not_followed() {
    // C11: neither within the host nor to another one.
    let hostile = start(|_| {
        answer("307 Temporary Redirect", "location: https://127.0.0.1:1/kbs/v0/auth\r\n", "")
    })
    .await;
    let (error, _) = ask(&hostile).await;
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    assert_eq!(*hostile.asked.lock().unwrap(), ["/kbs/v0/auth"]);
}

#[tokio::test]
async fn long_answers_are_cut_off() {
    // C13
    let hostile = start(|_| answer("200 OK", "", &"x".repeat(1 << 20))).await;
    let (error, _) = ask(&hostile).await;
    assert!(matches!(error, ClientError::ReplyTooLarge { cap: 65536, .. }), "{error}");

    let hostile = start(|path| attested(path, answer("200 OK", "", &"x".repeat(4 << 20)))).await;
    let (error, _) = ask(&hostile).await;
    assert!(matches!(error, ClientError::ReplyTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn broken_off_answers_are_unreachable() {
    let hostile = start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()).await;
    let (error, _) = ask(&hostile).await;
    assert_eq!(error.code(), Code::BrokerUnreachable, "{error}");
    let hostile = start(|_| Vec::new()).await;
    let (error, _) = ask(&hostile).await;
    assert_eq!(error.code(), Code::BrokerUnreachable, "{error}");
}

#[tokio::test]
async fn malformed_challenges_make_no_report() {
    const COOKIE: &str = "set-cookie: kbs-session-id=00112233445566778899aabbccddeeff\r\n";
    let scripts: [Script; 7] = [
        |_| answer("200 OK", "", r#"{"nonce":"AAAA","extra-params":""}"#),
        |_| answer("200 OK", COOKIE, r#"{"nonce":"","extra-params":""}"#),
        |_| {
            answer(
                "200 OK",
                COOKIE,
                &json!({"nonce": "A".repeat(1025), "extra-params": ""}).to_string(),
            )
        },
        |_| {
            answer(
                "200 OK",
                COOKIE,
                r#"{"nonce":"A","extra-params":{"selected-hash-algorithm":"sm3"}}"#,
            )
        },
        |_| answer("200 OK", COOKIE, "{"),
        |_| {
            answer(
                "200 OK",
                "set-cookie: kbs-session-id=a b\r\n",
                r#"{"nonce":"A","extra-params":""}"#,
            )
        },
        |_| answer("404 Not Found", "", "nothing here"),
    ];
    for script in scripts {
        let hostile = start(script).await;
        let (error, reports) = ask(&hostile).await;
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
        assert_eq!(reports, 0);
    }
}

#[tokio::test]
async fn a_broker_that_never_takes_its_own_token_costs_two_reports() {
    let hostile = start(|path| attested(path, problem("TokenNotFound"))).await;
    let (error, reports) = ask(&hostile).await;
    assert_eq!(error.code(), Code::AttestRefused, "{error}");
    assert_eq!(reports, 2);
}

#[tokio::test]
async fn a_resource_sealed_to_another_key_is_not_taken() {
    // D13
    let hostile = start(|path| {
        let other = TeeKeyPair::generate().unwrap();
        let jwe = Jwe::seal(&Secret::from(vec![1]), other.public_key()).unwrap();
        attested(path, answer("200 OK", "", &serde_json::to_string(&jwe).unwrap()))
    })
    .await;
    let (error, _) = ask(&hostile).await;
    assert!(matches!(error, ClientError::Sealed { .. }), "{error}");
    assert_eq!(error.code(), Code::BrokerUntrusted);
}

#[tokio::test]
async fn an_unsealed_resource_is_not_taken() {
    let hostile = start(|path| attested(path, answer("200 OK", "", "plain secret"))).await;
    let (error, _) = ask(&hostile).await;
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn overload_is_told_from_refusal() {
    let scripts: [Script; 3] = [
        |_| answer("429 Too Many Requests", "retry-after: 1\r\n", "{}"),
        |_| answer("503 Service Unavailable", "", ""),
        |path| attested(path, answer("500 Internal Server Error", "", "")),
    ];
    for script in scripts {
        let hostile = start(script).await;
        let (error, _) = ask(&hostile).await;
        assert_eq!(error.code(), Code::BrokerBusy, "{error}");
        assert!(error.is_transient());
    }
    let hostile = start(|_| problem("AttestationError")).await;
    let (error, _) = ask(&hostile).await;
    assert_eq!(error.code(), Code::AttestRefused);
    assert!(!error.is_transient());
}

#[tokio::test]
async fn plain_http_on_the_port_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(&challenge()).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let ca = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let hostile = Hostile { address, ca, asked: Arc::default(), server };
    let (error, reports) = ask(&hostile).await;
    assert_eq!(error.code(), Code::BrokerUntrusted, "{error:?}");
    assert_eq!(reports, 0);
}

#[tokio::test]
async fn the_time_of_the_first_accepted_evidence_is_known() {
    // E9: refused evidence tells no time, nor does a malformed date.
    const DATE: &str = "date: Mon, 23 Nov 2026 12:00:00 GMT\r\n";
    let scripts: [(Script, Option<u64>); 4] = [
        (|path| dated(path, "200 OK", DATE), Some(1_795_435_200)),
        (|path| dated(path, "200 OK", "date: tomorrow\r\n"), None),
        (|path| dated(path, "200 OK", ""), None),
        (|path| dated(path, "401 Unauthorized", DATE), None),
    ];
    for (script, expected) in scripts {
        let hostile = start(script).await;
        let endpoint = Endpoint::new(&format!("https://{}", hostile.address), &hostile.ca).unwrap();
        let source = |_: [u8; 64]| async { Ok::<Value, EvidenceError>(json!({})) };
        let session = Session::new(&endpoint, Tee::Snp, source, String::new()).unwrap();
        assert_eq!(session.attested_at(), None);
        let _ = session.attest().await;
        let seconds = session
            .attested_at()
            .map(|time| time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds, expected);
    }
}

fn dated(path: &str, status: &str, date: &str) -> Vec<u8> {
    if path == "/kbs/v0/auth" { challenge() } else { answer(status, date, r#"{"token":"t"}"#) }
}

#[tokio::test]
async fn without_evidence_nothing_is_presented() {
    let hostile = start(|path| attested(path, problem("PolicyDeny"))).await;
    let endpoint = Endpoint::new(&format!("https://{}", hostile.address), &hostile.ca).unwrap();
    let none = || EvidenceError::new(Code::TeeQuote, "no device");
    let source = move |_: [u8; 64]| async move { Err::<Value, _>(none()) };
    let session = Session::new(&endpoint, Tee::Snp, source, String::new()).unwrap();
    let error = session.attest().await.unwrap_err();
    // The code is the source's, which alone knows what failed.
    assert_eq!(error.code(), Code::TeeQuote);
    assert_eq!(*hostile.asked.lock().unwrap(), ["/kbs/v0/auth"]);
}
