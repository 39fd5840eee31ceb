// SPDX-License-Identifier: Apache-2.0
//! Leaves the evidence of a run, from which anybody can recompute the launch digest.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::demo::Stage;
use crate::owner::Prepared;

/// Writes report, certificates, initdata and the measured files into `dir`.
///
/// # Errors
///
/// When a file is missing or cannot be written.
pub fn evidence(stage: &Stage, prepared: &Prepared, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let image = stage.artifacts.guest_image("sim");
    for name in ["firmware.fd", "kernel", "initramfs", "cmdline.txt"] {
        fs::copy(image.join(name), dir.join(name)).with_context(|| format!("copy {name}"))?;
    }
    fs::copy(&prepared.initdata, dir.join("initdata.toml")).context("copy the initdata")?;
    fs::copy(stage.tee.chain(), dir.join("chain.pem")).context("copy the chain")?;
    let record = stage
        .owner
        .audit()?
        .into_iter()
        .rev()
        .find(|record| record["outcome"] == "accepted")
        .context("the broker accepted nobody")?;
    for (key, name) in [("report", "report.bin"), ("vcek", "vcek.der")] {
        let text = record[key].as_str().with_context(|| format!("no {key} in the audit log"))?;
        fs::write(dir.join(name), hex::decode(text).context("decode the audit log")?)
            .with_context(|| format!("write {name}"))?;
    }
    fs::write(dir.join("launch.json"), "{\"vcpus\": 1, \"vcpu_type\": \"EPYC-v4\"}\n")
        .context("write launch.json")
}
