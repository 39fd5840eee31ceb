// SPDX-License-Identifier: Apache-2.0
//! Leaves the evidence of a run, from which anybody can recompute the launch digest.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use crate::demo::Stage;
use crate::owner::Prepared;

/// Writes report, certificates, initdata and the measured files into `dir`.
///
/// # Errors
///
/// When a file is missing or cannot be written.
pub fn evidence(stage: &Stage, prepared: &Prepared, vcpus: u32, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    // What an earlier run left there would contradict this one.
    for name in FILES {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove the old {name}"));
            }
            _ => {}
        }
    }
    let image = stage.artifacts.guest_image("sim");
    let copy = |name: &str, to: &str| {
        fs::copy(image.join(name), dir.join(to)).map(drop).with_context(|| format!("copy {name}"))
    };
    for name in ["firmware.fd", "kernel", "initramfs"] {
        copy(name, name)?;
    }
    if vcpus == 1 {
        copy("cmdline.txt", "cmdline.txt")?;
    } else {
        // What was measured, and under the name by which `casemate measure` looks for it.
        copy("cmdline-smp.txt", "cmdline.txt")?;
        copy("cmdline-smp.txt", "cmdline-smp.txt")?;
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
    let launch = format!("{{\"vcpus\": {vcpus}, \"vcpu_type\": \"EPYC-v4\"}}\n");
    fs::write(dir.join("launch.json"), launch).context("write launch.json")
}

/// All that may be written.
const FILES: &[&str] = &[
    "report.bin",
    "vcek.der",
    "chain.pem",
    "initdata.toml",
    "firmware.fd",
    "kernel",
    "initramfs",
    "cmdline.txt",
    "cmdline-smp.txt",
    "launch.json",
];
