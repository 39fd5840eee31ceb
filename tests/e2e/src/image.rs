// SPDX-License-Identifier: Apache-2.0
//! Images made on the spot: busybox and a few files, as OCI layouts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;

use crate::world;

/// What an image holds.
#[derive(Debug, Clone, Default)]
pub struct Recipe<'a> {
    /// Files by absolute path, beside busybox.
    pub files: &'a [(&'a str, &'a str)],
    /// Default command.
    pub command: &'a [&'a str],
    /// Environment, `NAME=value`.
    pub env: &'a [&'a str],
    /// USER of the image configuration.
    pub user: &'a str,
    /// Size of a file of zeros in MiB; none for 0.
    pub zeros_mib: u64,
}

/// Makes an OCI layout of the recipe in `dir`, tag `latest`.
///
/// # Errors
///
/// When umoci fails or busybox is missing.
pub fn make(dir: &Path, recipe: &Recipe<'_>) -> anyhow::Result<PathBuf> {
    let layout = dir.join("oci");
    let bundle = dir.join("bundle");
    for old in [&layout, &bundle] {
        if old.exists() {
            fs::remove_dir_all(old).context("remove an old image")?;
        }
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let image = format!("{}:latest", layout.display());
    let bundle_text = bundle.display().to_string();
    world::run("umoci", &["init", "--layout", &layout.display().to_string()])?;
    world::run("umoci", &["new", "--image", &image])?;
    world::run("umoci", &["unpack", "--image", &image, &bundle_text])?;
    fill(&bundle.join("rootfs"), recipe.files)?;
    if recipe.zeros_mib > 0 {
        fs::File::create(bundle.join("rootfs/zeros"))
            .and_then(|file| file.set_len(recipe.zeros_mib << 20))
            .context("make a file of zeros")?;
    }
    world::run("umoci", &["repack", "--image", &image, &bundle_text])?;
    let mut config = vec!["config".to_owned(), "--image".to_owned(), image];
    config.extend(recipe.command.iter().map(|arg| format!("--config.cmd={arg}")));
    config.extend(recipe.env.iter().map(|var| format!("--config.env={var}")));
    if !recipe.user.is_empty() {
        config.push(format!("--config.user={}", recipe.user));
    }
    world::run("umoci", &config.iter().map(String::as_str).collect::<Vec<_>>())?;
    fs::remove_dir_all(&bundle).context("remove the bundle")?;
    Ok(layout)
}

/// Why `layout` is no OCI layout of one image; `None` if it is.
#[must_use]
pub fn unusable(layout: &Path) -> Option<String> {
    let Ok(text) = fs::read(layout.join("index.json")) else {
        return Some("is no OCI layout".to_owned());
    };
    let Ok(index) = serde_json::from_slice::<serde_json::Value>(&text) else {
        return Some("has an index.json that is no JSON".to_owned());
    };
    match index["manifests"].as_array().map_or(0, Vec::len) {
        1 => None,
        several => Some(format!("holds {several} images, not one")),
    }
}

fn fill(rootfs: &Path, files: &[(&str, &str)]) -> anyhow::Result<()> {
    for dir in ["bin", "etc", "tmp"] {
        fs::create_dir_all(rootfs.join(dir)).context("create a directory of the image")?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))
        .context("copy /bin/busybox: is busybox-static installed?")?;
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).context("link an applet")?;
    }
    for (path, content) in files {
        let place = rootfs.join(path.trim_start_matches('/'));
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).context("create a directory of the image")?;
        }
        fs::write(&place, content).with_context(|| format!("write {path}"))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).context("set a mode")?;
    }
    Ok(())
}

const APPLETS: &[&str] = &[
    "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id",
    "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "nc", "ping", "printf", "ps", "pwd", "rm",
    "sed", "seq", "sh", "sleep", "stat", "stty", "sync", "tail", "tee", "test", "touch", "tr",
    "true", "tty", "umount", "uname", "unshare", "wc", "wget", "yes",
];
