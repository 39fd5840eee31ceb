// SPDX-License-Identifier: Apache-2.0
//! The documents in the initdata.

use casemate_boot_formats::initdata::Initdata;
use casemate_policy::CONFIG_ENTRY;
use casemate_policy::DocumentError;
use casemate_policy::GuestConfig;
use casemate_policy::POLICY_ENTRY;
use casemate_policy::Policy;

/// Parses policy and configuration; the initdata has these two and nothing else.
///
/// # Security
///
/// Decision 2 of the architecture: without a policy nothing runs, and there is no default one.
pub(crate) fn parse(initdata: &Initdata) -> Result<(Policy, GuestConfig), DocumentsError> {
    // D16: what this agent does not read, the owner must not believe to be in force.
    let unknown = initdata.entries().find(|(name, _)| ![POLICY_ENTRY, CONFIG_ENTRY].contains(name));
    if let Some((name, _)) = unknown {
        return Err(DocumentsError::Unknown { name: name.to_owned() });
    }
    let entry = |name| initdata.entry(name).ok_or(DocumentsError::Missing { name });
    let policy = Policy::parse(entry(POLICY_ENTRY)?.as_bytes())
        .map_err(|source| DocumentsError::Document { name: POLICY_ENTRY, source })?;
    let config = GuestConfig::parse(entry(CONFIG_ENTRY)?.as_bytes())
        .map_err(|source| DocumentsError::Document { name: CONFIG_ENTRY, source })?;
    Ok((policy, config))
}

/// The initdata does not hold the documents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DocumentsError {
    #[error("the initdata lacks {name}")]
    Missing { name: &'static str },
    #[error("the initdata has the unknown entry {name:?}")]
    Unknown { name: String },
    #[error("{name} is refused")]
    Document {
        name: &'static str,
        #[source]
        source: DocumentError,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use casemate_boot_formats::initdata::Algorithm;

    use super::*;

    pub(crate) const POLICY: &str = r#"
        version = 1
        [containers.web]
        image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        encryption = "required"
        argv = ["/bin/web"]
        cwd = "/"
        user = { uid = 1000, gid = 1000 }
        logs = "host-visible"
        no_new_privileges = true
        seccomp = "default"
        signals = [15]
    "#;
    pub(crate) const CONFIG: &str = r#"
        version = 1
        [broker]
        url = "https://broker.example:8443"
        ca = """
-----BEGIN CERTIFICATE-----
MIIB
-----END CERTIFICATE-----
"""
    "#;

    pub(crate) fn initdata(entries: &[(&str, &str)]) -> Initdata {
        Initdata::build(Algorithm::Sha256, entries.iter().copied()).unwrap()
    }

    #[test]
    fn both_documents_are_parsed() {
        let (policy, config) =
            parse(&initdata(&[("policy.toml", POLICY), ("casemate.toml", CONFIG)])).unwrap();
        assert!(policy.containers.contains_key("web"));
        assert_eq!(config.broker.url, "https://broker.example:8443");
    }

    #[test]
    fn each_missing_unknown_or_broken_document_is_refused() {
        let refuse = |entries: &[(&str, &str)]| parse(&initdata(entries)).unwrap_err();
        let missing = refuse(&[("casemate.toml", CONFIG)]);
        assert!(matches!(missing, DocumentsError::Missing { name: "policy.toml" }));
        let missing = refuse(&[("policy.toml", POLICY)]);
        assert!(matches!(missing, DocumentsError::Missing { name: "casemate.toml" }));
        let unknown =
            refuse(&[("policy.toml", POLICY), ("casemate.toml", CONFIG), ("aa.toml", "")]);
        assert!(matches!(unknown, DocumentsError::Unknown { .. }));
        let broken = refuse(&[("policy.toml", "version = 2"), ("casemate.toml", CONFIG)]);
        assert!(matches!(broken, DocumentsError::Document { name: "policy.toml", .. }));
        // D15: never plain http.
        let http = CONFIG.replace("https:", "http:");
        let broken = refuse(&[("policy.toml", POLICY), ("casemate.toml", &http)]);
        assert!(matches!(broken, DocumentsError::Document { name: "casemate.toml", .. }));
    }
}
