// SPDX-License-Identifier: Apache-2.0
//! `casemate measure snp`.

use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::path::Path;
use std::path::PathBuf;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_boot_formats::sev_hashes::KernelHashesError;
use casemate_guest_image::Manifest;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::SnpPlan;
use casemate_launch_digest::snp::VmmProfile;
use serde_json::json;

use super::MAX_GUEST_FILE;
use super::refused;
use crate::args::SnpArgs;
use crate::args::Vcpus;
use crate::failure::Failure;
use crate::file;

/// Prints the launch digest that firmware, kernel, initramfs and command line lead to.
pub(crate) fn snp(args: &SnpArgs) -> Result<(), Failure> {
    let vmm = VmmProfile::from_name(&args.vmm, args.vcpu_type)
        .map_err(|error| Failure::new("measure", error, "give --vmm qemu, ec2, gce or casemate"))?;
    let guest = Guest::read(args)?;
    let text = match args.vcpus {
        Vcpus::One(vcpus) if args.explain => explain(&guest.plan(args, vmm, vcpus)?),
        Vcpus::One(vcpus) => {
            let digest = guest.plan(args, vmm, vcpus)?.digest();
            if args.json {
                let object = json!({
                    "launch_digest": digest.to_string(),
                    "vcpus": vcpus,
                    "vcpu_type": args.vcpu_type.name(),
                });
                format!("{object}\n")
            } else {
                format!("{digest}\n")
            }
        }
        Vcpus::Range(..) if args.explain => {
            return Err(Failure::new(
                "measure",
                "one launch is explained at a time",
                "give one number: --vcpus N",
            ));
        }
        Vcpus::Range(first, last) => {
            let digests = guest.digests(args, vmm, last)?;
            list(first, &digests, args.json)
        }
    };
    file::write(None, &text)
}

/// The digests from `first` virtual CPUs on; `digests` begin with one.
fn list(first: NonZeroU16, digests: &[LaunchDigest], as_json: bool) -> String {
    let numbered = (1_u16..).zip(digests).filter(|(vcpus, _)| *vcpus >= first.get());
    if as_json {
        let list: Vec<_> = numbered
            .map(|(vcpus, digest)| json!({"vcpus": vcpus, "launch_digest": digest.to_string()}))
            .collect();
        return format!("{}\n", json!(list));
    }
    numbered.fold(String::new(), |text, (vcpus, digest)| format!("{text}{vcpus} {digest}\n"))
}

fn explain(plan: &SnpPlan<'_>) -> String {
    let mut text = String::from("address        type       contents and digest so far\n");
    for step in plan.steps().by_page() {
        let contents = match (step.contents, step.vcpu) {
            (Some(hash), Some(vcpu)) => format!("vCPU {vcpu}: {}", hex::encode(hash)),
            (Some(hash), None) => hex::encode(hash),
            (None, _) => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{:#014x} {:<10} {contents}\n{:>26}{}",
            step.gpa,
            format!("{:?}", step.page_type),
            "= ",
            step.digest,
        );
    }
    let _ = writeln!(text, "{}", plan.digest());
    text
}

/// The files of a guest.
struct Guest {
    firmware: Vec<u8>,
    firmware_path: PathBuf,
    /// Of one virtual CPU, and of several.
    hashes: Option<[KernelHashes; 2]>,
}

impl Guest {
    fn read(args: &SnpArgs) -> Result<Self, Failure> {
        match (&args.guest_image, &args.firmware) {
            (Some(folder), _) => Self::of_image(folder, args.vcpus),
            (None, Some(firmware)) => Self::of_files(args, firmware),
            // The parser demands one of them.
            (None, None) => {
                Err(Failure::new("measure", "no firmware", "give --firmware or --guest-image"))
            }
        }
    }

    fn of_image(folder: &Path, vcpus: Vcpus) -> Result<Self, Failure> {
        let part = |name: &str| folder.join(name);
        let name = |vcpus: NonZeroU16| {
            if vcpus.get() == 1 { Manifest::CMDLINE } else { Manifest::CMDLINE_SMP }
        };
        let (one, several) = match vcpus {
            Vcpus::One(vcpus) => (name(vcpus), name(vcpus)),
            Vcpus::Range(first, last) => (name(first), name(last)),
        };
        let (kernel, initrd) = (part(Manifest::KERNEL), part(Manifest::INITRAMFS));
        let (firmware, hashed) =
            read_and_hash(&part(Manifest::FIRMWARE), Some(&kernel), Some(&initrd))?;
        let hashes = |name: &str| {
            let cmdline = file::read(&part(name), MAX_GUEST_FILE)?;
            hashed.with_cmdline(&cmdline).map_err(|error| refused(folder, &error))
        };
        Ok(Self {
            firmware,
            firmware_path: part(Manifest::FIRMWARE),
            hashes: Some([hashes(one)?, hashes(several)?]),
        })
    }

    fn of_files(args: &SnpArgs, firmware: &Path) -> Result<Self, Failure> {
        let (kernel, initrd) = (args.kernel.as_deref(), args.initrd.as_deref());
        let (bytes, hashed) = read_and_hash(firmware, kernel, initrd)?;
        let hashes = match kernel {
            None => None,
            Some(path) => {
                let append = args.append.as_deref().unwrap_or_default();
                let hashes = hashed
                    .with_cmdline(append.as_bytes())
                    .map_err(|error| refused(path, &error))?;
                Some([hashes, hashes])
            }
        };
        Ok(Self { firmware: bytes, firmware_path: firmware.to_owned(), hashes })
    }

    fn plan(
        &self,
        args: &SnpArgs,
        vmm: VmmProfile,
        vcpus: NonZeroU16,
    ) -> Result<SnpPlan<'_>, Failure> {
        let refuse = |error: &dyn std::error::Error| refused(&self.firmware_path, error);
        let inputs = SnpInputs {
            firmware: Firmware::parse(&self.firmware).map_err(|error| refuse(&error))?,
            hashes: self.hashes.map(|[one, several]| if vcpus.get() == 1 { one } else { several }),
            vmm,
            features: args.guest_features,
            vcpus,
            guest: SnpGuest::default(),
        };
        inputs.plan().map_err(|error| refuse(&error))
    }

    /// One virtual CPU may have another command line than several.
    fn digests(
        &self,
        args: &SnpArgs,
        vmm: VmmProfile,
        last: NonZeroU16,
    ) -> Result<Vec<LaunchDigest>, Failure> {
        let mut digests = self.plan(args, vmm, last)?.digests_by_vcpus();
        if let (Some(first), Some([one, several])) = (digests.first_mut(), &self.hashes)
            && one != several
        {
            *first = self.plan(args, vmm, NonZeroU16::MIN)?.digest();
        }
        Ok(digests)
    }
}

/// SHA-256 of kernel and initramfs, as far as they are there.
struct Hashed {
    kernel: Option<[u8; 32]>,
    initrd: Option<[u8; 32]>,
}

impl Hashed {
    fn with_cmdline(&self, cmdline: &[u8]) -> Result<KernelHashes, KernelHashesError> {
        let of_nothing = KernelHashes::of(&[], &[], cmdline)?;
        Ok(KernelHashes {
            kernel: self.kernel.unwrap_or(of_nothing.kernel),
            initrd: self.initrd.unwrap_or(of_nothing.initrd),
            ..of_nothing
        })
    }
}

/// Reads the firmware while another thread hashes the kernel, the largest of the files.
fn read_and_hash(
    firmware: &Path,
    kernel: Option<&Path>,
    initrd: Option<&Path>,
) -> Result<(Vec<u8>, Hashed), Failure> {
    let hash = |path: Option<&Path>| path.map(|p| file::sha256(p, MAX_GUEST_FILE)).transpose();
    std::thread::scope(|scope| {
        let kernel = scope.spawn(move || hash(kernel));
        let firmware = file::read(firmware, MAX_GUEST_FILE)?;
        let initrd = hash(initrd)?;
        let kernel = kernel
            .join()
            .map_err(|_| Failure::new("internal", "a thread failed", "run the command again"))??;
        Ok((firmware, Hashed { kernel, initrd }))
    })
}
