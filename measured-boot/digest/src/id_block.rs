// SPDX-License-Identifier: Apache-2.0
//! The ID block, by which an owner signs which SNP guest may start, and its authentication.
//!
//! Source: AMD, SEV Secure Nested Paging Firmware ABI (56860) 1.57, tables 74 (ID block) and 75 (ID
//! authentication), appendix B (keys and signatures).

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
