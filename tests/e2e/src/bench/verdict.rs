// SPDX-License-Identifier: Apache-2.0
//! What it costs to judge evidence.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::ensure;

use crate::artifacts::Artifacts;

/// Prints the cost of a verdict on real SNP evidence against a bare signature check.
pub(super) fn run(artifacts: &Artifacts) -> anyhow::Result<()> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/snp/oak");
    let mut cost = Command::new(artifacts.release_programs().join("examples/verify_cost"));
    cost.arg(vectors.join("derived-genoa_oc.report.bin"));
    cost.arg(vectors.join("derived-genoa_oc.vcek.der"));
    let output = cost.output().context("run verify_cost: cargo xtask bench builds it")?;
    ensure!(output.status.success(), "verify_cost failed");
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("parse verify_cost")?;
    for (key, what, target) in [
        ("snp_cached_over_bare", "SNP verdict ÷ one P-384 check", "(target 1.2)"),
        ("snp_full_over_bare", "the same, chain not cached", ""),
        ("snp_cached_us", "SNP verdict, µs", ""),
        ("snp_full_us", "the same, chain not cached, µs", ""),
        ("snp_cached_allocations", "allocations of an SNP verdict", ""),
        ("snp_full_allocations", "the same, chain not cached", ""),
        ("snp_cached_per_second", "SNP verdicts a second, 2 threads", ""),
        ("snp_full_per_second", "the same, chain not cached", ""),
    ] {
        let value = json.get(key).and_then(serde_json::Value::as_f64).context("a figure")?;
        println!("{what:<32} {value:>8.2}    {target}");
    }
    Ok(())
}
