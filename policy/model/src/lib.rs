// SPDX-License-Identifier: Apache-2.0
//! The typed policy, the guest configuration and their canonical form.
//!
//! The policy *carries* the containers: image digest, argv, env, mounts, user, capabilities. The
//! host only names a container and gives values for the holes that the policy declares. The owner
//! writes both documents and the guest trusts them because they are measured with the initdata.
//!
//! ```
//! use casemate_policy::Policy;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = br#"
//!     version = 1
//!
//!     [containers.web]
//!     image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
//!     encryption = "required"
//!     argv = ["/bin/web", "--port", "8443"]
//!     cwd = "/"
//!     user = { uid = 1000, gid = 1000 }
//!     logs = "host-visible"
//!     no_new_privileges = true
//!     seccomp = "default"
//!     signals = [9, 15]
//!     restart = "always"
//! "#;
//! let policy = Policy::parse(text)?;
//! assert_eq!(Policy::parse(policy.to_toml().as_bytes())?, policy);
//!
//! // A tag can be moved by whoever runs the registry, so it is not in the language.
//! let moved = String::from_utf8(text.to_vec())?.replace("@sha256:", ":latest@sha256:");
//! assert!(Policy::parse(moved.as_bytes()).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - What this version does not understand completely it refuses: unknown fields, other versions,
//!   values out of range.
//! - Policy and guest configuration are public, since they travel through the host: no secret and no
//!   digest of a guessable secret belongs in them.
//! - Equal documents are written as equal bytes, each text on one line with every character seen.

mod capability;
mod config;
mod container;
mod digest;
mod document;
mod error;
mod image_ref;
mod ip_range;
mod mount;
mod pattern;
mod policy;
mod process;
mod resources;
mod schema;
mod shape;
mod spelling;
mod suspicion;
mod sysctl;
mod validate;

pub use capability::BadCapability;
pub use capability::Capability;
pub use casemate_kbs_protocol::ResourceUri;
pub use config::Audit;
pub use config::Broker;
pub use config::GuestConfig;
pub use config::ImageSignature;
pub use config::Registry;
pub use config::RegistryCredentials;
pub use container::Container;
pub use container::Encryption;
pub use container::ProcMount;
pub use container::Restart;
pub use container::Role;
pub use container::Seccomp;
pub use container::Visibility;
pub use digest::BadDigest;
pub use digest::Sha256Digest;
pub use error::DocumentError;
pub use error::FieldPath;
pub use error::Problem;
pub use image_ref::BadImageRef;
pub use image_ref::ImageRef;
pub use ip_range::BadIpRange;
pub use ip_range::IpRange;
pub use mount::Mount;
pub use mount::MountKind;
pub use mount::SecretFile;
pub use mount::Volume;
pub use pattern::BadPattern;
pub use pattern::Pattern;
pub use policy::HostAlias;
pub use policy::NetworkRules;
pub use policy::Policy;
pub use policy::Sandbox;
pub use process::EnvHole;
pub use process::EnvVar;
pub use process::Exec;
pub use process::Purpose;
pub use process::User;
pub use resources::BadRlimit;
pub use resources::Figure;
pub use resources::Resources;
pub use resources::Rlimit;
pub use resources::RlimitKind;
pub use resources::RlimitValue;
pub use schema::json_schema;
pub use spelling::is_hidden;
pub use suspicion::looks_secret;
pub use suspicion::open_shell;
pub use sysctl::BadSysctl;
pub use sysctl::SysctlName;
pub use validate::is_file_name;
pub use validate::is_hostname;

/// Name of the policy's entry in the initdata's `[data]` table.
pub const POLICY_ENTRY: &str = "policy.toml";
/// Name of the guest configuration's entry in the initdata's `[data]` table.
pub const CONFIG_ENTRY: &str = "casemate.toml";
/// Name of the optional entry with rules that narrow the policy.
pub const RULES_ENTRY: &str = "policy.rego";
