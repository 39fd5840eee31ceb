// SPDX-License-Identifier: Apache-2.0
//! Fetches what verdicts need from the vendors' services, AMD's KDS and Intel's PCS or a PCCS,
//! checks it and keeps it on disk; also in one file for places without a network.
//!
//! # Who trusts whom
//!
//! Only the [`Anchors`] are trusted. Services, proxies and caches between them and here, the files
//! of the cache and bundles are not: every item is checked when it comes and whenever it is read
//! again. The caller says what time it is.
//!
//! # Order
//!
//! Certificates that came with the evidence first, if they belong to it; then kept items, while
//! they are fresh; then a service. When a service is down, busy, stale or lying, a kept item that
//! is still valid is used, and the failure is reported beside it; without one, it is the error.
//!
//! # Example
//!
//! ```no_run
//! use casemate_collateral::{Anchors, Cache, Client, Endpoints, Https};
//! use casemate_evidence::snp::Report;
//!
//! # async fn run(report: &Report, now: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::open("/var/cache/casemate/collateral".as_ref())?;
//! let client = Client::new(Https::new("")?, Endpoints::default(), Anchors::vendors()?, cache);
//! let certificates = client.snp(report, &[], None, now).await?;
//! for setback in &certificates.setbacks {
//!     eprintln!("{}: {setback}", setback.code());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Nothing enters the cache or leaves the client that a root does not vouch for, that is not what
//!   was asked for (chip, TCB, kind of platform, CA), or that is not valid at the caller's time.
//! - A tcbEvaluationDataNumber or CRL number below one that was seen is refused, also after a
//!   restart. The file of marks is never started anew by itself.
//! - Who answers 429 or 503 is left alone for as long as it says, at most an hour, by every process
//!   that shares the cache.
//! - Every answer has a size cap and every request a deadline; redirects are not followed.

mod anchors;
mod answer;
mod bundle;
mod cache;
mod check;
mod client;
mod endpoint;
mod error;
mod https;
mod item;
mod mark;
mod retry;
mod snp;
mod tdx;
mod transport;

pub use anchors::Anchors;
pub use anchors::AnchorsError;
pub use answer::Answer;
pub use bundle::Bundle;
pub use bundle::BundleError;
pub use bundle::Imported;
pub use bundle::MAX_BUNDLE_BYTES;
pub use cache::Cache;
pub use cache::CacheError;
pub use check::CheckError;
pub use client::Client;
pub use client::Fetched;
pub use client::Origin;
pub use client::REFRESH_AFTER;
pub use endpoint::Endpoint;
pub use endpoint::EndpointError;
pub use endpoint::Endpoints;
pub use endpoint::IntelService;
pub use error::FetchError;
pub use https::Https;
pub use https::HttpsError;
pub use item::AmdKey;
pub use item::HardwareId;
pub use item::Item;
pub use item::ItemError;
pub use item::PckCa;
pub use item::Update;
pub use mark::Mark;
pub use retry::MAX_WAIT;
pub use snp::SnpCertificates;
pub use tdx::Platform;
pub use tdx::PlatformError;
pub use tdx::TdxCollateral;
pub use transport::MAX_HEADER_BYTES;
pub use transport::Part;
pub use transport::Request;
pub use transport::Response;
pub use transport::Transport;
pub use transport::TransportError;
