// SPDX-License-Identifier: Apache-2.0
//! Client of the KBS protocol 0.4: attests a guest once and fetches resources under that one
//! session.
//!
//! # Who trusts whom
//!
//! The broker's name and the one CA that its certificate must chain to come from the measured
//! initdata; the platform's roots, proxies and redirects are not used. The network in between is
//! the host's. The broker proves nothing but that certificate; the guest proves itself by its TEE
//! report, which binds the broker's nonce and the session's key.
//!
//! # Example
//!
//! ```no_run
//! use casemate_kbs_client::{Endpoint, EvidenceError, Session};
//! use casemate_kbs_protocol::Tee;
//!
//! # async fn report(report_data: [u8; 64]) -> Result<serde_json::Value, EvidenceError> {
//! #     Ok(serde_json::json!({ "report_data": report_data.to_vec() }))
//! # }
//! # async fn run(ca_pem: &str, initdata: String) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::new("https://broker.example:8443", ca_pem)?;
//! let session = Session::new(&endpoint, Tee::Snp, report, initdata)?;
//! session.attest().await?;
//! let key = session.resource(&"kbs:///default/key/1".parse()?).await?;
//! assert_eq!(key.expose().len(), 32);
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - http, other roots, redirects and proxies are impossible, not merely off by default.
//! - One EC key per session; its private half never leaves the session.
//! - N resources cost one attestation; an expired token costs one more, and a denial none.
//! - Every reply has a size cap and every request a deadline.

mod endpoint;
mod error;
mod http;
mod session;

pub use endpoint::Endpoint;
pub use endpoint::EndpointError;
pub use error::ClientError;
pub use error::EvidenceError;
pub use error::Operation;
pub use session::EvidenceSource;
pub use session::Session;

pub use casemate_kbs_protocol::ResourceUri;
pub use casemate_kbs_protocol::Secret;
pub use casemate_kbs_protocol::Tee;
