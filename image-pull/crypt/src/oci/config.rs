// SPDX-License-Identifier: Apache-2.0
//! Image configurations.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Digest;
use super::MAX_LAYERS;

/// An image configuration: what the image says of the process it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// Architecture as in Go's `GOARCH`.
    pub architecture: String,
    /// Operating system as in Go's `GOOS`.
    pub os: String,
    /// Digests of the layers' tar archives, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Environment, each `name=value`.
    pub env: Vec<String>,
    /// Entry point, the first part of the argument list.
    pub entrypoint: Vec<String>,
    /// Default arguments, the second part of the argument list.
    pub cmd: Vec<String>,
    /// Working directory; empty means `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, `uid:gid`, or empty for root.
    pub user: String,
    /// Paths that the image wants to be volumes, sorted.
    pub volumes: Vec<String>,
    /// Ports that the image speaks of, sorted, for example `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// The signal that asks the process to end, by name or number.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The build step of each layer, lowest first, as the builder wrote it down; empty if the
    /// configuration does not tell one for each layer. Nobody checks these texts.
    pub steps: Vec<String>,
}

impl ImageConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is malformed, over a cap or of another kind than layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_CONFIG {
            return Err(ConfigError::Large { size: bytes.len() });
        }
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|source| ConfigError::Json { source })?;
        if wire.rootfs.kind != "layers" {
            return Err(ConfigError::RootfsKind);
        }
        if wire.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(ConfigError::Layers { count: wire.rootfs.diff_ids.len() });
        }
        let process = wire.config.unwrap_or_default();
        let history = wire.history.unwrap_or_default().into_iter();
        let mut steps: Vec<String> = history
            .filter(|entry| !entry.empty_layer.unwrap_or_default())
            .map(|entry| entry.created_by.unwrap_or_default())
            .collect();
        if steps.len() != wire.rootfs.diff_ids.len() {
            steps.clear();
        }
        Ok(Self {
            architecture: wire.architecture,
            os: wire.os,
            diff_ids: wire.rootfs.diff_ids,
            env: process.env.unwrap_or_default(),
            entrypoint: process.entrypoint.unwrap_or_default(),
            cmd: process.cmd.unwrap_or_default(),
            working_dir: process.working_dir.unwrap_or_default(),
            user: process.user.unwrap_or_default(),
            volumes: process.volumes.unwrap_or_default().into_keys().collect(),
            exposed_ports: process.exposed_ports.unwrap_or_default().into_keys().collect(),
            stop_signal: process.stop_signal.filter(|s| !s.is_empty()),
            labels: process.labels.unwrap_or_default(),
            steps,
        })
    }
}

/// Why bytes are no image configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Over the cap.
    #[error("image configuration has {size} bytes, more than {MAX_CONFIG}")]
    Large {
        /// Its size in bytes.
        size: usize,
    },
    /// Not the JSON of a configuration.
    #[error("image configuration is malformed")]
    Json {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The root file system is not made of layers.
    #[error("image configuration's rootfs is not of type layers")]
    RootfsKind,
    /// Too many layers.
    #[error("image configuration lists {count} layers, more than {MAX_LAYERS}")]
    Layers {
        /// How many.
        count: usize,
    },
}

/// Largest configuration in bytes.
pub const MAX_CONFIG: usize = 4 << 20;

#[derive(Deserialize)]
struct Wire {
    architecture: String,
    os: String,
    config: Option<WireProcess>,
    rootfs: WireRootfs,
    history: Option<Vec<WireStep>>,
}

#[derive(Deserialize)]
struct WireStep {
    created_by: Option<String>,
    empty_layer: Option<bool>,
}

#[derive(Deserialize)]
struct WireRootfs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireProcess {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_what_a_process_needs() {
        let text = format!(
            r#"{{"created":"2026-01-01T00:00:00Z","architecture":"amd64","os":"linux",
            "config":{{"Env":["A=b"],"Entrypoint":["/x"],"Cmd":["y"],"WorkingDir":"/w","User":"web:www",
            "Volumes":{{"/data":{{}}}},"ExposedPorts":{{"80/tcp":{{}}}},"StopSignal":"SIGINT","Labels":{{"k":"v"}}}},
            "rootfs":{{"type":"layers","diff_ids":["{DIFF}"]}},"history":[]}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.env, ["A=b"]);
        assert_eq!(config.entrypoint, ["/x"]);
        assert_eq!(config.cmd, ["y"]);
        assert_eq!(config.working_dir, "/w");
        assert_eq!(config.user, "web:www");
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.exposed_ports, ["80/tcp"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.labels["k"], "v");
        assert_eq!(config.diff_ids, [DIFF.parse().unwrap()]);
    }

    #[test]
    fn steps_are_told_for_every_layer_or_not_at_all() {
        let steps = |history: &str| {
            let text = format!(
                r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{DIFF}"]}},
                "history":{history}}}"#
            );
            ImageConfig::parse(text.as_bytes()).unwrap().steps
        };
        let empty = r#"{"created_by":"ENV A=b","empty_layer":true}"#;
        assert_eq!(steps(&format!(r#"[{{"created_by":"COPY a /b"}},{empty}]"#)), ["COPY a /b"]);
        assert_eq!(steps("[{}]"), [""]);
        assert!(steps("[]").is_empty() && steps("null").is_empty());
        assert!(steps(r#"[{"created_by":"a"},{"created_by":"b"}]"#).is_empty());
    }

    #[test]
    fn null_is_absent() {
        let text = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
            "config":{"Env":null,"Entrypoint":null,"Cmd":null,"Volumes":null,"Labels":null,"User":""}}"#;
        let config = ImageConfig::parse(text).unwrap();
        assert!(config.env.is_empty() && config.entrypoint.is_empty() && config.user.is_empty());
    }

    #[test]
    fn refuses_what_is_malformed() {
        let config = |rootfs: &str| {
            let text = format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{rootfs}}}"#);
            ImageConfig::parse(text.as_bytes()).unwrap_err()
        };
        assert!(matches!(config(r#"{"type":"other","diff_ids":[]}"#), ConfigError::RootfsKind));
        assert!(matches!(config(r#"{"type":"layers"}"#), ConfigError::Json { .. }));
        assert!(matches!(
            config(r#"{"type":"layers","diff_ids":["sha256:1"]}"#),
            ConfigError::Json { .. }
        ));
        // A field given twice has two readings.
        let twice = format!(r#"{{"type":"layers","diff_ids":[],"diff_ids":["{DIFF}"]}}"#);
        assert!(matches!(config(&twice), ConfigError::Json { .. }));
        let many = vec![format!("{DIFF:?}"); MAX_LAYERS + 1].join(",");
        let many = format!(r#"{{"type":"layers","diff_ids":[{many}]}}"#);
        assert!(matches!(config(&many), ConfigError::Layers { .. }));
        let large = vec![b' '; MAX_CONFIG + 1];
        assert!(matches!(ImageConfig::parse(&large), Err(ConfigError::Large { .. })));
    }
}
