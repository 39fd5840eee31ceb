// SPDX-License-Identifier: Apache-2.0
//! Devices that a container cannot make or open.

use anyhow::Context;
use anyhow::ensure;
use casemate_containers::ContainerId;
use casemate_containers::ProcessId;
use casemate_containers::SignalScope;
use rustix::fs::FileType;
use serde_json::json;

use super::equal;
use crate::harness::DEFAULT_CAPABILITIES;
use crate::harness::Harness;

/// Nodes that no container may have: kernel log, memory, a miscellaneous device as the report
/// devices are, tun, and a block device. The virtio ports' major number is dynamic.
const FORBIDDEN: [(&str, &str, &str); 5] =
    [("c", "1", "11"), ("c", "1", "1"), ("c", "10", "125"), ("c", "10", "200"), ("b", "254", "0")];

fn with_mknod() -> Vec<&'static str> {
    DEFAULT_CAPABILITIES.iter().copied().chain(["CAP_MKNOD"]).collect()
}

pub(super) async fn nodes_cannot_be_made(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({})).await?;
    let null = ["/probe", "mknod", "c", "1", "3", "/dev/own-null"];
    equal!(h.exec(&id, &null).await?.line(), "EPERM", "even null without CAP_MKNOD");
    h.runtime.delete(&id).await?;

    let id = h.sleeper(json!({ "capabilities": with_mknod() })).await?;
    equal!(h.exec(&id, &null).await?.line(), "ok", "null with CAP_MKNOD");
    for (kind, major, minor) in FORBIDDEN {
        let call = ["/probe", "mknod", kind, major, minor, "/dev/forbidden"];
        equal!(h.exec(&id, &call).await?.line(), "EPERM", "{kind} {major}:{minor}");
    }
    h.runtime.delete(&id).await?;
    Ok(())
}

/// The guest itself puts nodes into a container, where the file system allows devices: the filter
/// alone refuses them.
pub(super) async fn nodes_that_are_there_cannot_be_opened(h: &Harness) -> anyhow::Result<()> {
    let port = std::fs::metadata("/dev/vport0p1")
        .or_else(|_| std::fs::metadata("/dev/vport1p1"))
        .or_else(|_| std::fs::metadata("/dev/vport2p1"))
        .context("the test's machine has a virtio port")?;
    let device = |meta: &std::fs::Metadata| std::os::unix::fs::MetadataExt::rdev(meta);
    for capabilities in [DEFAULT_CAPABILITIES.to_vec(), with_mknod()] {
        let id = h.sleeper(json!({ "capabilities": capabilities })).await?;
        let character = FileType::CharacterDevice;
        plant(h, &id, "null", character, rustix::fs::makedev(1, 3))?;
        plant(h, &id, "kmsg", character, rustix::fs::makedev(1, 11))?;
        plant(h, &id, "misc", character, rustix::fs::makedev(10, 125))?;
        plant(h, &id, "tun", character, rustix::fs::makedev(10, 200))?;
        plant(h, &id, "port", character, device(&port))?;
        plant(h, &id, "disk", FileType::BlockDevice, rustix::fs::makedev(254, 0))?;
        equal!(h.exec(&id, &["/probe", "open", "/dev/planted-null"]).await?.line(), "ok", "null");
        for name in ["kmsg", "misc", "tun", "port", "disk"] {
            let path = format!("/dev/planted-{name}");
            equal!(h.exec(&id, &["/probe", "open", &path]).await?.line(), "EPERM", "{name}");
        }
        for name in ["kmsg", "sev-guest", "tdx_guest", "vport0p1", "vda", "mem", "net/tun"] {
            let path = format!("/dev/{name}");
            equal!(h.exec(&id, &["/probe", "open", &path]).await?.line(), "ENOENT", "{name}");
        }
        h.runtime.signal(&ProcessId::init(id.clone()), 9, SignalScope::All)?;
        h.runtime.delete(&id).await?;
    }
    Ok(())
}

pub(super) async fn the_root_has_no_devices(h: &Harness) -> anyhow::Result<()> {
    let output = h.run(&["/probe", "open", "/null-of-the-image"], json!({})).await?;
    equal!(output.line(), "EACCES", "a node in the image");
    for readonly in [false, true] {
        let changes = json!({ "readonly_rootfs": readonly });
        let output = h.run(&["grep", " / / ", "/proc/self/mountinfo"], changes).await?;
        let options = output.stdout.split(' ').nth(5).context("mount options")?.to_owned();
        let options: Vec<&str> = options.split(',').collect();
        ensure!(options.contains(&"nodev"), "{options:?}");
        equal!(options.contains(&"ro"), readonly, "read-only root");
    }
    Ok(())
}

fn plant(
    h: &Harness,
    id: &ContainerId,
    name: &str,
    kind: FileType,
    device: u64,
) -> anyhow::Result<()> {
    let pid = h.runtime.pids(id)?.first().copied().context("a process")?;
    let path = format!("/proc/{pid}/root/dev/planted-{name}");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, device).context(path)
}
