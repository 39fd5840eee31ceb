// SPDX-License-Identifier: Apache-2.0
//! The transport over real connections on loopback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod fake;

use std::sync::Arc;

use casemate_collateral::Cache;
use casemate_collateral::Client;
use casemate_collateral::Endpoint;
use casemate_collateral::Endpoints;
use casemate_collateral::FetchError;
use casemate_collateral::Https;
use casemate_collateral::IntelService;
use casemate_collateral::Part;
use casemate_collateral::Request;
use casemate_collateral::Transport;
use casemate_collateral::TransportError;
use casemate_collateral::Update;

use casemate_evidence::collateral::Collateral;
use fake::Fake;
use fake::NOW;
use fake::intel::Simulated;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

/// Serves HTTP on loopback until the test ends; the base of its URLs.
async fn serve(fake: Fake, tls: Option<TlsAcceptor>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (fake, tls) = (fake.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, &fake).await;
                        }
                    }
                    None => answer(stream, &fake).await,
                }
            });
        }
    });
    base
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, fake: &Fake) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let header = [
        ("/tcb?", "TCB-Info"),
        ("/identity?", "SGX-Enclave-Identity"),
        ("/pckcrl?", "SGX-PCK-CRL"),
    ];
    let header = header.into_iter().find(|(part, _)| path.contains(part)).map(|(_, name)| name);
    let request = Request { url: path, issuer_chain: header, max_bytes: 0 };
    let response = fake.get(&request).await.unwrap();
    let mut reply = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
        response.status,
        response.body.len()
    );
    if let (Some(name), Some(value)) = (header, response.issuer_chain) {
        reply += &format!("{name}-Issuer-Chain: {value}\r\n");
    }
    if let Some(wait) = response.retry_after {
        reply += &format!("retry-after: {wait}\r\n");
    }
    if response.status == 302 {
        reply += "location: /elsewhere\r\n";
    }
    stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
    stream.write_all(&response.body).await.ok();
    stream.shutdown().await.ok();
}

fn acceptor() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

#[tokio::test]
async fn collateral_comes_over_tls_from_a_service_with_a_ca_of_its_own() {
    let simulated = Simulated::new();
    let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    simulated.parts.serve(&fake);
    fake.serve("/rootcacrl", simulated.parts.root_ca_crl.as_bytes());
    let (tls, ca) = acceptor();
    let base = serve(fake.clone(), Some(tls)).await;
    let endpoints = Endpoints {
        intel: IntelService::Pccs(Endpoint::new(&base).unwrap()),
        ..Endpoints::default()
    };
    let client = |ca: &str| {
        let transport = Https::new(ca).unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        Client::new(transport, endpoints.clone(), simulated.anchors(), cache)
    };
    let stranger = client("").tdx(simulated.platform(), Update::Early, NOW).await.unwrap_err();
    assert!(matches!(stranger, FetchError::Unreachable { .. }));
    let found = client(&ca).tdx(simulated.platform(), Update::Early, NOW).await.unwrap();
    assert_eq!(Collateral::from_json(found.json()).unwrap(), *found.collateral());
    assert_eq!(fake.asked().len(), 4);
}

#[tokio::test]
async fn answers_have_caps_and_redirects_are_not_followed() {
    let fake = Fake::default();
    fake.serve("/large", &[0; 1001]);
    fake.serve("/fits", &[0; 1000]);
    fake.answer("/moved", fake::refusal(302, None));
    fake.answer("/busy", fake::refusal(429, Some("7")));
    fake.answer(
        "/tcb?",
        fake::ok(b"x", Some(&"y".repeat(casemate_collateral::MAX_HEADER_BYTES + 1))),
    );
    let base = serve(fake.clone(), None).await;
    let transport = Https::new("").unwrap();
    let get = async |path: &str| {
        let issuer_chain = path.contains("tcb?").then_some("TCB-Info-Issuer-Chain");
        transport
            .get(&Request { url: format!("{base}{path}"), issuer_chain, max_bytes: 1000 })
            .await
    };
    assert_eq!(get("/fits").await.unwrap().body.len(), 1000);
    let large = get("/large").await.unwrap_err();
    assert!(matches!(large, TransportError::TooLarge { part: Part::Body, cap: 1000 }));
    let header = get("/tcb?x").await.unwrap_err();
    assert!(matches!(header, TransportError::TooLarge { part: Part::Header, .. }));
    assert_eq!(get("/moved").await.unwrap().status, 302);
    assert_eq!(get("/busy").await.unwrap().retry_after.as_deref(), Some("7"));
    assert!(!fake.asked().iter().any(|path| path.contains("elsewhere")));
    assert!(Https::new("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
}
