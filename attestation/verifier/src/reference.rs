// SPDX-License-Identifier: Apache-2.0
//! Signed bundles of reference values: which launch measurements are good, who says so, and until
//! when.
//!
//! A bundle is a JSON file with detached signatures beside it. Each is ECDSA on P-384 with SHA-384
//! over the file's bytes, ASN.1, as `openssl dgst -sha384 -sign` makes it: the same as those of a
//! guest image's `reference-values.json`, which a bundle takes in whole under `images`.
//!
//! ```json
//! {"format": 1, "name": "guest", "version": 7, "expires": "2027-01-01T00:00:00Z",
//!  "images": [], "values": {"tdx_mrtd": ["<96 hexadecimal digits>"]}}
//! ```
//!
//! # Security
//!
//! The version only rises: who keeps the highest one seen refuses a rollback to a bundle that still
//! lists a guest with a known hole. The expiry bounds how long a host can withhold a newer bundle.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_evidence::json;
use ring::signature::ECDSA_P384_SHA384_ASN1;
use ring::signature::UnparsedPublicKey;
use serde::Deserialize;

use crate::Measurement;
use crate::Moment;
use crate::ReferenceValues;

mod key;

pub use key::PublicKey;
pub use key::PublicKeyError;

/// Whose signatures a bundle needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    keys: Vec<PublicKey>,
    threshold: usize,
}

/// A bundle that enough signers signed and that has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    name: String,
    version: u64,
    expires: u64,
    values: ReferenceValues,
}

impl Signers {
    /// Signers of whom `threshold` must have signed.
    ///
    /// # Errors
    ///
    /// [`BundleError::Threshold`] when nobody or more than all must sign, or a key stands twice.
    pub fn new(keys: Vec<PublicKey>, threshold: usize) -> Result<Self, BundleError> {
        let distinct: BTreeSet<&PublicKey> = keys.iter().collect();
        if threshold == 0 || threshold > keys.len() || distinct.len() != keys.len() {
            return Err(BundleError::Threshold);
        }
        Ok(Self { keys, threshold })
    }

    /// How many of the keys have a signature of `message` among `signatures`.
    fn count(&self, message: &[u8], signatures: &[Vec<u8>]) -> usize {
        let signed = |key: &&PublicKey| {
            signatures.iter().any(|signature| {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key.point())
                    .verify(message, signature)
                    .is_ok()
            })
        };
        self.keys.iter().filter(signed).count()
    }
}

impl Bundle {
    /// Reads a bundle. Nothing of it is looked at before its signatures.
    ///
    /// # Errors
    ///
    /// [`BundleError`] when too few signers signed these bytes, or the bundle is over a cap,
    /// malformed, expired at `now` (seconds since 1970) or of a lower version than `min_version`.
    pub fn open(
        bytes: &[u8],
        signatures: &[Vec<u8>],
        signers: &Signers,
        min_version: u64,
        now: u64,
    ) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES || signatures.len() > MAX_SIGNATURES {
            return Err(BundleError::TooLarge);
        }
        let signed = signers.count(bytes, signatures);
        if signed < signers.threshold {
            return Err(BundleError::Signatures { signed, threshold: signers.threshold });
        }
        let file: File = json::from_slice(bytes).map_err(|source| BundleError::Json { source })?;
        if file.format != FORMAT || file.images.iter().any(|image| image.format != FORMAT) {
            return Err(BundleError::Format);
        }
        if file.version < min_version {
            return Err(BundleError::Rollback { version: file.version, min_version });
        }
        let expires = Moment::parse(&file.expires).ok_or(BundleError::Expiry)?.0;
        if now >= expires {
            return Err(BundleError::Expired { expires: file.expires });
        }
        let mut values = file.values;
        for (name, value) in file.images.into_iter().flat_map(Image::values) {
            values.entry(name).or_default().insert(value);
        }
        Ok(Self { name: file.name, version: file.version, expires, values })
    }

    /// What it is for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, to be kept as the least one from now on.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The first second at which it is good no more, since 1970.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The values by the name of their set. Those of guest images are in [`SNP_LAUNCH`], [`TDX_MRTD`]
    /// and `tdx_rtmr0` to `tdx_rtmr3`.
    #[must_use]
    pub fn values(&self) -> &ReferenceValues {
        &self.values
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    name: String,
    version: u64,
    expires: String,
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    values: ReferenceValues,
}

/// `reference-values.json` of a guest image.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    format: u32,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "parts")]
    _parts: BTreeMap<String, Part>,
    #[serde(rename = "descriptions")]
    _descriptions: BTreeMap<String, Part>,
    snp: Vec<SnpImage>,
    #[serde(default)]
    tdx: Option<TdxImage>,
}

impl Image {
    /// Each value under the name of the set that it goes into.
    fn values(self) -> impl Iterator<Item = (String, Measurement)> {
        let launches = self.snp.into_iter().flat_map(|snp| snp.launch_digests);
        let launches = launches.map(|digest| (SNP_LAUNCH.to_owned(), digest));
        let tdx = self.tdx.into_iter().flat_map(|tdx| {
            let mrtd = [tdx.mrtd, tdx.mrtd_two_pass].map(|mrtd| (TDX_MRTD.to_owned(), mrtd));
            let rtmrs = tdx.rtmrs.into_iter().map(|(name, value)| (format!("tdx_{name}"), value));
            mrtd.into_iter().chain(rtmrs)
        });
        launches.chain(tdx)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(rename = "sha256")]
    _sha256: String,
    #[serde(rename = "size")]
    _size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnpImage {
    #[serde(rename = "vcpu_types")]
    _vcpu_types: Vec<String>,
    #[serde(rename = "guest_features")]
    _guest_features: u64,
    launch_digests: Vec<Measurement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TdxImage {
    mrtd: Measurement,
    mrtd_two_pass: Measurement,
    rtmrs: BTreeMap<String, Measurement>,
    #[serde(rename = "not_shown")]
    _not_shown: BTreeMap<String, String>,
}

/// A bundle is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Nobody or more than all must sign, or a key stands twice.
    #[error("the threshold is not from 1 to the number of distinct keys")]
    Threshold,
    /// The bundle is over a cap.
    #[error("a bundle has at most {MAX_BUNDLE_BYTES} bytes and {MAX_SIGNATURES} signatures")]
    TooLarge,
    /// Too few signers signed it.
    #[error("{signed} of the signers signed the bundle, {threshold} must have")]
    Signatures {
        /// How many did.
        signed: usize,
        /// How many must have.
        threshold: usize,
    },
    /// The bundle is malformed.
    #[error("the bundle is malformed")]
    Json {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The bundle has another format.
    #[error("the bundle, or an image in it, has another format than {FORMAT}")]
    Format,
    /// The bundle is older than one that was accepted before.
    #[error("the bundle has version {version}, at least {min_version} is accepted")]
    Rollback {
        /// Of the bundle.
        version: u64,
        /// The least one.
        min_version: u64,
    },
    /// The time of expiry is no time.
    #[error("the bundle's time of expiry is not of the form 2027-01-01T00:00:00Z")]
    Expiry,
    /// The bundle has expired.
    #[error("the bundle expired at {expires}")]
    Expired {
        /// When.
        expires: String,
    },
}

impl BundleError {
    /// What the reader can do next, one sentence without a full stop.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Threshold => "name each key once, and a threshold from 1 to their number",
            Self::TooLarge => "split the bundle by what its values are for",
            Self::Signatures { .. } => {
                "get the signatures that belong to exactly these bytes, of as many of the policy's \
                 signers as its threshold says"
            }
            Self::Json { .. } | Self::Format | Self::Expiry => {
                "have its signers correct the bundle and sign it anew; \
                 docs/how-to/verify-evidence.md has its form"
            }
            Self::Rollback { .. } => {
                "get the newest bundle; one below the policy's min-version may list guests with \
                 known holes"
            }
            Self::Expired { .. } => {
                "get a newer bundle from its signers; if there is none, ask them, and check the clock"
            }
        }
    }
}

const FORMAT: u32 = 1;

/// Name of the set with the launch digests of SNP guests; it is the ecosystem's.
pub const SNP_LAUNCH: &str = "snp_launch_measurement";

/// The set of a guest image's MRTDs. Those of its registers are `tdx_rtmr0` to `tdx_rtmr3`.
pub const TDX_MRTD: &str = "tdx_mrtd";

/// Largest bundle that is read, bytes: some guest images of 4 MiB at most.
pub const MAX_BUNDLE_BYTES: usize = 16 << 20;

/// Most signatures beside a bundle.
const MAX_SIGNATURES: usize = 16;

#[cfg(test)]
mod tests;
