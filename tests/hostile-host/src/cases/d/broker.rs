// SPDX-License-Identifier: Apache-2.0
//! The owner's broker, in this process on loopback, and guests on simulated chips.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_broker::Broker;
use casemate_broker::Clock;
use casemate_broker::RootChoice;
use casemate_broker::Store;
use casemate_broker::SystemClock;
use casemate_broker::init;
use casemate_broker::serve;
use casemate_kbs_client::ClientError;
use casemate_kbs_client::Endpoint;
use casemate_kbs_client::EvidenceError;
use casemate_kbs_client::EvidenceSource;
use casemate_kbs_client::Session;
use casemate_kbs_client::Tee;
use casemate_kbs_protocol::HashAlgorithm;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::TeeKeyPair;
use casemate_kbs_protocol::host_data;
use casemate_kbs_protocol::report_data;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::snp::Options;
use casemate_tee_sim::mint::snp::Product;
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_verifier::Measurement;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::mint;

/// The launch digest that the broker knows.
pub(crate) const MEASUREMENT: [u8; 48] = [0x3e; 48];
/// The resource that the owner's pod may have.
pub(crate) const KEY: &str = "default/key/1";
/// What it is.
pub(crate) const VALUE: &[u8] = b"0123456789abcdef0123456789abcdef";
/// The owner's initdata.
pub(crate) const INITDATA: &str =
    "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"policy.toml\" = '''x = 1'''\n";

/// A running broker in a folder of its own, which ends with this.
pub(crate) struct Owner {
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    clock: Arc<Shifted>,
    _folder: tempfile::TempDir,
    server: JoinHandle<()>,
}

/// The system's clock, some seconds off: the broker's own, which no host sets.
#[derive(Default)]
struct Shifted {
    ahead: AtomicU64,
    behind: AtomicU64,
}

impl Clock for Shifted {
    fn now(&self) -> u64 {
        let now = SystemClock.now().saturating_add(self.ahead.load(Ordering::SeqCst));
        now.saturating_sub(self.behind.load(Ordering::SeqCst))
    }
}

impl Owner {
    /// A broker that trusts the minter's root, knows one launch digest, and grants one key to one
    /// initdata.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("broker");
        init(&dir, &["127.0.0.1".to_owned(), "localhost".to_owned()], &SystemClock).await?;
        let clock = Arc::new(Shifted::default());
        let broker = Broker::open(&dir, Arc::<Shifted>::clone(&clock)).await?;
        let store = broker.store().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            let _ = serve(listener, broker, std::future::pending()).await;
        });
        let owner = Self { dir, address, store, clock, _folder: folder, server };
        let root = mint::text(&mint::snp(&[])?, Role::Root)?.to_owned();
        owner.store.add_root("minted", RootChoice::Simulated, &root).await?;
        owner.store.add_reference(Measurement(MEASUREMENT)).await?;
        owner.store.put_resource(&KEY.parse()?, &Secret::from(VALUE.to_vec())).await?;
        owner.store.allow(&KEY.parse()?, &host_data(INITDATA)?).await?;
        Ok(owner)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// The CA that the owner pins in the initdata.
    pub(crate) fn ca(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.dir.join("ca.pem"))?)
    }

    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint::new(&self.url(""), &self.ca()?)?)
    }

    /// Lets the broker's time go on.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sets the broker's clock back.
    pub(crate) fn set_back(&self, seconds: u64) {
        self.clock.behind.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The audit log's records.
    pub(crate) fn audit(&self) -> anyhow::Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.dir.join("audit.jsonl"))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// How often the key was released.
    pub(crate) fn releases(&self) -> anyhow::Result<usize> {
        let audit = self.audit()?;
        Ok(audit.iter().filter(|entry| entry["outcome"] == "released").count())
    }

    /// The claims that the last attestation was refused for.
    pub(crate) fn refused_claims(&self) -> anyhow::Result<Vec<String>> {
        let audit = self.audit()?;
        let last = audit.iter().rev().find(|entry| entry["event"] == "attest");
        let last = last.context("no attestation in the audit log")?;
        ensure!(last["outcome"] == "refused", "the last attestation was {}", last["outcome"]);
        let lines = last["verdict"].as_array().into_iter().flatten();
        let refused = lines.filter(|line| line["outcome"] == "refused");
        Ok(refused.filter_map(|line| Some(line["claim"].as_str()?.to_owned())).collect())
    }

    /// A guest that speaks the protocol by hand: an attacker with a network and a key of its own.
    pub(crate) fn by_hand(&self, guest: Guest) -> anyhow::Result<ByHand> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca()?.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        let base = self.url("");
        Ok(ByHand { client, base, guest, key: TeeKeyPair::generate()? })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A guest: what it was launched as, and what its host did to the evidence.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) measurement: [u8; 48],
    pub(crate) initdata: String,
    /// HOST_DATA other than the digest of the initdata.
    pub(crate) host_data: Option<[u8; 32]>,
    pub(crate) product: Product,
    pub(crate) faults: Vec<SnpFault>,
    /// How often evidence was made.
    pub(crate) reports: Arc<AtomicUsize>,
}

impl Guest {
    /// The owner's pod on an honest host.
    pub(crate) fn honest() -> Self {
        Self {
            measurement: MEASUREMENT,
            initdata: INITDATA.to_owned(),
            host_data: None,
            product: Product::Genoa,
            faults: Vec::new(),
            reports: Arc::default(),
        }
    }

    /// Its evidence over these bytes.
    pub(crate) fn evidence_over(&self, report_data: [u8; 64]) -> anyhow::Result<Value> {
        self.reports.fetch_add(1, Ordering::SeqCst);
        let host_data = match self.host_data {
            Some(other) => other,
            None => host_data(&self.initdata)?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let options = Options {
            report_data,
            host_data,
            measurement: self.measurement,
            // A day is one period of certificates, so that signatures are made once.
            ..Options::new(self.product, now - now % 86_400)
        };
        let minted = options.mint(mint::keys(), &self.faults)?;
        Ok(mint::snp_evidence(&minted)?.to_json()?)
    }

    /// The agent's session with a broker.
    pub(crate) fn session(&self, endpoint: &Endpoint) -> anyhow::Result<Session<Self>> {
        Ok(Session::new(endpoint, Tee::Snp, self.clone(), self.initdata.clone())?)
    }

    /// What the guest gets for the key.
    pub(crate) async fn fetch(&self, owner: &Owner) -> Result<Vec<u8>, ClientError> {
        let session = self.session(&owner.endpoint().unwrap()).unwrap();
        let secret = session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await?;
        Ok(secret.expose().to_vec())
    }

    /// Fails unless the broker refuses the guest's evidence for these claims and releases nothing.
    pub(crate) async fn refused(&self, owner: &Owner, claims: &[&str]) -> anyhow::Result<()> {
        let before = owner.releases()?;
        let error = self.fetch(owner).await.err().context("the guest got the key")?;
        ensure!(error.code() == Code::AttestRefused, "{error}");
        let found = owner.refused_claims()?;
        ensure!(found == claims, "refused for {found:?} instead of {claims:?}");
        ensure!(owner.releases()? == before, "refused, and the key was released");
        Ok(())
    }
}

impl EvidenceSource for Guest {
    async fn evidence(&self, report_data: [u8; 64]) -> Result<Value, EvidenceError> {
        let failed = |error: anyhow::Error| EvidenceError::new(Code::TeeReport, format!("{error}"));
        self.evidence_over(report_data).map_err(failed)
    }
}

/// Whoever speaks the protocol by hand.
pub(crate) struct ByHand {
    client: reqwest::Client,
    base: String,
    pub(crate) guest: Guest,
    pub(crate) key: TeeKeyPair,
}

/// What the broker answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cookie: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    /// Fails unless the broker refused, as this type of problem.
    pub(crate) fn refused(&self, kind: &str) -> anyhow::Result<()> {
        ensure!(self.status != 200, "accepted: {}", self.body);
        let found = self.body["type"].as_str().unwrap_or_default();
        ensure!(found.ends_with(&format!("/{kind}")), "refused as {found}: {}", self.body);
        Ok(())
    }
}

impl ByHand {
    pub(crate) async fn post(
        &self,
        path: &str,
        session: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let request = self.client.post(format!("{}/kbs/v0/{path}", self.base));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let request = match session {
            Some(id) => request.header("cookie", format!("kbs-session-id={id}")),
            None => request,
        };
        answer(request.send().await?).await
    }

    /// `POST /auth`: session and nonce.
    pub(crate) async fn challenge(&self) -> anyhow::Result<(String, String)> {
        let hello = json!({ "version": "0.4.0", "tee": "snp", "extra-params": "" });
        let answer = self.post("auth", None, &hello).await?;
        ensure!(answer.status == 200, "no challenge: {}", answer.body);
        let session = answer.cookie.context("no session")?;
        let nonce = answer.body["nonce"].as_str().context("no nonce")?;
        Ok((session, nonce.to_owned()))
    }

    /// A body of `POST /attest`: evidence over `bound` for a nonce, with a key beside it.
    pub(crate) fn attestation(
        &self,
        nonce: &str,
        bound: &TeeKeyPair,
        beside: &TeeKeyPair,
    ) -> anyhow::Result<Value> {
        let bound = report_data(nonce, bound.public_key(), HashAlgorithm::Sha384, "")?;
        Ok(json!({
            "init-data": { "format": "toml", "body": self.guest.initdata },
            "runtime-data": { "nonce": nonce, "tee-pubkey": beside.public_key() },
            "tee-evidence": {
                "primary_evidence": self.guest.evidence_over(bound)?,
                "additional_evidence": "",
            },
        }))
    }

    /// An honest handshake: session and token.
    pub(crate) async fn handshake(&self) -> anyhow::Result<(String, String)> {
        let (session, nonce) = self.challenge().await?;
        let body = self.attestation(&nonce, &self.key, &self.key)?;
        let answer = self.post("attest", Some(&session), &body).await?;
        ensure!(answer.status == 200, "refused: {}", answer.body);
        let token = answer.body["token"].as_str().context("no token")?;
        Ok((session, token.to_owned()))
    }

    /// `GET /resource` of the key, with a token.
    pub(crate) async fn resource(&self, token: &str) -> anyhow::Result<Answer> {
        let url = format!("{}/kbs/v0/resource/{KEY}", self.base);
        let request = self.client.get(url).header("authorization", format!("Bearer {token}"));
        answer(request.send().await?).await
    }
}

async fn answer(response: reqwest::Response) -> anyhow::Result<Answer> {
    let status = response.status().as_u16();
    let cookie = response.headers().get("set-cookie").and_then(|value| {
        let (name, value) = value.to_str().ok()?.split(';').next()?.split_once('=')?;
        (name == "kbs-session-id").then(|| value.to_owned())
    });
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, cookie, body })
}
