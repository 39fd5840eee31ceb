// SPDX-License-Identifier: Apache-2.0
//! The ID block, by which an owner signs which SNP guest may start, and its authentication.
//!
//! Source: AMD, SEV Secure Nested Paging Firmware ABI (56860) 1.57, tables 74 (ID block) and 75 (ID
//! authentication), appendix B (keys and signatures).
//!
//! With an ID block the PSP itself refuses a launch with another digest or policy, and the report
//! names the keys that signed, so that a verifier can accept "signed by this owner" in place of a
//! list of digests.
//!
//! ```
//! use casemate_launch_digest::id_block::IdBlock;
//! use casemate_launch_digest::id_block::Identity;
//! use casemate_launch_digest::id_block::SigningKey;
//! use casemate_launch_digest::id_block::SigningKeyError;
//! use casemate_launch_digest::plan::SnpPlan;
//! use ring::rand::SystemRandom;
//!
//! /// Binds a plan to its owner's key. `key_file` is PKCS#8, PEM or DER.
//! fn bind(plan: &SnpPlan<'_>, key_file: &[u8]) -> Result<Identity, SigningKeyError> {
//!     let random = SystemRandom::new();
//!     let key = SigningKey::from_pkcs8(key_file, &random)?;
//!     let block = IdBlock {
//!         launch_digest: plan.digest(),
//!         family_id: *b"casemate guests\0",
//!         image_id: [0; 16],
//!         guest_svn: 1,
//!         policy: plan.guest().policy,
//!     };
//!     block.sign(&key, None, &random)
//! }
//! ```

mod auth;
mod block;
mod sign;

pub use auth::IdAuth;
pub use auth::IdAuthError;
pub use auth::KeyDigest;
pub use auth::PublicKey;
pub use auth::Signature;
pub use block::IdBlock;
pub use block::IdBlockError;
pub use block::Identity;
pub use sign::MAX_KEY_FILE;
pub use sign::SigningKey;
pub use sign::SigningKeyError;
