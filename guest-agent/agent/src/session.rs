// SPDX-License-Identifier: Apache-2.0
//! The guest's one attested session with the broker, and what comes through it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_pull::BadReference;
use casemate_image_pull::KeySource;
use casemate_image_pull::KeyUnavailable;
use casemate_image_pull::PinnedReference;
use casemate_image_pull::PullError;
use casemate_image_pull::PullRequest;
use casemate_image_pull::Puller;
use casemate_image_pull::Settings;
use casemate_image_pull::SignerKey;
use casemate_kbs_client::ClientError;
use casemate_kbs_client::Endpoint;
use casemate_kbs_client::EvidenceError;
use casemate_kbs_client::EvidenceSource;
use casemate_kbs_client::Session;
use casemate_kbs_protocol::AuditHead;
use casemate_kbs_protocol::ResourceUri;
use casemate_kbs_protocol::Secret;
use casemate_policy::Encryption;
use casemate_policy::ImageRef;

use crate::audit::Audit;
use crate::backend::Attest;
use crate::backend::FetchSecrets;
use crate::backend::PullFailure;
use crate::backend::PullImages;
use crate::backend::PullProgress;
use crate::backend::PulledImage;
use crate::boot::Launch;
use crate::boot::chain;
use crate::boot::clock;
use crate::evidence::TeeEvidence;
use crate::logins::Logins;
use crate::resolver::GuestResolver;

/// Where unpacked images lie: in the guest's memory.
const IMAGES: &str = "/run/casemate/images";
/// Attempts to attest while the broker is busy or away, and the pause before the second; it
/// doubles each time. Each attempt has deadlines of its own.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// The session with the broker of the initdata.
pub(crate) struct Broker {
    session: Session<Evidence>,
}

/// Evidence of the guest, with the head of its audit log.
struct Evidence {
    tee: TeeEvidence,
    audit: Arc<Audit>,
}

impl EvidenceSource for Evidence {
    async fn evidence(&self, report_data: [u8; 64]) -> Result<serde_json::Value, EvidenceError> {
        self.tee.evidence(report_data).await
    }

    fn audit_head(&self) -> Option<AuditHead> {
        Some(self.audit.head())
    }
}

impl Broker {
    /// Prepares the session; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the broker's settings in the initdata cannot be used.
    pub(crate) fn new(launch: &Launch, audit: Arc<Audit>) -> Result<Self, ApiError> {
        let broker = &launch.config.broker;
        let endpoint = Endpoint::new(&broker.url, &broker.ca)
            .map_err(|error| ApiError::new(error.code(), chain(&error)))?;
        let tee = TeeEvidence::from(launch.source);
        let evidence = Evidence { tee, audit };
        let session = Session::new(&endpoint, tee.tee(), evidence, launch.initdata.clone())
            .map_err(|error| ApiError::new(error.code(), chain(&error)))?;
        Ok(Self { session })
    }
}

#[async_trait]
impl Attest for Broker {
    async fn attest(&self) -> Result<(), ApiError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.session.attest().await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = chain(&error), "broker does not answer; trying again");
                }
                result => return self.attested(result),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let result = self.session.attest().await;
        self.attested(result)
    }

    async fn refresh(&self) -> Result<(), ApiError> {
        // A broker that took no head the first time takes none now.
        if self.session.attested_head().is_none() {
            return Ok(());
        }
        let refreshed = self.session.refresh().await;
        refreshed.map_err(|error| ApiError::new(error.code(), chain(&error)))
    }
}

impl Broker {
    /// E9: what follows, the registries' certificates among it, is judged at the owner's time if the
    /// host's is before it.
    fn attested(&self, result: Result<(), ClientError>) -> Result<(), ApiError> {
        result.map_err(|error| ApiError::new(error.code(), chain(&error)))?;
        let known = self.session.attested_at().and_then(|time| {
            time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
        });
        let Some(known) = known else { return Ok(()) };
        clock::raise(known).map_err(|error| ApiError::new(Code::GuestClock, chain(&error)))
    }
}

#[async_trait]
impl KeySource for Broker {
    async fn key(&self, kid: &Kid) -> Result<Kek, KeyUnavailable> {
        let unavailable = |code, reason: &dyn Display| KeyUnavailable {
            kid: kid.clone(),
            code,
            reason: reason.to_string(),
        };
        let uri: ResourceUri =
            kid.as_str().parse().map_err(|e| unavailable(Code::ImageInvalid, &e))?;
        let secret = self.session.resource(&uri).await;
        let secret = secret.map_err(|e| unavailable(e.code(), &chain(&e)))?;
        Kek::try_from(secret.expose()).map_err(|e| unavailable(Code::ResourceMissing, &e))
    }
}

#[async_trait]
impl FetchSecrets for Broker {
    async fn fetch(&self, resource: &ResourceUri) -> Result<Secret, ApiError> {
        let secret = self.session.resource(resource).await;
        secret.map_err(|error| ApiError::new(error.code(), chain(&error)))
    }
}

/// Pulls images with keys of the session.
pub(crate) struct GuestPuller {
    puller: Puller,
    logins: Logins,
    broker: Arc<Broker>,
    /// Keys that sign images, by their name in the initdata.
    signers: BTreeMap<String, SignerKey>,
    pulls: AtomicU64,
}

impl GuestPuller {
    /// Prepares pulls as the initdata says; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the registries' settings or a key in the initdata cannot be used.
    pub(crate) fn new(
        launch: &Launch,
        broker: Arc<Broker>,
        resolver: Arc<GuestResolver>,
    ) -> Result<Self, ApiError> {
        let settings = Settings {
            registries: launch.config.registries.clone(),
            resolver: Some(resolver),
            ..Settings::default()
        };
        let puller = Puller::new(settings)
            .map_err(|error| ApiError::new(Code::InitdataInvalid, chain(&error)))?;
        std::fs::create_dir_all(IMAGES).map_err(|error| ApiError::new(Code::Internal, error))?;
        let mut signers = BTreeMap::new();
        for (name, signature) in &launch.config.image_signatures {
            let key = SignerKey::from_pem(&signature.key).map_err(|error| {
                ApiError::new(
                    Code::InitdataInvalid,
                    format_args!("image_signatures.{name}: {error}"),
                )
            })?;
            signers.insert(name.clone(), key);
        }
        let logins = Logins::new(launch.config.registry_credentials.clone());
        Ok(Self { puller, logins, broker, signers, pulls: AtomicU64::new(0) })
    }
}

fn pinned(image: &ImageRef) -> Result<PinnedReference, PullFailure> {
    image.to_string().parse().map_err(|error: BadReference| PullFailure {
        error: ApiError::new(Code::InitdataInvalid, error),
        is_transient: false,
    })
}

fn failure(error: &PullError) -> PullFailure {
    PullFailure {
        error: ApiError::new(error.code(), chain(error)),
        is_transient: error.is_transient(),
    }
}

#[async_trait]
impl PullImages for GuestPuller {
    async fn pull(
        &self,
        image: &ImageRef,
        encryption: Encryption,
        progress: &PullProgress,
    ) -> Result<PulledImage, PullFailure> {
        let reference = pinned(image)?;
        self.logins.give(&self.puller, &reference, &*self.broker).await?;
        // One directory per attempt; a registry's name does not belong into a path.
        let number = self.pulls.fetch_add(1, Ordering::Relaxed);
        let destination = PathBuf::from(IMAGES).join(number.to_string());
        let request = PullRequest { image: reference, encryption, destination };
        let pulled = self.puller.pull(&request, &*self.broker, progress).await;
        let pulled = pulled.map_err(|error| failure(&error))?;
        Ok(PulledImage { rootfs: pulled.rootfs })
    }

    async fn check_signature(&self, image: &ImageRef, signer: &str) -> Result<(), PullFailure> {
        // The documents were compared at boot; a name without a key stays a refusal.
        let unknown = || PullFailure {
            error: ApiError::new(Code::ImageSignature, format_args!("{signer:?} names no key")),
            is_transient: false,
        };
        let key = self.signers.get(signer).ok_or_else(unknown)?;
        let reference = pinned(image)?;
        self.logins.give(&self.puller, &reference, &*self.broker).await?;
        let checked = self.puller.verify_signature(&reference, key).await;
        checked.map_err(|error| failure(&error))
    }
}
