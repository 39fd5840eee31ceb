// SPDX-License-Identifier: Apache-2.0
//! House rules: formatting, lints, file sizes, and the crate edges that trust forbids.

#![expect(
    clippy::indexing_slicing,
    reason = "on JSON values, where it gives null and never panics"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::ensure;

use crate::step;
use crate::step::Steps;
use crate::step::cargo;
use crate::step::show;

/// Checks everything that is not a test.
pub(crate) fn lint(steps: &Steps) -> anyhow::Result<()> {
    steps.step("check formatting", || {
        let mut fmt = cargo();
        fmt.args(["fmt", "--all", "--check"]);
        show(fmt)
    })?;
    steps.step("check house rules", || {
        check_files(&step::workspace())?;
        check_edges()
    })?;
    steps.step("check lints", || {
        let mut clippy = cargo();
        clippy.args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        show(clippy)
    })
}

/// Every Rust file names its licence and stays below the size limit.
fn check_files(root: &Path) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    visit(root, &mut |path, text| {
        if !text.starts_with("// SPDX-License-Identifier: Apache-2.0\n") {
            faults.push(format!("{}: no licence line", path.display()));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{}: {lines} lines, over {MAX_LINES}", path.display()));
        }
    })?;
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

fn visit(dir: &Path, check: &mut impl FnMut(&Path, &str)) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                visit(&path, check)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
            check(&path, &text);
        }
    }
    Ok(())
}

/// Checks the crate graph of `cargo metadata` (normal dependencies, followed to their end).
fn check_edges() -> anyhow::Result<()> {
    let mut metadata = cargo();
    metadata.args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    let json: serde_json::Value =
        serde_json::from_str(&step::quiet(metadata)?).context("read cargo metadata")?;
    let graph = Graph::read(&json)?;
    let mut faults = Vec::new();
    for (from, forbidden, why) in FORBIDDEN {
        let reached = graph.reach(from)?;
        for name in *forbidden {
            if reached.contains(*name) {
                faults.push(format!("{from} depends on {name}: {why}"));
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Package names and whom each depends on.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    fn read(metadata: &serde_json::Value) -> anyhow::Result<Self> {
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let id = package["id"].as_str().context("package id")?.to_owned();
            names.insert(id, package["name"].as_str().context("package name")?.to_owned());
        }
        let name_of = |id: &serde_json::Value| {
            id.as_str().and_then(|id| names.get(id)).cloned().context("unknown package")
        };
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let edges = graph.entry(name_of(&node["id"])?).or_default();
            for dep in list(&node["deps"]) {
                let normal = list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
                if normal {
                    edges.insert(name_of(&dep["pkg"])?);
                }
            }
        }
        Ok(Self(graph))
    }

    fn reach(&self, from: &str) -> anyhow::Result<BTreeSet<String>> {
        ensure!(self.0.contains_key(from), "no crate {from} in the workspace");
        let mut seen = BTreeSet::new();
        let mut todo = vec![from.to_owned()];
        while let Some(name) = todo.pop() {
            for next in self.0.get(&name).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    todo.push(next.clone());
                }
            }
        }
        Ok(seen)
    }
}

const MAX_LINES: usize = 800;

/// Does input and output, so has no place below a crate that is pure.
const IO: &[&str] = &["tokio", "reqwest", "hyper", "axum", "rustix", "nix", "sqlx", "ttrpc"];
/// The software TEE.
const SIMULATION: &[&str] = &["casemate-kvm-model", "casemate-tee-sim", "casemate-tee-sim-device"];
/// The host's side.
const HOST: &[&str] =
    &["casemate-vmm", "casemate-sandbox", "casemate-pod-network", "casemate-guest-image"];
/// What handles secrets.
const SECRETS: &[&str] =
    &["casemate-kbs-client", "casemate-image-pull", "casemate-image-crypt", "casemate-containers"];

const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("casemate-evidence", IO, "evidence is parsed without I/O"),
    ("casemate-verifier", IO, "verdicts are reached without I/O"),
    ("casemate-ear", IO, "tokens are made and read without I/O"),
    ("casemate-kbs-protocol", IO, "the protocol is pure"),
    ("casemate-audit", IO, "the audit log is kept and read without I/O"),
    ("casemate-policy", IO, "the policy is data"),
    ("casemate-policy-monitor", IO, "the monitor is pure"),
    ("casemate-launch-digest", IO, "digests are computed without I/O"),
    ("casemate-boot-formats", IO, "formats are parsed without I/O"),
    ("casemate-sandbox", IO, "the state machine is pure"),
    ("casemate-agent", SIMULATION, "nothing shipped depends on the software TEE"),
    ("casemate-broker", SIMULATION, "nothing shipped depends on the software TEE"),
    ("casemate", SIMULATION, "nothing shipped depends on the software TEE"),
    ("containerd-shim-casemate-v2", SIMULATION, "nothing shipped depends on the software TEE"),
    ("casemate-snapshotter", SIMULATION, "nothing shipped depends on the software TEE"),
    ("casemate-agent", HOST, "the guest does not link the host's side"),
    ("containerd-shim-casemate-v2", SECRETS, "the host does not link what handles secrets"),
    ("casemate-snapshotter", SECRETS, "the host does not link what handles secrets"),
    (
        "casemate-agent",
        &["openssl", "openssl-sys", "native-tls", "aws-lc-rs"],
        "one TLS stack: rustls with ring",
    ),
    (
        "casemate-broker",
        &["openssl", "openssl-sys", "native-tls", "aws-lc-rs"],
        "one TLS stack: rustls with ring",
    ),
    (
        "casemate",
        &["openssl", "openssl-sys", "native-tls", "aws-lc-rs"],
        "one TLS stack: rustls with ring",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        Graph::read(&serde_json::json!({
            "packages": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}, {"id": "3", "name": "c"}, {"id": "4", "name": "d"}],
            "resolve": {"nodes": [
                {"id": "1", "deps": [{"pkg": "2", "dep_kinds": [{"kind": null}]}, {"pkg": "4", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "2", "deps": [{"pkg": "3", "dep_kinds": [{"kind": null}]}]},
                {"id": "3", "deps": []},
                {"id": "4", "deps": []},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn follows_normal_edges_to_their_end() {
        let reached = graph().reach("a").unwrap();
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn refuses_a_rule_about_an_unknown_crate() {
        assert!(graph().reach("nobody").is_err());
    }
}
