// SPDX-License-Identifier: Apache-2.0
//! From Kubernetes YAML to the policy that carries its containers.
//!
//! The owner runs this before anything is applied: the YAML of pods and of what runs pods, and what
//! their images say about themselves, become one policy for each pod template, the initdata that the
//! launch is bound to, and the same YAML with the initdata in an annotation. The YAML and the registry's answers are trusted as far as the owner
//! trusts them now; from then on the digests in the policy hold.
//!
//! ```
//! use casemate_policy::{Broker, GuestConfig};
//! use casemate_policy_generate::{Image, ImageConfig, ImageName, Manifests, generate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manifests = Manifests::parse(
//!     "{apiVersion: v1, kind: Pod, metadata: {name: web},
//!       spec: {containers: [{name: web, image: registry.example/web}]}}",
//! )?;
//! // For each image: what a registry or an image layout says.
//! let resolve = |_: &ImageName| Image {
//!     digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
//!     encrypted: true,
//!     config: ImageConfig { cmd: vec!["/bin/web".to_owned()], ..ImageConfig::default() },
//!     users: None,
//! };
//! let images =
//!     manifests.images().into_iter().map(|name| (name.clone(), resolve(&name))).collect();
//! let broker = Broker {
//!     url: "https://broker.example".to_owned(),
//!     ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
//! };
//! let config = GuestConfig::new(broker, Vec::new());
//! let generated = generate(&manifests, &images, &config)?;
//! assert_eq!(generated.workloads[0].policy.containers["web"].argv, ["/bin/web"]);
//! assert!(generated.yaml().contains("io.casemate.initdata"));
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - No I/O: YAML, images and configuration come in as arguments, and the same arguments give the same
//!   bytes.
//! - No field of the pod is passed over unseen: it is in the policy, refused with advice, listed here as
//!   changing nothing, or named in a warning.

mod accounts;
mod builder;
mod config_map;
mod container;
mod context;
mod edit;
mod env;
mod env_source;
mod error;
mod exec_list;
mod expand;
mod generate;
mod identity;
mod image;
mod json;
mod manifests;
mod network;
mod options;
mod pod;
mod quantity;
mod reader;
mod resources;
mod secrets;
mod security;
mod signal;
mod token;
mod volume;
mod workload;
mod yaml;

pub use accounts::AccountError;
pub use accounts::Users;
pub use error::GenerateError;
pub use error::Invalid;
pub use error::Warning;
pub use error::YamlProblem;
pub use exec_list::EXEC_ANNOTATION;
pub use generate::AnnotatedFile;
pub use generate::Generated;
pub use generate::HANDLER_ANNOTATION;
pub use generate::INITDATA_ANNOTATION;
pub use generate::PodPolicy;
pub use generate::generate;
pub use image::BadImageName;
pub use image::Image;
pub use image::ImageConfig;
pub use image::ImageName;
pub use manifests::Manifest;
pub use manifests::Manifests;
pub use options::ContainerSecret;
pub use options::Options;
pub use options::SignatureRule;
pub use pod::DEFAULT_RUNTIME_CLASS;
pub use pod::EPHEMERAL_ANNOTATION;
pub use quantity::BadQuantity;
pub use quantity::Quantity;
pub use secrets::DEFAULT_MODE;
pub use secrets::SECRETS_ANNOTATION;
pub use workload::Kind;
