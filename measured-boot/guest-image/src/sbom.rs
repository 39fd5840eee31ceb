// SPDX-License-Identifier: Apache-2.0
//! The software bill of materials of a guest image, in CycloneDX 1.5 (ECMA-424).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::KindName;
use crate::Manifest;
use crate::Sha256;

/// A crate that a program of the guest is built from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression.
    pub license: Option<String>,
    /// Whether it comes from the public registry; the others are of this project.
    pub published: bool,
}

/// Finds the crates that the guest's programs are built from in the output of
/// `cargo metadata --format-version 1`: those that are linked, and build scripts with what they link.
///
/// # Errors
///
/// Output of another format, or one that lacks the programs.
pub fn crates(metadata: &[u8], kind: KindName) -> Result<Vec<Crate>, SbomError> {
    let metadata: Metadata =
        serde_json::from_slice(metadata).map_err(|source| SbomError::Metadata { source })?;
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&*p.id, p)).collect();
    let nodes: BTreeMap<_, _> = metadata.resolve.nodes.iter().map(|n| (&*n.id, n)).collect();
    let programs: &[&str] = match kind {
        KindName::Production => &["casemate-agent"],
        KindName::Simulated => &["casemate-agent", "casemate-tee-sim-device"],
    };
    let mut waiting = Vec::new();
    for program in programs {
        let found = metadata.packages.iter().find(|package| package.name == *program);
        waiting.push(&*found.ok_or(SbomError::NoProgram { program: (*program).to_owned() })?.id);
    }
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
            let needed = dependencies.iter().filter(|dependency| dependency.is_built());
            waiting.extend(needed.map(|dependency| &*dependency.pkg));
        }
    }
    let mut crates: Vec<_> = seen
        .iter()
        .filter_map(|id| packages.get(id))
        .map(|package| Crate {
            name: package.name.clone(),
            version: package.version.clone(),
            license: package.license.clone(),
            published: package.source.is_some(),
        })
        .collect();
    crates.sort();
    Ok(crates)
}

/// Writes the bill of materials; the same image and crates give the same bytes.
#[must_use]
pub fn sbom(manifest: &Manifest, crates: &[Crate]) -> String {
    let mut components = Vec::new();
    for package in [&manifest.inputs.firmware, &manifest.inputs.kernel] {
        let name = percent(&package.package);
        let purl = format!(
            "pkg:deb/debian/{name}@{}?arch={}",
            percent(&package.version),
            package.architecture
        );
        components.push(json!({
            "type": "operating-system",
            "bom-ref": purl,
            "name": package.package,
            "version": package.version,
            "purl": purl,
            "hashes": hashes(&package.sha256),
        }));
    }
    for (name, part) in &manifest.parts {
        components.push(file(&format!("part:{name}"), name, &part.sha256));
    }
    for record in &manifest.initramfs_files {
        let reference = format!("initramfs:{}", record.path);
        components.push(file(&reference, &record.path, &record.sha256));
    }
    for part in crates {
        components.push(library(part));
    }
    let kind = match manifest.kind {
        KindName::Production => "production",
        KindName::Simulated => "simulated",
    };
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": "casemate-guest-image",
                "name": format!("casemate-guest-image-{kind}"),
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "components": components,
    });
    format!("{bom:#}\n")
}

/// Name of the file that holds the bill of materials.
pub const SBOM_FILE: &str = "sbom.cdx.json";

/// Why the crates cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// Not the output of `cargo metadata --format-version 1`.
    #[error("failed to read the output of cargo metadata")]
    Metadata {
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A program is not in it.
    #[error("cargo metadata does not know {program}")]
    NoProgram {
        /// The program's crate.
        program: String,
    },
}

fn file(reference: &str, name: &str, sha256: &Sha256) -> Value {
    json!({"type": "file", "bom-ref": reference, "name": name, "hashes": hashes(sha256)})
}

fn library(part: &Crate) -> Value {
    let purl = format!("pkg:cargo/{}@{}", part.name, percent(&part.version));
    let mut component = json!({
        "type": "library", "bom-ref": purl, "name": part.name, "version": part.version,
    });
    if let Some(fields) = component.as_object_mut() {
        if part.published {
            fields.insert("purl".to_owned(), json!(purl));
        }
        if let Some(license) = &part.license {
            fields.insert("licenses".to_owned(), json!([{ "expression": license }]));
        }
    }
    component
}

fn hashes(sha256: &Sha256) -> Value {
    json!([{"alg": "SHA-256", "content": sha256.to_string()}])
}

/// Escapes what a package URL cannot hold (purl specification, "Character encoding").
fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

impl Dependency {
    fn is_built(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"id": "a", "name": "casemate-agent", "version": "0.1.0", "license": null, "source": null},
            {"id": "l", "name": "linked", "version": "1.0.0", "license": "MIT", "source": "registry"},
            {"id": "b", "name": "build-only", "version": "2.0.0", "license": "MIT", "source": "registry"},
            {"id": "t", "name": "test-only", "version": "3.0.0", "license": "MIT", "source": "registry"}
        ],
        "resolve": {"nodes": [
            {"id": "a", "deps": [
                {"pkg": "l", "dep_kinds": [{"kind": null}]},
                {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "l", "deps": [
                {"pkg": "b", "dep_kinds": [{"kind": "build"}]},
                {"pkg": "a", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "b", "deps": []},
            {"id": "t", "deps": []}
        ]}
    }"#;

    #[test]
    fn lists_what_is_built_and_nothing_else() {
        let crates = crates(METADATA.as_bytes(), KindName::Production).unwrap();
        let names: Vec<_> = crates.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["build-only", "casemate-agent", "linked"]);
        assert_eq!(crates.iter().filter(|part| part.published).count(), 2);
    }

    #[test]
    fn refuses_what_lacks_a_program() {
        let error = crates(METADATA.as_bytes(), KindName::Simulated).unwrap_err();
        assert!(matches!(error, SbomError::NoProgram { .. }), "{error}");
        assert!(matches!(crates(b"{}", KindName::Production), Err(SbomError::Metadata { .. })));
    }
}
