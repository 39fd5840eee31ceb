// SPDX-License-Identifier: Apache-2.0
//! `casemate check --launch`: launches a guest that is never run, and tells what KVM answered.

use std::num::NonZeroU16;
use std::path::Path;

use casemate_agent_api::Code;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_launch::HostKvm;
use casemate_launch::LaunchError;
use casemate_launch::Machine;
use casemate_launch::MemoryLayout;
use casemate_launch::MemoryRegion;
use casemate_launch::RegionKind;
use casemate_launch::abi::CpuidEntry;
use casemate_launch::launch_snp;
use casemate_launch::launch_tdx;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::snp::GuestFeatures;
use casemate_launch_digest::snp::VmmProfile;
use casemate_launch_digest::tdx::MrtdForm;

use crate::args::Tee;
use crate::failure::Failure;
use crate::failure::UNUSABLE;
use crate::failure::chain;
use crate::file;

/// Launches and writes the transcript, whether or not the launch succeeds.
pub(super) fn run(tee: Tee, firmware: &Path) -> Result<(), Failure> {
    let image = file::read(firmware, MAX_FIRMWARE).map_err(|failure| failure.exit(UNUSABLE))?;
    let refuse = |error: &dyn std::error::Error| {
        Failure::new(
            "measure",
            format_args!("{}: {}", firmware.display(), chain(error)),
            "give a firmware for this TEE",
        )
        .exit(UNUSABLE)
    };
    let missing = |error: &dyn std::error::Error| {
        Failure::new(
            Code::TeeMissing.as_str(),
            format_args!("/dev/kvm: {}", chain(error)),
            Code::TeeMissing.next_step(),
        )
    };
    let mut kvm = HostKvm::open().map_err(|error| missing(&error))?;
    let table = kvm.supported_cpuid().map_err(|error| missing(&error))?;
    let size = u64::try_from(image.len()).unwrap_or(u64::MAX);
    let memory = MemoryLayout::new(vec![
        MemoryRegion { gpa: 0, size: RAM, kind: RegionKind::Ram },
        MemoryRegion { gpa: FOUR_GIB.saturating_sub(size), size, kind: RegionKind::Firmware },
    ]);
    let machine = Machine {
        memory: memory.map_err(|error| refuse(&error))?,
        cpuid: table.into_iter().filter(is_stated).collect(),
    };
    let (predicted, outcome) = match tee {
        Tee::Snp => {
            let inputs = SnpInputs {
                firmware: Firmware::parse(&image).map_err(|error| refuse(&error))?,
                hashes: None,
                vmm: VmmProfile::Casemate,
                features: GuestFeatures::SNP,
                vcpus: NonZeroU16::MIN,
                guest: SnpGuest::default(),
            };
            let plan = inputs.plan().map_err(|error| refuse(&error))?;
            let outcome = launch_snp(&plan, &machine, &mut kvm).map(drop);
            (format!("launch_digest {}", plan.digest()), outcome)
        }
        Tee::Tdx => {
            let inputs = TdxInputs {
                tdvf: Tdvf::parse(&image).map_err(|error| refuse(&error))?,
                params: TdParams::default(),
                vcpus: NonZeroU16::MIN,
            };
            let plan = inputs.plan().map_err(|error| refuse(&error))?;
            let outcome = launch_tdx(&plan, &machine, &mut kvm).map(drop);
            (format!("mrtd {}", plan.mrtd(MrtdForm::SinglePass)), outcome)
        }
    };
    let ending = match &outcome {
        Ok(()) => "launched".to_owned(),
        Err(error) => format!("not launched: {}", chain(error)),
    };
    let text = format!(
        "casemate {}\nkernel {}\npredicted {predicted}\n{}{ending}\n",
        env!("CARGO_PKG_VERSION"),
        kernel_release(),
        kvm.transcript(),
    );
    file::write(None, &text)?;
    outcome.map_err(|error| failure(&error))
}

/// The CPUID page has little room: leaves that say nothing stay out, and one that no PSP takes.
fn is_stated(entry: &CpuidEntry) -> bool {
    let says_nothing = [entry.eax, entry.ebx, entry.ecx, entry.edx] == [0; 4];
    !says_nothing && entry.function != 0x8000_0026
}

fn failure(error: &LaunchError) -> Failure {
    let code = match error {
        LaunchError::TeeMissing { .. } => Code::TeeMissing,
        _ => Code::VmStart,
    };
    Failure::new(code.as_str(), chain(error), "send the transcript in, with the processor's model")
}

fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// Enough for the memory that any firmware names in its metadata.
const RAM: u64 = 512 << 20;
const FOUR_GIB: u64 = 1 << 32;
const MAX_FIRMWARE: u64 = 16 << 20;
