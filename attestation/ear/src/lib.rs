// SPDX-License-Identifier: Apache-2.0
//! Attestation results as signed tokens: what a verifier says of a guest, for whoever relies on it.
//! No I/O: keys, claims and the time come in as arguments.
//!
//! A token is an ES256 JWT whose claims are an EAR (EAT Attestation Result, draft-ietf-rats-ear) in
//! the layout that the attestation service of Confidential Containers writes, so that policies made
//! for its tokens read these too. In addition it has `iss`, `aud`, `nbf`, `jti`, `eat_nonce`
//! (RFC 9711, section 4.1), `cnf` (RFC 7800) and, per appraised part, the root that the evidence
//! ended in (`ear.casemate.root`).
//!
//! # Who trusts whom
//!
//! A reader trusts the keys of its [`JwkSet`], which it has from its owner, and no key that a token
//! brings along. It states the issuer and audience that it expects; a token for somebody else is
//! refused. A token is no bearer of secrets: it is bound to the guest's key by `cnf`, and what it
//! fetches is to be sealed to that key.
//!
//! # Example
//!
//! ```
//! use casemate_ear::{Ear, JwkSet, Reader, SigningKey};
//! # fn run(ear: Ear, now: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let key = SigningKey::from_pkcs8(&SigningKey::generate()?)?;
//! let token = key.sign(&ear)?;
//!
//! let keys = JwkSet::parse(&key.jwks())?; // as published
//! let reader = Reader::new(keys, "https://issuer.example", "https://audience.example");
//! let ear = reader.read(&token, now)?;
//! println!("{:?} under {}", ear.status(), ear.submods["cpu0"].root);
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Algorithm and key are the reader's choice. A header has `typ`, `alg`, `kid` and at most `jwk`,
//!   which must then be the key that the reader has under this `kid` anyway.
//! - No member of a JSON object of a token stands twice, at any depth.
//! - A token's status is never better than its trustworthiness vector.

mod claims;
mod jwk;
mod jwt;
mod vector;

pub use claims::AnnotatedEvidence;
pub use claims::Appraisal;
pub use claims::Confirmation;
pub use claims::Ear;
pub use claims::PROFILE;
pub use claims::VerifierId;
pub use jwk::JwkSet;
pub use jwk::JwkSetError;
pub use jwk::KeyError;
pub use jwk::SigningKey;
pub use jwt::MAX_TOKEN_BYTES;
pub use jwt::Reader;
pub use jwt::TokenError;
pub use vector::Status;
pub use vector::TrustVector;
