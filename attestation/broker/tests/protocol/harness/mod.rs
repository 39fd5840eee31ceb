// SPDX-License-Identifier: Apache-2.0
//! A broker on loopback, and guests whose chip is the test's own.

pub(crate) mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use casemate_broker::Broker;
use casemate_broker::Clock;
use casemate_broker::RootChoice;
use casemate_broker::Store;
use casemate_broker::SystemClock;
use casemate_broker::init;
use casemate_broker::serve;
use casemate_evidence::snp::TableEntry;
use casemate_kbs_client::Endpoint;
use casemate_kbs_client::EvidenceError;
use casemate_kbs_client::EvidenceSource;
use casemate_kbs_client::Session;
use casemate_kbs_client::Tee;
use casemate_kbs_protocol::AuditHead;
use casemate_kbs_protocol::ResourcePath;
use casemate_kbs_protocol::Secret;
use casemate_kbs_protocol::host_data;
use casemate_tee_sim::authority;
use casemate_tee_sim::authority::Authority;
use casemate_verifier::Measurement;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const MEASUREMENT: [u8; 48] = [0x3E; 48];
pub(crate) const KEY: &str = "default/key/1";
pub(crate) const KEY_VALUE: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(crate) const INITDATA: &str =
    "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"policy.toml\" = '''x = 1'''\n";

/// A running broker in a folder of its own.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ShiftedClock>,
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

/// The system's clock, some seconds ahead.
#[derive(Default)]
pub(crate) struct ShiftedClock(pub(crate) AtomicU64);

impl Clock for ShiftedClock {
    fn now(&self) -> u64 {
        SystemClock.now() + self.0.load(Ordering::SeqCst)
    }
}

impl Place {
    /// A broker that trusts nothing yet.
    pub(crate) async fn empty() -> Self {
        Self::made(None).await
    }

    /// A broker with this `collateral.toml`, if any.
    pub(crate) async fn made(collateral: Option<&str>) -> Self {
        Self::made_with(collateral, |broker| broker).await
    }

    /// The same, changed before it serves.
    pub(crate) async fn made_with(
        collateral: Option<&str>,
        change: impl FnOnce(Broker) -> Broker,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("broker");
        init(&dir, &["127.0.0.1".to_owned(), "localhost".to_owned()], &SystemClock).await.unwrap();
        if let Some(settings) = collateral {
            std::fs::write(dir.join("collateral.toml"), settings).unwrap();
        }
        let clock = Arc::new(ShiftedClock::default());
        let broker = Broker::open(&dir, Arc::<ShiftedClock>::clone(&clock)).await.unwrap();
        #[cfg(feature = "rego")]
        let broker = broker.with_evaluator(PathBuf::from(env!("CARGO_BIN_EXE_casemate-broker")));
        let broker = change(broker);
        let store = broker.store().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            serve(listener, broker, async { drop(stopped.await) }).await.unwrap();
        });
        Self { dir, address, clock, store, _folder: folder, stop: Some(stop), server: Some(server) }
    }

    /// A broker that accepts the guests of `authority` and has a key for them.
    pub(crate) async fn ready(authority: &Authority) -> Self {
        Self::empty().await.opened(authority).await
    }

    /// The same, which fetches what hosts did not give.
    pub(crate) async fn ready_with(authority: &Authority, collateral: &str) -> Self {
        Self::made(Some(collateral)).await.opened(authority).await
    }

    pub(crate) async fn opened(self, authority: &Authority) -> Self {
        let place = self;
        place.trust(authority).await;
        place.store.add_reference(Measurement(MEASUREMENT)).await.unwrap();
        let value = Secret::from(KEY_VALUE.to_vec());
        place.store.put_resource(&path(KEY), &value).await.unwrap();
        place.store.allow(&path(KEY), &host_data(INITDATA).unwrap()).await.unwrap();
        place
    }

    pub(crate) async fn trust(&self, authority: &Authority) {
        let pem = authority.ark_pem();
        self.store.add_root("test", RootChoice::Simulated, &pem).await.unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) fn ca(&self) -> String {
        std::fs::read_to_string(self.dir.join("ca.pem")).unwrap()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url(""), &self.ca()).unwrap()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.join("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Stops the server and waits for it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.server.take().unwrap().await.unwrap();
    }
}

pub(crate) fn path(text: &str) -> ResourcePath {
    text.parse().unwrap()
}

/// A guest: its chip's authority, what it was launched as, and what its host may do to it.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) authority: Arc<Authority>,
    pub(crate) measurement: [u8; 48],
    pub(crate) initdata: String,
    /// Bytes of the report to change before it is signed.
    pub(crate) before: fn(&mut [u8]),
    /// Bytes of the report to change after it is signed.
    pub(crate) after: fn(&mut [u8]),
    /// HOST_DATA other than the digest of the initdata.
    pub(crate) host_data: Option<[u8; 32]>,
    /// The host gave no certificates.
    pub(crate) without_certificates: bool,
    /// What the host gave beside ASK and VCEK.
    pub(crate) more: Vec<TableEntry>,
    /// How often evidence was made.
    pub(crate) reports: Arc<AtomicUsize>,
    /// Head of its audit log, if it has one.
    pub(crate) head: Arc<Mutex<Option<AuditHead>>>,
}

impl Guest {
    pub(crate) fn new(authority: &Arc<Authority>) -> Self {
        Self {
            authority: Arc::clone(authority),
            measurement: MEASUREMENT,
            initdata: INITDATA.to_owned(),
            before: |_| {},
            after: |_| {},
            host_data: None,
            without_certificates: false,
            more: Vec::new(),
            reports: Arc::default(),
            head: Arc::default(),
        }
    }

    pub(crate) fn report_value(&self, report_data: &[u8; 64]) -> Value {
        self.reports.fetch_add(1, Ordering::SeqCst);
        let host_data =
            self.host_data.unwrap_or_else(|| host_data(&self.initdata).unwrap_or_default());
        let mut report = authority::report(report_data, &self.measurement, &host_data);
        (self.before)(&mut report);
        self.authority.sign(&mut report);
        (self.after)(&mut report);
        let mut evidence = self.authority.evidence(&report);
        if self.without_certificates {
            evidence.certificates.clear();
        }
        evidence.certificates.extend(self.more.iter().cloned());
        evidence.to_json().unwrap()
    }

    pub(crate) fn session(&self, endpoint: &Endpoint) -> Session<Self> {
        Session::new(endpoint, Tee::Snp, self.clone(), self.initdata.clone()).unwrap()
    }
}

impl EvidenceSource for Guest {
    async fn evidence(&self, report_data: [u8; 64]) -> Result<Value, EvidenceError> {
        Ok(self.report_value(&report_data))
    }

    fn audit_head(&self) -> Option<AuditHead> {
        *self.head.lock().unwrap()
    }
}

/// A plain HTTPS client that trusts the broker's CA, for requests that no honest client makes.
pub(crate) fn raw_client(place: &Place) -> reqwest::Client {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let ca = place.ca();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}
