// SPDX-License-Identifier: Apache-2.0
//! Pulls images: fetches, verifies, decrypts and unpacks them.
//!
//! The guest agent pulls images that its measured policy names by digest; the owner's tool reads
//! manifests and configurations to write policies. Both trust the digest and, for a registry that
//! the measured configuration names, that registry's one CA; registry and network are hostile.
//!
//! ```no_run
//! use casemate_image_pull::KeySource;
//! use casemate_image_pull::Progress;
//! use casemate_image_pull::PullRequest;
//! use casemate_image_pull::Puller;
//! use casemate_image_pull::Settings;
//! use casemate_policy::Encryption;
//!
//! # async fn example(keys: &dyn KeySource) -> Result<(), Box<dyn std::error::Error>> {
//! let puller = Puller::new(Settings::default())?;
//! let request = PullRequest {
//!     image: "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse()?,
//!     encryption: Encryption::Required,
//!     destination: "/run/images/web".into(),
//! };
//! let image = puller.pull(&request, keys, &Progress::default()).await?;
//! println!("{} in {}", image.manifest_digest, image.rootfs.display());
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Connections are https only, also after a redirect and for tokens; there is no option for http.
//! - Credentials go to the registry's own origin and to its token service, never along a redirect.
//! - Documents are parsed from the bytes that were hashed, once; nothing is fetched twice.
//! - A root file system exists under its name only after every layer's digest, size, MAC and
//!   diff_id agreed with the pinned manifest and its configuration.
//! - Every wait and every size has a cap, and layers are never held in memory whole.

mod accounts;
mod blob;
mod build_step;
mod client;
mod error;
mod keys;
mod login;
mod progress;
mod puller;
mod reference;
mod resolve;
mod signature;
mod tls;
mod token;

pub use accounts::AccountError;
pub use accounts::Accounts;
pub use casemate_unpack::Limits;
pub use client::Credentials;
pub use client::Timeouts;
pub use error::PullError;
pub use error::SetupError;
pub use keys::KeySource;
pub use keys::KeyUnavailable;
pub use keys::NoKeys;
pub use login::Auths;
pub use login::Login;
pub use login::LoginError;
pub use login::canonical as canonical_registry;
pub use progress::Progress;
pub use puller::PullRequest;
pub use puller::PulledImage;
pub use puller::Puller;
pub use puller::Settings;
pub use reference::BadReference;
pub use reference::PinnedReference;
pub use reference::Reference;
pub use resolve::Documents;
pub use resolve::ImageSource;
pub use resolve::ResolvedImage;
pub use resolve::resolve_documents;
pub use resolve::resolve_layout;
pub use signature::BadSignerKey;
pub use signature::SignerKey;
