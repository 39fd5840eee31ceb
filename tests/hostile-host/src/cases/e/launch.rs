// SPDX-License-Identifier: Apache-2.0
//! E1, E12: another guest than the owner's, or an older one.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use anyhow::ensure;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_guest_image::GuestImage;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::SnpLaunch;
use casemate_tee_sim::mint::snp::Options;
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_verifier::Measurement;

use super::vm;
use super::vm::qemu::End;
use super::vm::qemu::Guest;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::cases::d::mint;
use crate::cases::d::mint::By;

pub(super) static E1: Case = Case {
    id: "E1",
    level: Level::V,
    attack: "changes kernel, initramfs, command line, firmware, CPUs or their features",
    defence: Defence::Code(Guard {
        function: "casemate_launch_digest::snp::fold::LaunchDigest::fold_page",
        sabotage: "()",
    }),
    run: |context| Box::pin(async move { change(&context) }),
};

pub(super) static E12: Case = Case {
    id: "E12",
    level: Level::U,
    attack: "launches an older release of the guest, genuine and with its own valid hashes",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::guest::check_id_block",
        sabotage: "()",
    }),
    run: |context| Box::pin(async move { roll_back(&context) }),
};

/// What the launch of an image measures.
#[derive(Clone, Copy)]
struct Launched<'a> {
    firmware: &'a [u8],
    kernel: &'a [u8],
    initramfs: &'a [u8],
    cmdline: &'a str,
    vcpus: u16,
    model: &'static str,
    features: GuestFeatures,
}

impl Launched<'_> {
    fn digest(&self) -> anyhow::Result<LaunchDigest> {
        let launch = SnpLaunch {
            firmware: self.firmware,
            hashes: Some(KernelHashes::of(self.kernel, self.initramfs, self.cmdline.as_bytes())?),
            vcpu_type: self.model.parse()?,
            features: self.features,
        };
        Ok(launch.digest(NonZeroU16::new(self.vcpus).unwrap())?)
    }
}

/// The image that this machine's guests are started from.
fn production(context: &Context) -> anyhow::Result<GuestImage> {
    let manifest = context.artifact("guest/production/image.json")?;
    Ok(GuestImage::read(manifest.parent().unwrap())?)
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn change(context: &Context) -> Verdict {
    let image = production(context)?;
    let right = Launched {
        firmware: &image.firmware,
        kernel: &image.kernel,
        initramfs: &image.initramfs,
        cmdline: std::str::from_utf8(&image.cmdline)?,
        vcpus: 1,
        model: "EPYC-v4",
        features: GuestFeatures::SNP,
    };
    let expected = right.digest()?;
    let kernel = flipped(right.kernel, right.kernel.len() - 1);
    let initramfs = flipped(right.initramfs, right.initramfs.len() / 2);
    let padded = [right.initramfs, &[0; 4]].concat();
    let firmware = flipped(right.firmware, 0x1234);
    let with = |word: &str| format!("{} {word}", right.cmdline);
    let lines = [
        with("init=/bin/sh"),
        with("agent.debug_console"),
        with("systemd.unit=rescue.target"),
        with("casemate.tee=none"),
        right.cmdline.replacen(' ', "  ", 1),
    ];
    let mut digests = BTreeSet::from([*expected.as_bytes()]);
    let mut launches = vec![
        Launched { kernel: &kernel, ..right },
        Launched { initramfs: &initramfs, ..right },
        Launched { initramfs: &padded, ..right },
        Launched { firmware: &firmware, ..right },
        Launched { vcpus: 2, ..right },
        Launched { model: "EPYC-Milan", ..right },
        Launched { features: GuestFeatures::SNP_DEBUG_SWAP, ..right },
    ];
    launches.extend(lines.iter().map(|cmdline| Launched { cmdline, ..right }));
    let count = launches.len();
    for launch in launches {
        let digest = launch.digest()?;
        let is_new = digests.insert(*digest.as_bytes());
        ensure!(is_new, "a changed launch has the digest {digest} of another");
    }

    // With the owner's table in its measured page, the firmware starts nothing but what it names.
    let image = vm::probe_image(context)?;
    let guest = image.guest(NonZeroU16::MIN);
    let longer = format!("{} init=/bin/sh", guest.cmdline);
    let initramfs = flipped(guest.initramfs, guest.initramfs.len() / 2);
    let kernel = flipped(guest.kernel, guest.kernel.len() - 1);
    let tampered = [
        ("command line", Guest { cmdline: &longer, ..guest }),
        ("initramfs", Guest { initramfs: &initramfs, ..guest }),
        ("kernel", Guest { kernel: &kernel, ..guest }),
        ("missing table", Guest { table: None, ..guest }),
    ];
    for (name, report, end) in vm::refuse(&tampered) {
        ensure!(report.is_none(), "a guest with another {name} came up");
        ensure!(end == End::DeadLoop, "a guest with another {name} ended by {end:?}");
    }
    Ok(Outcome::pass(format!(
        "{count} changed launches have digests of their own; firmware started none of {} with the \
         owner's table",
        tampered.len()
    )))
}

/// Security version 3 of a guest of which the owner demands 4.
fn roll_back(context: &Context) -> Verdict {
    let older = mint::snp(&[SnpFault::GuestSvn])?;
    mint::refused_by(&mint::judge_snp(&older, By::Policy)?, "guest.svn")?;

    // The digest of a release whose initramfs differs by a byte, as an older agent's does: genuine,
    // and no reference value.
    let image = production(context)?;
    let initramfs = flipped(&image.initramfs, image.initramfs.len() - 1);
    let launched = |initramfs| Launched {
        firmware: &image.firmware,
        kernel: &image.kernel,
        initramfs,
        cmdline: std::str::from_utf8(&image.cmdline).unwrap(),
        vcpus: 1,
        model: "EPYC-v4",
        features: GuestFeatures::SNP,
    };
    let (current, older) = (launched(&image.initramfs).digest()?, launched(&initramfs).digest()?);
    ensure!(current != older, "two releases have one digest");
    let options =
        |digest: LaunchDigest| Options { measurement: *digest.as_bytes(), ..mint::snp_options() };
    let evidence = options(older).mint(mint::keys(), &[])?;
    let mut demands = mint::snp_defaults(&evidence)?;
    demands.measurements = Some(BTreeSet::from([Measurement(*current.as_bytes())]));
    let verdict = casemate_verifier::verify(
        &mint::snp_evidence(&evidence)?,
        &[mint::snp_root(&evidence)?],
        &mint::snp_expected(&evidence)?,
        &demands,
        mint::AT,
    );
    mint::refused_by(&verdict, "guest.measurement")?;
    Ok(Outcome::pass(
        "an older security version is below the floor, and an older image's digest is no reference \
         value; there is no root file system to roll back",
    ))
}
