// SPDX-License-Identifier: Apache-2.0
//! The guest configuration: where the guest attests and pulls, and whom it trusts there.

use serde::Deserialize;
use serde::Serialize;

/// What the guest agent must know beside the policy. Measured with the initdata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    /// Version of the format; this one is 1.
    pub version: u32,
    /// The key broker.
    pub broker: Broker,
    /// Registries with settings of their own; any other registry is reached by https with the
    /// public web's roots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<Registry>,
}

/// The key broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `https://host[:port]`; http is refused.
    pub url: String,
    /// The one CA that the broker's certificate must chain to, PEM.
    pub ca: String,
}

/// A registry with settings of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// `host[:port]` as in image names.
    pub host: String,
    /// The one CA that the registry's certificate must chain to, PEM.
    pub ca: String,
}
