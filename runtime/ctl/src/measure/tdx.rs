// SPDX-License-Identifier: Apache-2.0
//! `casemate measure tdx`.

use std::num::NonZeroU16;

use casemate_boot_formats::pe::PeImage;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::tdx;
use casemate_launch_digest::tdx::Acpi;
use casemate_launch_digest::tdx::BootOption;
use casemate_launch_digest::tdx::EventDigest;
use casemate_launch_digest::tdx::MrtdForm;
use casemate_launch_digest::tdx::OvmfGeneration;
use casemate_launch_digest::tdx::Rtmr;
use casemate_launch_digest::tdx::Rtmr0Inputs;
use casemate_launch_digest::tdx::Shown;
use serde_json::json;

use super::MAX_GUEST_FILE;
use super::refused;
use crate::args::Generation;
use crate::args::TdxArgs;
use crate::failure::Failure;
use crate::file;

/// A register, or why it cannot be predicted.
type Register = Result<String, String>;

/// Prints MRTD in both forms, and the runtime registers as far as they can be predicted.
pub(crate) fn tdx(args: &TdxArgs) -> Result<(), Failure> {
    let firmware = file::read(&args.firmware, MAX_GUEST_FILE)?;
    let refuse = |error: &dyn std::error::Error| refused(&args.firmware, error);
    let inputs = TdxInputs {
        tdvf: Tdvf::parse(&firmware).map_err(|error| refuse(&error))?,
        params: TdParams::default(),
        vcpus: NonZeroU16::MIN,
    };
    let plan = inputs.plan().map_err(|error| refuse(&error))?;
    let mrtd = plan.mrtd(MrtdForm::SinglePass).to_string();
    let two_pass = plan.mrtd(MrtdForm::TwoPass).to_string();
    let [rtmr1, rtmr2] = kernel_registers(args)?;
    let registers = [firmware_register(args, &plan)?, rtmr1, rtmr2, Ok(Rtmr::new().to_string())];
    let text = if args.json {
        in_json(&mrtd, &two_pass, &registers)
    } else {
        let mut text = format!("mrtd           {mrtd}\nmrtd_two_pass  {two_pass}\n");
        for (index, register) in registers.iter().enumerate() {
            let value = register.as_ref().unwrap_or_else(|reason| reason);
            text.push_str(&format!("rtmr{index}          {value}\n"));
        }
        text
    };
    file::write(None, &text)
}

fn in_json(mrtd: &str, two_pass: &str, registers: &[Register]) -> String {
    let values: Vec<_> = registers.iter().map(|register| register.as_ref().ok()).collect();
    let not_shown: serde_json::Map<_, _> = registers
        .iter()
        .enumerate()
        .filter_map(|(index, register)| {
            register.as_ref().err().map(|reason| (format!("rtmr{index}"), json!(reason)))
        })
        .collect();
    let object = json!({
        "mrtd": mrtd, "mrtd_two_pass": two_pass, "rtmr": values, "not_shown": not_shown,
    });
    format!("{object}\n")
}

/// RTMR 0: what the firmware was configured with.
fn firmware_register(args: &TdxArgs, plan: &TdxPlan<'_>) -> Result<Register, Failure> {
    let Some(mib) = args.memory else { return Ok(Err("not shown: give --memory".to_owned())) };
    let mut files = Vec::new();
    for path in &args.acpi {
        files.push(file::read(path, MAX_GUEST_FILE)?);
    }
    let acpi = match files.as_slice() {
        [loader, rsdp, tables] => Acpi::Files { loader, rsdp, tables },
        _ => Acpi::Unknown,
    };
    let inputs = Rtmr0Inputs {
        generation: generation(args),
        plan,
        ram: u64::from(mib) << 20,
        secure_boot_keys: false,
        acpi,
        boot_option: BootOption::FirmwareMenu,
    };
    let events = tdx::rtmr0_events(&inputs).map_err(|error| refused(&args.firmware, &error))?;
    Ok(shown(tdx::predict(&events)))
}

/// RTMR 1 and 2: the kernel, its command line and the initrd.
fn kernel_registers(args: &TdxArgs) -> Result<[Register; 2], Failure> {
    let Some(path) = &args.kernel else {
        return Ok([0; 2].map(|_| Err("not shown: give --kernel".to_owned())));
    };
    let kernel = file::read(path, MAX_GUEST_FILE)?;
    let image = PeImage::parse(&kernel).map_err(|error| refused(path, &error))?;
    let rtmr1 =
        match generation(args) {
            OvmfGeneration::Since202505 => shown(tdx::predict(&tdx::rtmr1_events(
                EventDigest(image.sha384()),
                OvmfGeneration::Since202505,
            ))),
            // Which writes into the kernel's header before the firmware measures it.
            _ => Err("not shown: no vector covers the kernel as the QEMU of that time changes it"
                .to_owned()),
        };
    let initrd = match &args.initrd {
        Some(path) => Some(EventDigest::of(&file::read(path, MAX_GUEST_FILE)?)),
        None => None,
    };
    let append = args.append.as_deref().unwrap_or_default();
    let rtmr2 = match tdx::load_options_digest(append.as_bytes(), initrd.is_some()) {
        Shown::Value(options) => tdx::predict(&tdx::rtmr2_events(options, initrd)),
        Shown::NotShown(reason) => Shown::NotShown(reason),
    };
    Ok([rtmr1, shown(rtmr2)])
}

fn shown(register: Shown<Rtmr>) -> Register {
    register.value().map(|rtmr| rtmr.to_string()).map_err(|reason| reason.to_string())
}

fn generation(args: &TdxArgs) -> OvmfGeneration {
    match args.generation {
        Generation::Early => OvmfGeneration::Early,
        Generation::Before202505 => OvmfGeneration::Before202505,
        Generation::Since202505 => OvmfGeneration::Since202505,
    }
}
