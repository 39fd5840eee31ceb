// SPDX-License-Identifier: Apache-2.0
//! A registry on loopback that answers as a test tells it, byte by byte.

#![allow(dead_code, unreachable_pub, reason = "shared by several test binaries")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers, trait objects")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in every binary")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use casemate_image_crypt::Digest;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_crypt::encrypt_layer;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as the registry saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    /// How often the same path was asked for before.
    pub before: usize,
}

/// What the registry answers.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// `Content-Length`, if not that of the body.
    pub length: Option<usize>,
    /// Sends so much of the body and then ends the connection.
    pub stop_at: Option<usize>,
    /// Waits so long before each further 100 bytes of the body.
    pub pause: Option<Duration>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![],
            body: body.into(),
            length: None,
            stop_at: None,
            pause: None,
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(307, "").header("Location", to)
    }
}

/// A certificate authority of a test.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for loopback, PEM.
    pub fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate =
            CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

type Handler = dyn Fn(&Seen) -> Option<Reply> + Send + Sync;

/// A running registry; ends when dropped.
pub struct Registry {
    pub host: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Registry {
    /// Serves `content` by path, except where `handler` answers itself.
    pub async fn start(
        ca: &Ca,
        content: BTreeMap<String, Reply>,
        handler: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::PrivateKeyDer;
        use rustls::pki_types::pem::PemObject as _;
        let (certificate, key) = ca.issue();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::new(content), Arc::clone(&seen), Arc::new(handler) as Arc<Handler>);
        let task = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        let _ = serve(stream, &shared.0, &shared.1, &*shared.2).await;
                    }
                });
            }
        });
        Self { host, seen, task }
    }

    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|s| s.path.contains(path)).cloned().collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    content: &BTreeMap<String, Reply>,
    log: &Mutex<Vec<Seen>>,
    handler: &Handler,
) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let header = |name: &str| {
            text.lines().find_map(|l| {
                let (key, value) = l.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let seen = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|s| s.path == path).count();
            let (authorization, range) = (header("authorization"), header("range"));
            log.push(Seen { path, authorization, range, before });
            log.last().cloned().unwrap()
        };
        let reply = handler(&seen)
            .or_else(|| content.get(&seen.path).map(|r| ranged(r, &seen)))
            .unwrap_or_else(|| Reply::new(404, "{}"));
        let length = reply.length.unwrap_or(reply.body.len());
        let mut head = format!("HTTP/1.1 {} x\r\nContent-Length: {length}\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        let body = &reply.body[..reply.stop_at.unwrap_or(reply.body.len())];
        match reply.pause {
            None => stream.write_all(body).await?,
            Some(pause) => {
                for part in body.chunks(100) {
                    stream.write_all(part).await?;
                    stream.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
        }
        stream.flush().await?;
        if reply.stop_at.is_some() || length != reply.body.len() {
            return stream.shutdown().await;
        }
    }
}

/// What an honest registry answers to a range request.
fn ranged(reply: &Reply, seen: &Seen) -> Reply {
    let start = seen.range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(start) = start.and_then(|s| s.parse::<usize>().ok()) else { return reply.clone() };
    let size = reply.body.len();
    Reply::new(206, &reply.body[start..])
        .header("Content-Range", format!("bytes {start}-{}/{size}", size - 1))
}

/// An image being made.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Value>,
    pub diff_ids: Vec<String>,
    pub config: Value,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const KID: &str = "kbs:///default/key/1";

impl Image {
    pub fn new() -> Self {
        let config = json!({"architecture": "amd64", "os": "linux",
            "config": {"Env": ["A=b"], "Entrypoint": ["/bin/app"], "User": "web"}});
        Self { layers: vec![], diff_ids: vec![], config, blobs: BTreeMap::new() }
    }

    /// Adds a layer, compressed with gzip.
    pub fn layer(self, archive: &[u8]) -> Self {
        let blob = gzip(archive);
        self.blob_layer(GZIP, blob, Digest::of(archive))
    }

    /// Adds a layer encrypted under `kek`.
    pub fn encrypted_layer(mut self, archive: &[u8], kek: &Kek) -> Self {
        let plain = gzip(archive);
        let kid: Kid = KID.parse().unwrap();
        let mut blob = Vec::new();
        let sealed =
            encrypt_layer(plain.as_slice(), &mut blob, Digest::of(&plain), &kid, kek).unwrap();
        self = self.blob_layer(&format!("{GZIP}+encrypted"), blob, Digest::of(archive));
        self.layers.last_mut().unwrap()["annotations"] = json!(sealed.annotations);
        self
    }

    pub fn blob_layer(mut self, media_type: &str, blob: Vec<u8>, diff_id: Digest) -> Self {
        let digest = Digest::of(&blob);
        self.layers.push(json!({"mediaType": media_type, "digest": digest, "size": blob.len()}));
        self.diff_ids.push(diff_id.to_string());
        self.blobs.insert(digest, blob);
        self
    }

    pub fn config_bytes(&self) -> Vec<u8> {
        let mut config = self.config.clone();
        config["rootfs"] = json!({"type": "layers", "diff_ids": self.diff_ids});
        config.to_string().into_bytes()
    }

    pub fn manifest(&self) -> Value {
        let config = self.config_bytes();
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": self.layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(&config), "size": config.len()}})
    }

    pub fn digest(&self) -> Digest {
        Digest::of(self.manifest().to_string().as_bytes())
    }

    /// What a registry serves of it.
    pub fn content(&self) -> BTreeMap<String, Reply> {
        let config = self.config_bytes();
        let manifest = self.manifest().to_string();
        let typed = Reply::new(200, manifest.clone()).header("Content-Type", MANIFEST);
        let mut content = BTreeMap::new();
        content.insert(manifest_path(&self.digest().to_string()), typed.clone());
        content.insert(manifest_path("tag"), typed);
        content.insert(blob_path(&Digest::of(&config)), Reply::new(200, config));
        for (digest, blob) in &self.blobs {
            content.insert(blob_path(digest), Reply::new(200, blob.clone()));
        }
        content
    }
}

pub fn manifest_path(reference: &str) -> String {
    format!("/v2/app/manifests/{reference}")
}

pub fn blob_path(digest: &Digest) -> String {
    format!("/v2/app/blobs/{digest}")
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
