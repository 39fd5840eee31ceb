// SPDX-License-Identifier: Apache-2.0
//! What the owner decides beyond the YAML.

use std::collections::BTreeSet;

use casemate_policy::SecretFile;

use crate::ImageName;

/// What the owner decides beyond the YAML.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Volumes, by name, whose content the host may choose: ConfigMaps that are not given or that will
    /// change.
    pub untrusted_volumes: BTreeSet<String>,
    /// Resources of the key broker that containers get as files, beside those of the pod's annotation.
    pub secrets: Vec<ContainerSecret>,
    /// Keys that must have signed images.
    pub signatures: Vec<SignatureRule>,
}

/// A resource of the key broker for the containers of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSecret {
    /// The container.
    pub container: String,
    /// The resource and its file.
    pub secret: SecretFile,
}

/// A key that must have signed certain images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureRule {
    /// `host[:port]`, with or without the first components of a path; empty for every image.
    pub images: String,
    /// Name of the key in the guest configuration.
    pub key: String,
}

impl Options {
    /// The key that must have signed this image: that of the longest rule.
    pub(crate) fn signature(&self, image: &ImageName) -> Option<&str> {
        let name = format!("{}/{}", image.registry, image.repository);
        let covers = |rule: &&SignatureRule| {
            rule.images.is_empty()
                || name
                    .strip_prefix(rule.images.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let rules = self.signatures.iter().filter(covers);
        rules.max_by_key(|rule| rule.images.len()).map(|rule| rule.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_names_the_key() {
        let rule = |images: &str, key: &str| SignatureRule {
            images: images.to_owned(),
            key: key.to_owned(),
        };
        let options = Options {
            signatures: vec![
                rule("", "any"),
                rule("reg.example/team", "team"),
                rule("reg.example", "reg"),
            ],
            ..Options::default()
        };
        let key = |image: &str| options.signature(&image.parse().unwrap());
        assert_eq!(key("nginx"), Some("any"));
        assert_eq!(key("reg.example/x"), Some("reg"));
        assert_eq!(key("reg.example/team/x"), Some("team"));
        assert_eq!(key("reg.example/teams/x"), Some("reg"));
        assert_eq!(Options::default().signature(&"nginx".parse().unwrap()), None);
    }
}
