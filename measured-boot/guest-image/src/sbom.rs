// SPDX-License-Identifier: Apache-2.0
//! The software bill of materials of a guest image, in CycloneDX 1.5 (ECMA-424).

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::FileRecord;
use crate::KindName;
use crate::Library;
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
    /// References of the crates that it is built from, in the bill of materials.
    pub needs: Vec<String>,
    /// The library of the system that it links.
    pub library: Option<Library>,
}

impl Crate {
    fn reference(&self) -> String {
        reference(&self.name, &self.version)
    }
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
    let needs = |id: &str| {
        let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let built = dependencies.iter().filter(|dependency| dependency.is_built());
        let packages = built.filter_map(|dependency| packages.get(&*dependency.pkg));
        packages.map(|package| reference(&package.name, &package.version)).collect::<BTreeSet<_>>()
    };
    let mut crates: Vec<_> = seen
        .iter()
        .filter_map(|id| packages.get(id))
        .map(|package| Crate {
            name: package.name.clone(),
            version: package.version.clone(),
            license: package.license.clone(),
            published: package.source.is_some(),
            needs: needs(&package.id).into_iter().collect(),
            library: (package.name == "libseccomp-sys").then(libseccomp),
        })
        .collect();
    crates.sort();
    Ok(crates)
}

/// The only crate of the guest's programs that links a library of the system links this one. Nothing
/// in a program tells its version.
fn libseccomp() -> Library {
    Library {
        name: "libseccomp".to_owned(),
        version: None,
        package: Some("libseccomp-dev".to_owned()),
        license: "LGPL-2.1-only",
    }
}

/// Writes the bill of materials; the same image, crates and programs give the same bytes.
///
/// `programs` are the files of the initramfs that are programs, each with the libraries in it.
pub(crate) fn sbom(
    manifest: &Manifest,
    crates: &[Crate],
    programs: &BTreeMap<&str, Vec<Library>>,
) -> String {
    let mut bill = Bill::default();
    let [firmware, kernel] = [&manifest.inputs.firmware, &manifest.inputs.kernel].map(|package| {
        let purl = debian(&package.package, &package.version, &package.architecture);
        let component = json!({
            "type": "operating-system",
            "bom-ref": purl,
            "name": package.package,
            "version": package.version,
            "purl": purl,
            "hashes": hashes(&package.sha256),
        });
        bill.add(&purl, component, []);
        purl
    });
    let in_initramfs = |record: &FileRecord| format!("initramfs:{}", record.path);
    for (name, part) in &manifest.parts {
        let reference = format!("part:{name}");
        let made_of = match name.as_str() {
            Manifest::FIRMWARE => vec![firmware.clone()],
            Manifest::KERNEL => vec![kernel.clone()],
            Manifest::INITRAMFS => manifest.initramfs_files.iter().map(in_initramfs).collect(),
            _ => Vec::new(),
        };
        bill.add(&reference, file(&reference, name, &part.sha256), made_of);
    }
    for record in &manifest.initramfs_files {
        let reference = in_initramfs(record);
        let mut made_of = Vec::new();
        if let Some(libraries) = programs.get(record.path.as_str()) {
            let program = program_at(manifest.kind, &record.path);
            made_of.extend(crates.iter().filter(|part| part.name == program).map(Crate::reference));
            made_of.extend(libraries.iter().map(Library::reference));
        } else if record.path.ends_with(".ko.xz") {
            made_of.push(kernel.clone());
        }
        bill.add(&reference, file(&reference, &record.path, &record.sha256), made_of);
    }
    for part in crates {
        let library = part.library.as_ref().map(Library::reference);
        bill.add(&part.reference(), of_crate(part), part.needs.iter().cloned().chain(library));
    }
    let libraries = programs.values().flatten();
    let libraries = libraries.chain(crates.iter().filter_map(|part| part.library.as_ref()));
    for library in libraries.collect::<BTreeSet<_>>() {
        bill.add(&library.reference(), of_library(library), []);
    }
    bill.text(manifest, [firmware, kernel])
}

/// The crate of a program in the initramfs.
fn program_at(kind: KindName, path: &str) -> &'static str {
    match (kind, path) {
        (KindName::Simulated, "init") => "casemate-tee-sim-device",
        _ => "casemate-agent",
    }
}

/// Components, and what each is made of.
#[derive(Default)]
struct Bill {
    components: Vec<Value>,
    dependencies: Vec<Value>,
}

impl Bill {
    fn add(
        &mut self,
        reference: &str,
        component: Value,
        made_of: impl IntoIterator<Item = String>,
    ) {
        self.components.push(component);
        let made_of: BTreeSet<_> = made_of.into_iter().collect();
        self.dependencies.push(json!({"ref": reference, "dependsOn": made_of}));
    }

    fn text(self, manifest: &Manifest, packages: [String; 2]) -> String {
        let kind = match manifest.kind {
            KindName::Production => "production",
            KindName::Simulated => "simulated",
        };
        let parts = manifest.parts.keys().map(|name| format!("part:{name}"));
        let made_of: BTreeSet<_> = parts.chain(packages).collect();
        let mut dependencies = vec![json!({"ref": ROOT, "dependsOn": made_of})];
        dependencies.extend(self.dependencies);
        let bom = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "firmware",
                    "bom-ref": ROOT,
                    "name": format!("casemate-guest-image-{kind}"),
                    "version": env!("CARGO_PKG_VERSION"),
                },
            },
            "components": self.components,
            "dependencies": dependencies,
        });
        format!("{bom:#}\n")
    }
}

/// Reference of the image itself.
const ROOT: &str = "casemate-guest-image";

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

fn of_crate(part: &Crate) -> Value {
    let reference = part.reference();
    let mut component = json!({
        "type": "library", "bom-ref": reference, "name": part.name, "version": part.version,
    });
    if let Some(fields) = component.as_object_mut() {
        if part.published {
            fields.insert("purl".to_owned(), json!(reference));
        }
        if let Some(license) = &part.license {
            fields.insert("licenses".to_owned(), json!([{ "expression": license }]));
        }
    }
    component
}

fn of_library(library: &Library) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": library.reference(),
        "name": library.name,
        "licenses": [{ "expression": library.license }],
    });
    if let Some(fields) = component.as_object_mut() {
        fields.extend(library.version.iter().map(|found| ("version".to_owned(), json!(found))));
        fields.extend(library.purl().map(|purl| ("purl".to_owned(), json!(purl))));
    }
    component
}

impl Library {
    fn reference(&self) -> String {
        self.purl().unwrap_or_else(|| format!("library:{}", self.name))
    }

    /// The package, if its version is known.
    fn purl(&self) -> Option<String> {
        Some(debian(self.package.as_ref()?, self.version.as_ref()?, "amd64"))
    }
}

fn reference(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", percent(version))
}

fn debian(package: &str, version: &str, architecture: &str) -> String {
    format!("pkg:deb/debian/{}@{}?arch={architecture}", percent(package), percent(version))
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
        let needs = |index: usize| crates[index].needs.as_slice();
        assert_eq!(needs(1), ["pkg:cargo/linked@1.0.0"]);
        assert_eq!((needs(2), needs(0)), (&["pkg:cargo/build-only@2.0.0".to_owned()][..], &[][..]));
    }

    #[test]
    fn refuses_what_lacks_a_program() {
        let error = crates(METADATA.as_bytes(), KindName::Simulated).unwrap_err();
        assert!(matches!(error, SbomError::NoProgram { .. }), "{error}");
        assert!(matches!(crates(b"{}", KindName::Production), Err(SbomError::Metadata { .. })));
    }
}
