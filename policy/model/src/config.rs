// SPDX-License-Identifier: Apache-2.0
//! The guest configuration: where the guest attests and pulls, and whom it trusts there.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::DocumentError;
use crate::Policy;
use crate::ResourceUri;
use crate::error::FieldPath;
use crate::error::Problem;
use crate::image_ref::is_registry;
use crate::validate::is_dns_label;

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
    /// Registries that want a name and a password; from any other the guest pulls without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registry_credentials: Vec<RegistryCredentials>,
    /// Keys that sign images, by the name that the policy gives them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub image_signatures: BTreeMap<String, ImageSignature>,
    /// The owner's audit channel; absent = records are chained in the guest and nobody reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
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
    /// `host[:port]` to connect to in its place (a mirror); absent = `host` itself. Images are pinned
    /// by digest, so a mirror needs no more trust than the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The one CA that the registry's certificate must chain to, PEM.
    pub ca: String,
}

/// Where the guest gets its name and password for a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryCredentials {
    /// `host[:port]` as in image names; of a registry with a `location`, that location.
    pub host: String,
    /// The key broker's resource that holds them: a `config.json` as `docker login` writes it.
    pub resource: ResourceUri,
    /// The host of the registry's token service, if that may have the password too and is another,
    /// for example `auth.docker.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_host: Option<String>,
}

/// A key that signs images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSignature {
    /// The public key, PEM.
    pub key: String,
}

/// The owner's audit channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The owner's public key, PEM: each record is sealed to it before the host carries it out.
    pub key: String,
}

impl GuestConfig {
    /// A configuration without keys of its own.
    #[must_use]
    pub const fn new(broker: Broker, registries: Vec<Registry>) -> Self {
        Self {
            version: Self::VERSION,
            broker,
            registries,
            registry_credentials: Vec::new(),
            image_signatures: BTreeMap::new(),
            audit: None,
        }
    }

    /// Checks every rule of the format that the types do not express.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn validate(&self) -> Result<(), DocumentError> {
        if self.version != Self::VERSION {
            return Err(FieldPath::root("version").error(Problem::Version));
        }
        let broker = FieldPath::root("broker");
        check_url(&self.broker.url, broker.field("url"))?;
        check_pem(&self.broker.ca, broker.field("ca"))?;

        let registries = FieldPath::root("registries");
        if self.registries.len() > MAX_REGISTRIES {
            return Err(registries.error(Problem::TooMany));
        }
        let mut hosts = BTreeSet::new();
        for (index, registry) in self.registries.iter().enumerate() {
            let path = registries.index(index);
            if !is_registry(&registry.host) {
                return Err(path.field("host").error(Problem::NotRegistry));
            }
            if !hosts.insert(&registry.host) {
                return Err(path.field("host").error(Problem::Duplicate));
            }
            if registry.location.as_deref().is_some_and(|l| !is_registry(l)) {
                return Err(path.field("location").error(Problem::NotRegistry));
            }
            check_pem(&registry.ca, path.field("ca"))?;
        }
        self.check_credentials()?;
        self.check_keys()
    }

    /// Checks that every key that the policy names is here.
    ///
    /// # Errors
    ///
    /// The first container whose `signature` names no key of `image_signatures`.
    pub fn check_policy(&self, policy: &Policy) -> Result<(), DocumentError> {
        for (name, container) in &policy.containers {
            let known = |key: &String| self.image_signatures.contains_key(key);
            if !container.signature.as_ref().is_none_or(known) {
                let path = FieldPath::root("containers").field(name).field("signature");
                return Err(path.error(Problem::Unknown));
            }
        }
        Ok(())
    }

    fn check_credentials(&self) -> Result<(), DocumentError> {
        let list = FieldPath::root("registry_credentials");
        if self.registry_credentials.len() > MAX_REGISTRIES {
            return Err(list.error(Problem::TooMany));
        }
        let mut hosts = BTreeSet::new();
        for (index, credentials) in self.registry_credentials.iter().enumerate() {
            let path = list.index(index);
            if !is_registry(&credentials.host) {
                return Err(path.field("host").error(Problem::NotRegistry));
            }
            if !hosts.insert(&credentials.host) {
                return Err(path.field("host").error(Problem::Duplicate));
            }
            let is_host = |host: &str| is_registry(host) && !host.contains(':');
            if !credentials.token_host.as_deref().is_none_or(is_host) {
                return Err(path.field("token_host").error(Problem::NotRegistry));
            }
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), DocumentError> {
        let signatures = FieldPath::root("image_signatures");
        if self.image_signatures.len() > MAX_SIGNATURES {
            return Err(signatures.error(Problem::TooMany));
        }
        for (name, signature) in &self.image_signatures {
            let path = signatures.field(name);
            if !is_dns_label(name) {
                return Err(path.error(Problem::NotName));
            }
            check_public_key(&signature.key, path.field("key"))?;
        }
        match &self.audit {
            Some(audit) => check_public_key(&audit.key, FieldPath::root("audit").field("key")),
            None => Ok(()),
        }
    }
}

/// `https://host[:port][/path]`: no user, no query, no fragment; never http (C11, D15).
fn check_url(url: &str, path: FieldPath) -> Result<(), DocumentError> {
    if url.len() > MAX_URL {
        return Err(path.error(Problem::TooLong));
    }
    let Some(rest) = url.strip_prefix("https://") else {
        return Err(path.error(Problem::NotHttps));
    };
    let (authority, location) = match rest.split_once('/') {
        Some((authority, location)) => (authority, location),
        None => (rest, ""),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        }
    };
    let port_ok = port.is_none_or(|p| {
        p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|n| n != 0)
    });
    let location_ok = location
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~'));
    if host_ok && port_ok && location_ok { Ok(()) } else { Err(path.error(Problem::NotHttps)) }
}

/// One certificate or more in PEM (RFC 7468). Only the shape: the TLS library reads what is in it.
fn check_pem(text: &str, path: FieldPath) -> Result<(), DocumentError> {
    match pem_blocks(text, "CERTIFICATE") {
        _ if text.len() > MAX_PEM => Err(path.error(Problem::TooLong)),
        Some(1..) => Ok(()),
        Some(0) | None => Err(path.error(Problem::NotPem)),
    }
}

/// One public key in PEM (RFC 7468). Only the shape: whoever uses the key reads what is in it.
fn check_public_key(text: &str, path: FieldPath) -> Result<(), DocumentError> {
    match pem_blocks(text, "PUBLIC KEY") {
        _ if text.len() > MAX_PEM => Err(path.error(Problem::TooLong)),
        Some(1) => Ok(()),
        _ => Err(path.error(Problem::NotPublicKey)),
    }
}

/// How many blocks of this label the text has; `None` if it has anything else.
fn pem_blocks(text: &str, label: &str) -> Option<usize> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let mut blocks = 0_usize;
    let mut inside = false;
    let mut content = 0_usize;
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if !inside && line == begin {
            (inside, content) = (true, 0);
        } else if inside && line == end && content > 0 {
            (inside, blocks) = (false, blocks + 1);
        } else if inside && line.bytes().all(is_base64) {
            content += line.len();
        } else {
            // A private key, a bundle's remarks or anything else does not belong in public data.
            return None;
        }
    }
    (!inside).then_some(blocks)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Most registries with settings of their own, and most with credentials.
const MAX_REGISTRIES: usize = 64;
/// Most keys that sign images.
const MAX_SIGNATURES: usize = 64;
/// Longest URL in bytes.
const MAX_URL: usize = 2048;
/// Longest PEM text in bytes.
const MAX_PEM: usize = 64 * 1024;
