// SPDX-License-Identifier: Apache-2.0
//! What it costs to judge evidence.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::ensure;

use crate::artifacts::Artifacts;

/// Prints the cost of verdicts on real evidence: SNP against a bare signature check, TDX against the
/// crate `dcap-qvl`.
pub(super) fn run(artifacts: &Artifacts) -> anyhow::Result<()> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let vector = |name: &str| vectors.join(name).into_os_string();
    let snp = [
        vector("snp/oak/derived-genoa_oc.report.bin"),
        vector("snp/oak/derived-genoa_oc.vcek.der"),
    ];
    print(artifacts, "verify_cost", &snp, SNP)?;
    let tdx = [
        vector("tdx/dcap-qvl/tdx_quote"),
        vector("tdx/dcap-qvl/tdx_quote_collateral.json"),
        TDX_TIME.into(),
    ];
    print(artifacts, "tdx_verify_cost", &tdx, TDX)
}

fn print(
    artifacts: &Artifacts,
    example: &str,
    arguments: &[OsString],
    figures: &[(&str, &str, &str)],
) -> anyhow::Result<()> {
    let mut cost = Command::new(artifacts.release_programs().join("examples").join(example));
    let output = cost
        .args(arguments)
        .output()
        .with_context(|| format!("run {example}: cargo xtask bench builds it"))?;
    ensure!(output.status.success(), "{example} failed");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("parse the figures of {example}"))?;
    for (key, what, target) in figures {
        let value = json.get(key).and_then(serde_json::Value::as_f64).context("a figure")?;
        println!("{what:<32} {value:>8.2}    {target}");
    }
    Ok(())
}

const SNP: &[(&str, &str, &str)] = &[
    ("snp_cached_over_bare", "SNP verdict ÷ one P-384 check", "(target 1.2)"),
    ("snp_full_over_bare", "the same, chain not cached", ""),
    ("snp_cached_us", "SNP verdict, µs", ""),
    ("snp_full_us", "the same, chain not cached, µs", ""),
    ("snp_cached_allocations", "allocations of an SNP verdict", ""),
    ("snp_full_allocations", "the same, chain not cached", ""),
    ("snp_cached_per_second", "SNP verdicts a second, 2 threads", ""),
    ("snp_full_per_second", "the same, chain not cached", ""),
];

const TDX: &[(&str, &str, &str)] = &[
    ("full_over_dcap_qvl", "TDX verdict ÷ crate dcap-qvl", "(target 1)"),
    ("cached_over_dcap_qvl", "the same, collateral checked once", ""),
    ("full_us", "TDX verdict, µs", ""),
    ("cached_us", "the same, collateral checked once", ""),
];

/// A moment at which the collateral beside the quote is valid.
const TDX_TIME: &str = "1750809600"; // 2025-06-25
