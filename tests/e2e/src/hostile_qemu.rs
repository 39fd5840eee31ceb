// SPDX-License-Identifier: Apache-2.0
//! A hostile host in QEMU's place: changes what the shim asked for, then becomes QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;

/// What is changed on QEMU's command line.
#[derive(Debug, Clone)]
pub enum Tamper {
    /// Appends a word to the kernel's command line; the hash table stays as the shim made it.
    CommandLine(String),
    /// Puts another file in the place of the initdata device's.
    Initdata(PathBuf),
}

/// Writes a program to `path` that stands in QEMU's place and tampers.
///
/// # Errors
///
/// When it cannot be written.
pub fn install(path: &Path, tamper: &Tamper) -> anyhow::Result<()> {
    let me = std::env::current_exe().context("find this program")?;
    let (what, value) = match tamper {
        Tamper::CommandLine(word) => ("append", word.clone()),
        Tamper::Initdata(file) => ("initdata", file.display().to_string()),
    };
    let script =
        format!("#!/bin/sh\nexec '{}' hostile-qemu {what} '{value}' -- \"$@\"\n", me.display());
    fs::write(path, script).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("make it executable")
}

/// Becomes QEMU with the changed command line.
///
/// # Errors
///
/// When there is nothing to change, or QEMU cannot be run.
pub fn become_qemu(what: &str, value: &str, mut args: Vec<String>) -> anyhow::Result<()> {
    match what {
        "append" => {
            let position = args.iter().position(|a| a == "-append").map(|p| p.saturating_add(1));
            if let Some(line) = position.and_then(|p| args.get_mut(p)) {
                line.push(' ');
                line.push_str(value);
            }
        }
        "initdata" => {
            for arg in &mut args {
                *arg = swap_initdata(arg, value);
            }
        }
        other => bail!("unknown tampering {other}"),
    }
    let error = Command::new(QEMU).args(args).exec();
    Err(error).context("become QEMU")
}

/// Replaces the path of the initdata image in a block device argument.
fn swap_initdata(arg: &str, path: &str) -> String {
    arg.split(',')
        .map(|part| match part.split_once('=') {
            Some((key @ ("filename" | "file" | "file.filename"), old))
                if old.contains("initdata") =>
            {
                format!("{key}={path}")
            }
            _ => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// Copies a guest image directory and changes its kernel command line.
///
/// # Errors
///
/// When a file cannot be copied.
pub fn changed_guest_image(from: &Path, to: &Path, word: &str) -> anyhow::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).context("remove an old copy")?;
    }
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name())).context("copy the guest image")?;
    }
    for name in ["cmdline.txt", "cmdline-smp.txt"] {
        let file = to.join(name);
        let line = fs::read_to_string(&file).context("read the command line")?;
        ensure!(!line.contains('\n'), "the command line has a line feed");
        fs::write(file, format!("{line} {word}")).context("change the command line")?;
    }
    Ok(())
}

/// The program that the shim asks for when nobody tampers.
pub const QEMU: &str = "/usr/bin/qemu-system-x86_64";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps_only_the_initdata() {
        assert_eq!(
            swap_initdata("if=none,id=i,file=/run/casemate/x/initdata.img,readonly=on", "/evil"),
            "if=none,id=i,file=/evil,readonly=on"
        );
        assert_eq!(swap_initdata("filename=/k/kernel", "/evil"), "filename=/k/kernel");
    }
}
