// SPDX-License-Identifier: Apache-2.0
//! Whoever answers in the place of a broker: TLS on loopback under a CA of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::TeeKeyPair;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What an impostor does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Gives a challenge.
    Challenge,
    /// The same, with TLS 1.2 alone.
    ChallengeOverTls12,
    /// Gives a challenge, then each request's own body.
    Reflect,
    /// Gives a challenge, a token, and a resource that is sealed to another key.
    SealToOther,
}

/// A server that is not the broker.
pub(crate) struct Impostor {
    pub(crate) address: SocketAddr,
    ca: String,
    requests: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Impostor {
    /// Starts it on a free port.
    pub(crate) async fn start(answers: Answers) -> anyhow::Result<Self> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .map_err(anyhow::Error::msg)?;
        let versions: &[&rustls::SupportedProtocolVersion] = match answers {
            Answers::ChallengeOverTls12 => &[&rustls::version::TLS12],
            _ => rustls::DEFAULT_VERSIONS,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut tls) = acceptor.accept(stream).await else { continue };
                let Some((path, body)) = read(&mut tls).await else { continue };
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = tls.write_all(&answer(answers, &path, &body)).await;
                let _ = tls.shutdown().await;
            }
        });
        Ok(Self { address, ca: certified.cert.pem(), requests, server })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Its own CA, for guests that trust it.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// How many requests came through TLS.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(answers: Answers, path: &str, body: &str) -> Vec<u8> {
    let challenge = r#"{"nonce":"AAAA","extra-params":""}"#;
    let body = match (path.rsplit('/').next(), answers) {
        (Some("auth"), _) => challenge.to_owned(),
        (Some("attest"), Answers::SealToOther) => r#"{"token":"t"}"#.to_owned(),
        (_, Answers::SealToOther) => sealed_to_other().unwrap_or_default(),
        _ => body.to_owned(),
    };
    let cookie = "set-cookie: kbs-session-id=00112233445566778899aabbccddeeff; Path=/\r\n";
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\n{cookie}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn sealed_to_other() -> Option<String> {
    let other = TeeKeyPair::generate().ok()?;
    let jwe = Jwe::seal(&Secret::from(vec![1; 32]), other.public_key()).ok()?;
    serde_json::to_string(&jwe).ok()
}

/// Path and body of one request.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&chunk[..count]);
        let head = String::from_utf8_lossy(&text).into_owned();
        let Some(end) = head.find("\r\n\r\n") else { continue };
        let length = head[..end].lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
        });
        if text.len() >= end + 4 + length.unwrap_or(0) {
            let path = head.split(' ').nth(1)?.to_owned();
            return Some((path, head[end + 4..].to_owned()));
        }
    }
}
