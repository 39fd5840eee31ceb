// SPDX-License-Identifier: Apache-2.0
//! Disks and file systems of the host, none of which the guest uses.
//!
//! Images come over the network by digest and lie in the guest's memory, as do volumes. What is
//! attacked here does not exist; each case shows that in the files that a guest is booted from.

use std::fs;

use anyhow::Context as _;
use anyhow::ensure;
use serde_json::Value;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

/// What a thing would need in the guest.
struct Needs {
    /// Words in the paths of the API's fields.
    fields: &'static [&'static str],
    /// Kernel modules.
    modules: &'static [&'static str],
    /// Texts in the agent, which would have to name the thing to use it.
    agent: &'static [&'static str],
}

/// Fails if the guest has any of it.
fn unreachable(context: &Context, needs: &Needs) -> anyhow::Result<()> {
    for call in casemate_agent_api::class::CALLS {
        for (leaf, _) in call.leaves {
            let found = needs.fields.iter().find(|word| leaf.contains(**word));
            ensure!(found.is_none(), "{}.{leaf} is a field like {found:?}", call.name);
        }
    }
    let manifest = fs::read(context.artifact("guest/production/image.json")?)?;
    let manifest: Value = serde_json::from_slice(&manifest).context("image.json")?;
    let files = manifest["initramfs_files"].as_array().context("no list of files")?;
    let modules: Vec<_> = files
        .iter()
        .filter_map(|file| {
            file["path"].as_str()?.strip_prefix("lib/modules/")?.strip_suffix(".ko.xz")
        })
        .map(|name| name.replace('-', "_"))
        .collect();
    ensure!(modules.iter().any(|name| name == "virtio_blk"), "no module is found: {modules:?}");
    let found = modules.iter().find(|name| needs.modules.contains(&name.as_str()));
    ensure!(found.is_none(), "the guest has the module {found:?}");
    let agent = fs::read(context.artifact("../x86_64-unknown-linux-gnu/release/casemate-agent")?)?;
    for text in needs.agent {
        let found = agent.windows(text.len()).any(|window| window == text.as_bytes());
        ensure!(!found, "the agent knows {text:?}");
    }
    Ok(())
}

const VERITY: Needs = Needs {
    fields: &["verity", "storage", "device", "disk", "root_hash"],
    modules: &["dm_verity", "dm_mod", "erofs", "squashfs", "ext4", "loop"],
    agent: &["verity", "/dev/mapper", "erofs", "squashfs", "ext4"],
};
const ENCRYPTED: Needs = Needs {
    fields: &["luks", "storage", "device", "disk", "claim"],
    modules: &["dm_crypt", "dm_mod", "dm_integrity"],
    agent: &["LUKS", "dm-crypt", "cryptsetup", "/dev/mapper"],
};

const fn absent(
    id: &'static str,
    attack: &'static str,
    run: fn(Context) -> crate::Running,
) -> Case {
    Case { id, level: Level::V, attack, defence: Defence::Nothing, run }
}

pub(super) const B4: Case =
    absent("B4", "dm-verity with another root hash, flipped blocks, other options", |context| {
        Box::pin(shown(context, &VERITY, "Layers served as verified disks would bring it."))
    });

pub(super) const B5: Case = absent(
    "B5",
    "a disk that is swapped after it was opened, or reads differently twice",
    |context| {
        Box::pin(shown(
            context,
            &VERITY,
            "The one disk holds the initdata, which is read once into memory (D16). A disk with \
             content that is read as needed would bring it.",
        ))
    },
);

pub(super) const B6: Case =
    absent("B6", "a crafted file system for the guest's kernel to mount", |context| {
        Box::pin(b6(context))
    });

async fn b6(context: Context) -> Verdict {
    let needs = Needs {
        fields: &["fs_type", "fstype", "filesystem", "storage", "device"],
        modules: &["erofs", "squashfs", "ext4", "xfs", "btrfs", "isofs", "vfat", "loop"],
        agent: &["erofs", "squashfs", "ext4", "iso9660", "btrfs"],
    };
    shown(
        context,
        &needs,
        "The agent mounts nothing but tmpfs, overlay and the kernel's own, and no container has \
         CAP_SYS_ADMIN and a disk. Mounting a disk of the host would bring it.",
    )
    .await
}

pub(super) const B7: Case =
    absent("B7", "a LUKS2 volume with a null cipher or an attacker's key slot", |context| {
        Box::pin(shown(context, &ENCRYPTED, "Encrypted volumes that outlive a pod would bring it."))
    });

pub(super) const B8: Case = absent("B8", "yesterday's image of an encrypted volume", |context| {
    Box::pin(shown(
        context,
        &ENCRYPTED,
        "Volumes that outlive a pod would bring it; they need an anchor outside of the node.",
    ))
});

pub(super) const B9: Case =
    absent("B9", "the volume of another claim, disks in another order", |context| {
        Box::pin(shown(context, &ENCRYPTED, "Claims in the guest would bring it."))
    });

pub(super) const B10: Case =
    absent("B10", "emptyDir and container roots written to the host in clear", |context| {
        Box::pin(b10(context))
    });

async fn b10(context: Context) -> Verdict {
    let needs = Needs {
        fields: &["storage", "device", "disk", "swap"],
        modules: &["dm_crypt", "zram", "nbd", "loop", "virtio_scsi"],
        agent: &["mkswap", "mkfs", "/dev/vdb"],
    };
    shown(
        context,
        &needs,
        "Volumes and container roots lie in the guest's memory, with a size limit that the policy \
         may set. Ephemeral storage on a disk would bring it.",
    )
    .await
}

pub(super) const B12: Case =
    absent("B12", "a file system shared by the host: virtio-fs or 9p", |context| {
        Box::pin(b12(context))
    });

async fn b12(context: Context) -> Verdict {
    let needs = Needs {
        fields: &["share", "virtiofs", "9p"],
        modules: &["virtiofs", "9p", "9pnet", "9pnet_virtio", "nfs", "cifs"],
        agent: &["virtiofs", "9pnet"],
    };
    // Debian builds this one driver into its kernel; the measured command line keeps it from starting.
    for name in ["cmdline.txt", "cmdline-smp.txt"] {
        let line = fs::read_to_string(context.artifact(&format!("guest/production/{name}"))?)?;
        let words = line.split(' ').find_map(|word| word.strip_prefix("initcall_blacklist="));
        let kept_out =
            words.is_some_and(|list| list.split(',').any(|call| call == "virtio_fs_init"));
        ensure!(kept_out, "{name} starts the driver of virtio-fs: {line}");
    }
    shown(
        context,
        &needs,
        "The driver of virtio-fs is kept from starting by the measured command line, that of 9p is \
         not in the guest. Another command line, with another launch digest, would bring it.",
    )
    .await
}

async fn shown(context: Context, needs: &Needs, brings: &str) -> Verdict {
    unreachable(&context, needs)?;
    Ok(Outcome::absent(format!(
        "No field of the API, no module of the guest and no text in the agent is about it. {brings}"
    )))
}
