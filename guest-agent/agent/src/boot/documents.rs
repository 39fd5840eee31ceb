// SPDX-License-Identifier: Apache-2.0
//! The documents in the initdata.

use casemate_boot_formats::initdata::Initdata;
use casemate_policy::CONFIG_ENTRY;
use casemate_policy::DocumentError;
use casemate_policy::GuestConfig;
use casemate_policy::POLICY_ENTRY;
use casemate_policy::Policy;

/// What the initdata holds.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) policy: Policy,
    pub(crate) config: GuestConfig,
    /// The owner's extra rules, as they came.
    pub(crate) rules: Option<String>,
}

/// Parses policy and configuration; beside these two the initdata may have the owner's rules, and
/// nothing else.
///
/// # Security
///
/// Decision 2 of the architecture: without a policy nothing runs, and there is no default one.
pub(crate) fn parse(initdata: &Initdata) -> Result<Documents, DocumentsError> {
    // D16: what this agent does not read, the owner must not believe to be in force.
    let known = [POLICY_ENTRY, CONFIG_ENTRY, casemate_policy_rules::ENTRY];
    let unknown = initdata.entries().find(|(name, _)| !known.contains(name));
    if let Some((name, _)) = unknown {
        return Err(DocumentsError::Unknown { name: name.to_owned() });
    }
    let entry = |name| initdata.entry(name).ok_or(DocumentsError::Missing { name });
    let policy = Policy::parse(entry(POLICY_ENTRY)?.as_bytes())
        .map_err(|source| DocumentsError::Document { name: POLICY_ENTRY, source })?;
    let config = GuestConfig::parse(entry(CONFIG_ENTRY)?.as_bytes())
        .map_err(|source| DocumentsError::Document { name: CONFIG_ENTRY, source })?;
    let rules = initdata.entry(casemate_policy_rules::ENTRY).map(str::to_owned);
    Ok(Documents { policy, config, rules })
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
        let both = [("policy.toml", POLICY), ("casemate.toml", CONFIG)];
        let documents = parse(&initdata(&both)).unwrap();
        assert!(documents.policy.containers.contains_key("web"));
        assert_eq!(documents.config.broker.url, "https://broker.example:8443");
        assert_eq!(documents.rules, None);
        let ruled = [both[0], both[1], ("policy.rego", "package casemate")];
        assert_eq!(parse(&initdata(&ruled)).unwrap().rules.as_deref(), Some("package casemate"));
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

    #[cfg(not(feature = "rego"))]
    #[test]
    fn rules_that_this_agent_cannot_evaluate_have_a_code_of_their_own() {
        // D16: never passed over.
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        let refused =
            casemate_policy_rules::monitor(policy, Some("package casemate")).err().unwrap();
        assert_eq!(refused.code().parse(), Ok(casemate_agent_api::Code::InitdataRego));
    }
}
