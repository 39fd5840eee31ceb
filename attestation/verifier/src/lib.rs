// SPDX-License-Identifier: Apache-2.0
//! Verdicts on TEE evidence: who signed a report, and whether what it says is acceptable. No I/O:
//! roots, rules, expectations and the time come in as arguments, a [`Verdict`] goes out.
//!
//! # Who trusts whom
//!
//! The caller trusts the keys of the [`Root`]s that it passes and nothing else; certificates inside
//! the evidence come from the host and count only as far as such a root signed them. AMD's roots are
//! built in for callers that want them; there is no fallback and no "sample" kind: evidence of a
//! software TEE passes only where its own root was configured, and the verdict then says
//! `simulated:…`.
//!
//! # What a root's certificates look like
//!
//! As AMD's: ARK and ASK with RSA keys of at least 2048 bits, each certificate signed with
//! RSASSA-PSS, SHA-384 and 48 bytes of salt, `CA:TRUE` on both; a VCEK with a P-384 key, product
//! name, all TCB levels and the chip's id. A simulated root's subject says "simulated". Roots for
//! TDX are of another type, [`tdx::Root`], and look like Intel's: P-256 keys and ECDSA with SHA-256.
//!
//! # Example
//!
//! ```
//! use casemate_verifier::{Expected, Requirements, Root, verify};
//! # fn run(json: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let evidence = casemate_evidence::snp::Evidence::from_json(json)?;
//! let roots = Root::all_builtin()?;
//! let expected = Expected { report_data: Some([0; 64]), host_data: None };
//! let now = 1_795_000_000; // seconds since 1970
//! let verdict = verify(&evidence, &roots, &expected, &Requirements::default(), now);
//! println!("{}", verdict.status());
//! for line in verdict.reasons() {
//!     println!("{}: {} is {}; not true: {}", line.code, line.claim, line.value, line.rule);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - [`Verdict::accepted`] is `Some` only when no line is refused, a configured root signed the
//!   evidence, and measurement and report_data were both compared with a reference; there is no
//!   other way to make an [`Accepted`].
//! - A verdict has a line for each thing that was looked at, and one for each that was not.
//! - An empty set of reference values accepts nothing; no set leaves the verdict unbound.

pub mod az_vtpm;
mod code;
mod measurement;
mod moment;
mod policy;
mod reference;
mod root;
mod signed;
mod snp;
pub mod tdx;
mod verdict;
mod vouch;

pub use code::Code;
pub use measurement::Measurement;
pub use measurement::MeasurementError;
pub use policy::AtLeast;
pub use policy::AzVtpmPolicy;
pub use policy::Bound;
pub use policy::Bytes;
pub use policy::Finding;
pub use policy::Moment;
pub use policy::OneOf;
pub use policy::Policy;
pub use policy::PolicyError;
pub use policy::ReferenceSource;
pub use policy::ReferenceValues;
pub use policy::SnpPolicy;
pub use policy::SnpWhere;
pub use policy::TdxPolicy;
pub use policy::TdxWhere;
pub use policy::Values;
pub use policy::advice;
pub use policy::lint;
pub use reference::Bundle;
pub use reference::BundleError;
pub use reference::MAX_BUNDLE_BYTES;
pub use reference::PublicKey;
pub use reference::PublicKeyError;
pub use reference::SNP_LAUNCH;
pub use reference::Signers;
pub use reference::TDX_MRTD;
pub use root::Root;
pub use root::RootError;
pub use root::RootKind;
pub use snp::Chain;
pub use snp::Expected;
pub use snp::GuestRequirements;
pub use snp::IdBlockRequirements;
pub use snp::NoChain;
pub use snp::PlatformRequirements;
pub use snp::Requirements;
pub use snp::TcbRequirements;
pub use snp::verify;
pub use verdict::Accepted;
pub use verdict::Dimension;
pub use verdict::Guest;
pub use verdict::Line;
pub use verdict::Outcome;
pub use verdict::Rule;
pub use verdict::Source;
pub use verdict::Status;
pub use verdict::TrustVector;
pub use verdict::Verdict;
