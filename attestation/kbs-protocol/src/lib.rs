// SPDX-License-Identifier: Apache-2.0
//! The KBS protocol 0.4.0 of Confidential Containers as types: messages, the binding of a key to a
//! TEE report, and the JWE that carries a resource. No I/O: bytes and randomness come in, bytes go
//! out, so that the guest's client and the broker share one reading of the wire.
//!
//! # Who trusts whom
//!
//! The guest trusts the broker as far as its TLS certificate chains to the CA in the measured
//! initdata. The broker trusts nothing of a guest but what its TEE report signs: the report's
//! `report_data` is the hash of the broker's nonce and the guest's public key ([`report_data`]),
//! and resources are encrypted to that key ([`Jwe`]).
//!
//! # Example
//!
//! ```
//! use casemate_kbs_protocol::{HashAlgorithm, Jwe, Secret, TeeKeyPair, report_data};
//!
//! let guest = TeeKeyPair::generate()?;
//! let bound = report_data("bm9uY2U=", guest.public_key(), HashAlgorithm::Sha384, "")?;
//! assert_eq!(bound[48..], [0; 16]); // SHA-384, padded with zeros
//!
//! // The broker encrypts to the attested key; only its holder opens it.
//! let jwe = Jwe::seal(&Secret::from(b"key".to_vec()), guest.public_key())?;
//! assert_eq!(jwe.open(&guest)?.expose(), b"key");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - A [`TeePublicKey`] is a point on P-256; a [`ResourcePath`] has exactly three clean segments.
//! - A private key has no accessor, and [`Secret`] has neither `Debug` nor `Clone`; both are
//!   zeroized when dropped.
//! - The bytes authenticated by a JWE are those received, never a re-serialised header.

mod binding;
mod init_data;
mod jwe;
mod jwk;
mod message;
mod problem;
mod resource;
mod secret;

pub use casemate_audit::BootId;
pub use casemate_audit::Head as AuditHead;

pub use binding::BindingError;
pub use binding::HashAlgorithm;
pub use binding::REPORT_DATA_BYTES;
pub use binding::UnknownHash;
pub use binding::report_data;
pub use init_data::HOST_DATA_BYTES;
pub use init_data::InitDataError;
pub use init_data::MAX_INIT_DATA_BYTES;
pub use init_data::MR_CONFIG_ID_BYTES;
pub use init_data::host_data;
pub use init_data::mr_config_id;
pub use jwe::Jwe;
pub use jwe::JweError;
pub use jwe::MAX_RESOURCE_BYTES;
pub use jwe::Member as JweMember;
pub use jwk::JwkError;
pub use jwk::KeyGenerationError;
pub use jwk::TeeKeyPair;
pub use jwk::TeePublicKey;
pub use message::AttestReply;
pub use message::AttestRequest;
pub use message::AuthRequest;
pub use message::Challenge;
pub use message::CompositeEvidence;
pub use message::InitData;
pub use message::InitDataFormat;
pub use message::MAX_NONCE_BYTES;
pub use message::PREFIX;
pub use message::PROTOCOL_VERSION;
pub use message::RuntimeData;
pub use message::SESSION_COOKIE;
pub use message::Tee;
pub use message::is_supported_version;
pub use problem::Problem;
pub use problem::ProblemType;
pub use resource::ResourcePath;
pub use resource::ResourcePathError;
pub use resource::ResourceUri;
pub use secret::Secret;
