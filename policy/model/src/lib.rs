// SPDX-License-Identifier: Apache-2.0
//! The typed policy, the guest configuration and their canonical form.
//!
//! The policy *carries* the containers: image digest, argv, env, mounts, user, capabilities. The
//! host only names a container and gives values for the holes that the policy declares. Policy and
//! guest configuration travel through the host inside the initdata: they are public, and no secret
//! nor a digest of one belongs in them.

mod config;
mod container;

pub use config::Broker;
pub use config::GuestConfig;
pub use config::Registry;
pub use container::Capability;
pub use container::Container;
pub use container::Encryption;
pub use container::EnvHole;
pub use container::EnvVar;
pub use container::Exec;
pub use container::Logs;
pub use container::Mount;
pub use container::MountKind;
pub use container::Policy;
pub use container::Sandbox;
pub use container::Seccomp;
pub use container::User;

/// Name of the policy's entry in the initdata's `[data]` table.
pub const POLICY_ENTRY: &str = "policy.toml";
/// Name of the guest configuration's entry in the initdata's `[data]` table.
pub const CONFIG_ENTRY: &str = "casemate.toml";
