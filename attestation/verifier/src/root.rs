// SPDX-License-Identifier: Apache-2.0
//! Roots of trust: AMD's, built in, and those that an owner configured.

use std::fmt;

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateError;
use casemate_evidence::snp::Product;
use ring::digest;

use crate::signed::is_signed_by;

/// A root of trust: an ARK, and the signing keys below it that were configured with it.
#[derive(Debug, Clone)]
pub struct Root {
    kind: RootKind,
    ark: Certificate,
    intermediates: Vec<Certificate>,
}

/// Whose root it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKind {
    /// AMD's root of a product line. Its key is the published one.
    Amd(Product),
    /// The root of a software TEE, under a name that the owner gave it.
    ///
    /// # Security
    ///
    /// It proves nothing about hardware. It exists only where someone configured it, and each
    /// verdict under it says so.
    Simulated(String),
}

impl Root {
    /// AMD's root of a product line, with its ASK and ASVK, as built in: no file is needed for
    /// genuine evidence.
    ///
    /// # Errors
    ///
    /// As [`Root::amd`], for a product line that is not built in.
    pub fn builtin(product: Product) -> Result<Self, RootError> {
        let bundle = match product {
            Product::Milan => include_str!("../data/amd-milan.pem"),
            Product::Genoa => include_str!("../data/amd-genoa.pem"),
            Product::Turin => include_str!("../data/amd-turin.pem"),
            _ => "",
        };
        Self::amd(product, bundle)
    }

    /// AMD's roots of every product line. Which lines are acceptable is for the requirements to
    /// say.
    ///
    /// # Errors
    ///
    /// As [`Root::builtin`].
    pub fn all_builtin() -> Result<Vec<Self>, RootError> {
        Product::ALL.into_iter().map(Self::builtin).collect()
    }

    /// AMD's root from a PEM bundle: the ARK and any of ASK and ASVK.
    ///
    /// # Errors
    ///
    /// [`RootError`] when the bundle is malformed, has not exactly one self-signed certificate,
    /// holds one that the ARK did not sign, or when the ARK is not AMD's of this product line.
    pub fn amd(product: Product, bundle: &str) -> Result<Self, RootError> {
        let root = Self::from_bundle(RootKind::Amd(product), bundle)?;
        if is_published(&root.ark_fingerprint(), product) {
            Ok(root)
        } else {
            Err(RootError::NotAmd { product })
        }
    }

    /// A simulated root from a PEM bundle.
    ///
    /// # Errors
    ///
    /// As [`Root::amd`]; also when the name is not `[a-z0-9][a-z0-9.-]*` of at most 64 bytes, the
    /// subject of a certificate does not say "simulated", or the ARK is one of AMD's.
    pub fn simulated(name: &str, bundle: &str) -> Result<Self, RootError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let first = name.bytes().next().is_some_and(plain);
        let rest = name.bytes().all(|b| plain(b) || b == b'-' || b == b'.');
        if !first || !rest || name.len() > MAX_NAME_BYTES {
            return Err(RootError::Name);
        }
        let root = Self::from_bundle(RootKind::Simulated(name.to_owned()), bundle)?;
        // D14: a genuine root is not to be taken for a simulated one, nor the other way round.
        let fingerprint = root.ark_fingerprint();
        if Product::ALL.into_iter().any(|product| is_published(&fingerprint, product)) {
            return Err(RootError::IsAmd);
        }
        if !says_simulated(root.ark.subject()) {
            return Err(RootError::Subject);
        }
        Ok(root)
    }

    /// Whose root it is.
    #[must_use]
    pub fn kind(&self) -> &RootKind {
        &self.kind
    }

    /// SHA-256 of the ARK's public key (`SubjectPublicKeyInfo`).
    #[must_use]
    pub fn ark_fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        let digest = digest::digest(&digest::SHA256, self.ark.spki());
        for (to, from) in fingerprint.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        fingerprint
    }

    /// Its certificates, DER: the ARK, then those configured with it.
    #[must_use]
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        let own = std::iter::once(&self.ark).chain(&self.intermediates);
        own.map(|certificate| certificate.der().to_vec()).collect()
    }

    pub(crate) fn ark(&self) -> &Certificate {
        &self.ark
    }

    pub(crate) fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    fn from_bundle(kind: RootKind, bundle: &str) -> Result<Self, RootError> {
        let certificates = Certificate::parse_bundle(bundle)
            .map_err(|source| RootError::Certificate { source })?;
        let (mut arks, intermediates): (Vec<_>, Vec<_>) =
            certificates.into_iter().partition(|c| c.issuer() == c.subject());
        let (Some(ark), true) = (arks.pop(), arks.is_empty()) else {
            return Err(RootError::NotOneRoot);
        };
        if !ark.is_ca() || !is_signed_by(&ark, &ark) {
            return Err(RootError::SelfSignature);
        }
        for intermediate in &intermediates {
            if !intermediate.is_ca() || !is_signed_by(intermediate, &ark) {
                return Err(RootError::Intermediate {
                    common_name: intermediate.common_name().to_owned(),
                });
            }
        }
        Ok(Self { kind, ark, intermediates })
    }
}

impl fmt::Display for RootKind {
    /// `amd:genoa` or `simulated:NAME`, as verdicts, tokens and audit logs name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amd(product) => write!(f, "amd:{}", product.name().to_ascii_lowercase()),
            Self::Simulated(name) => write!(f, "simulated:{name}"),
        }
    }
}

/// A bundle is no root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// A certificate of the bundle is malformed.
    #[error("failed to read the root's certificates")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// None or several certificates are self-signed.
    #[error("a root's bundle holds exactly one self-signed certificate")]
    NotOneRoot,
    /// The root is no CA or its signature of itself is wrong.
    #[error("the root certificate is no CA or does not verify under its own key")]
    SelfSignature,
    /// A certificate is no CA or is not signed by the root.
    #[error("certificate {common_name:?} is no CA or is not signed by the root of its bundle")]
    Intermediate {
        /// Its common name.
        common_name: String,
    },
    /// The ARK is not AMD's.
    #[error("the root is not AMD's ARK of {product}")]
    NotAmd {
        /// The product line asked for.
        product: Product,
    },
    /// The ARK is AMD's.
    #[error("the root is AMD's: add it with an amd kind")]
    IsAmd,
    /// The subject does not say that it is simulated.
    #[error("the subject of a simulated root says \"simulated\"; this one does not")]
    Subject,
    /// The name has other characters.
    #[error(
        "the name of a root is lower-case letters, digits, dots and dashes, at most {MAX_NAME_BYTES}"
    )]
    Name,
}

fn says_simulated(subject: &[u8]) -> bool {
    subject.windows(SIMULATED.len()).any(|window| window.eq_ignore_ascii_case(SIMULATED))
}

/// Whether a key is the one that AMD published for this product line.
fn is_published(fingerprint: &[u8; 32], product: Product) -> bool {
    fingerprint == amd_fingerprint(product)
}

/// SHA-256 of the public key of AMD's published ARKs.
fn amd_fingerprint(product: Product) -> &'static [u8; 32] {
    match product {
        Product::Milan => &MILAN,
        Product::Genoa => &GENOA,
        Product::Turin => &TURIN,
        // A product line whose root is not known has none that matches.
        _ => &[0; 32],
    }
}

const SIMULATED: &[u8] = b"simulated";
const MAX_NAME_BYTES: usize = 64;

const MILAN: [u8; 32] =
    fingerprint(0x9f056bee44377e29308cb5ffa895bdfb, 0x62d18881fa6bed8d6f075b0204089cb9);
const GENOA: [u8; 32] =
    fingerprint(0x429a69c9422aa258ee4d8db5fcda9c64, 0x70ef15f8cd5a9cebd6cbc7d90b863831);
const TURIN: [u8; 32] =
    fingerprint(0x4f125410563a2ab9a50356f9243f6fe0, 0xb6f73de98603f53f90339c70e9d7ad08);

/// 32 bytes from two halves, most significant first.
const fn fingerprint(high: u128, low: u128) -> [u8; 32] {
    let [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, ha, hb, hc, hd, he, hf] = high.to_be_bytes();
    let [l0, l1, l2, l3, l4, l5, l6, l7, l8, l9, la, lb, lc, ld, le, lf] = low.to_be_bytes();
    [
        h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, ha, hb, hc, hd, he, hf, l0, l1, l2, l3, l4, l5, l6,
        l7, l8, l9, la, lb, lc, ld, le, lf,
    ]
}
