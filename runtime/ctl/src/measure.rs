// SPDX-License-Identifier: Apache-2.0
//! `casemate measure`: what a guest's report will hold.

use std::fmt::Write as _;

use casemate_agent_api::Code;
use casemate_boot_formats::initdata::Initdata;
use casemate_boot_formats::initdata::MAX_DOCUMENT_SIZE;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_guest_image::Manifest;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::SnpLaunch;
use serde_json::json;

use crate::args::InitdataArgs;
use crate::args::SnpArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Prints algorithm and digest of an initdata document.
pub(crate) fn initdata(args: &InitdataArgs) -> Result<(), Failure> {
    let max = u64::try_from(MAX_DOCUMENT_SIZE).unwrap_or(u64::MAX);
    let bytes = file::read(&args.file, max)?;
    let document =
        Initdata::parse(&bytes).map_err(|error| Failure::coded(Code::InitdataInvalid, &error))?;
    let digest = document.digest().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    file::write(None, &format!("{} {digest}\n", document.algorithm().name()))
}

/// Prints the launch digest that firmware, kernel, initramfs and command line lead to.
pub(crate) fn snp(args: &SnpArgs) -> Result<(), Failure> {
    let part = |name: &str| {
        let path = args.guest_image.join(name);
        file::read(&path, MAX_GUEST_FILE)
    };
    let firmware = part("firmware.fd")?;
    let cmdline = if args.vcpus.get() == 1 { Manifest::CMDLINE } else { Manifest::CMDLINE_SMP };
    let (kernel, initramfs, cmdline) = (part("kernel")?, part("initramfs")?, part(cmdline)?);
    let refused = |error: &dyn std::error::Error| {
        Failure::new(
            "guest-image",
            format_args!("{}: {}", args.guest_image.display(), chain(error)),
            "build the guest image again: casemate guest-image build",
        )
    };
    let hashes = KernelHashes::of(&kernel, &initramfs, &cmdline).map_err(|e| refused(&e))?;
    let launch = SnpLaunch {
        firmware: &firmware,
        hashes: Some(hashes),
        vcpu_type: args.vcpu_type,
        features: GuestFeatures::SNP,
    };
    let digest = launch.digest(args.vcpus).map_err(|e| refused(&e))?;
    let text = if args.json {
        let object = json!({
            "launch_digest": digest.to_string(),
            "vcpus": args.vcpus,
            "vcpu_type": args.vcpu_type.name(),
        });
        format!("{object}\n")
    } else {
        format!("{digest}\n")
    };
    file::write(None, &text)
}

/// Largest file of a guest image that is read, in bytes.
const MAX_GUEST_FILE: u64 = 256 << 20;
