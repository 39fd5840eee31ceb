// SPDX-License-Identifier: Apache-2.0
//! `casemate measure tdx`.

use std::num::NonZeroU16;
use std::path::PathBuf;

use casemate_boot_formats::acpi::AcpiFiles;
use casemate_boot_formats::pe::PeImage;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_guest_image::has_variables;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::tdx;
use casemate_launch_digest::tdx::Acpi;
use casemate_launch_digest::tdx::BootOption;
use casemate_launch_digest::tdx::EventDigest;
use casemate_launch_digest::tdx::MrtdForm;
use casemate_launch_digest::tdx::NotShown;
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
use crate::failure::chain;
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
    let registers =
        [firmware_register(args, &firmware, &plan)?, rtmr1, rtmr2, Ok(Rtmr::new().to_string())];
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
fn firmware_register(
    args: &TdxArgs,
    firmware: &[u8],
    plan: &TdxPlan<'_>,
) -> Result<Register, Failure> {
    let files = match args.acpi.as_slice() {
        [] => None,
        paths => Some(AcpiInput::read(paths)?),
    };
    let ram = match args.memory {
        Some(mib) => Some(Ram::of(mib, plan)?),
        None => None,
    };
    if generation(args) == OvmfGeneration::Since202505 {
        return Ok(Err(format!("{}; {TAKE_FROM_LOG}; {OLDER}", NotShown::FirmwareGeneration)));
    }
    match has_variables(firmware) {
        Ok(false) => {}
        Ok(true) => return Ok(Err(format!("{}; {EMPTIED}", NotShown::SecureBootKeys))),
        Err(error) => return Ok(Err(format!("not shown: {}; {EMPTIED}", chain(&error)))),
    }
    let (Some(ram), Some(files)) = (&ram, &files) else {
        let missing = [ram.is_none().then_some(GIVE_MEMORY), files.is_none().then_some(GIVE_ACPI)];
        let missing: Vec<_> = missing.into_iter().flatten().collect();
        return Ok(Err(format!("not shown: give {}", missing.join(", and "))));
    };
    let inputs = Rtmr0Inputs {
        generation: generation(args),
        plan,
        ram: ram.bytes,
        secure_boot_keys: false,
        acpi: Acpi::Files(files.parse()?),
        boot_option: BootOption::FirmwareMenu,
    };
    let events = tdx::rtmr0_events(&inputs).map_err(|error| refused(&args.firmware, &error))?;
    Ok(shown(tdx::predict(&events)))
}

/// A size of RAM that holds the firmware.
struct Ram {
    bytes: u64,
}

impl Ram {
    fn of(mib: u32, plan: &TdxPlan<'_>) -> Result<Self, Failure> {
        let bytes = u64::from(mib) << 20;
        tdx::memory_hob(plan, bytes).map_err(|error| {
            Failure::new(
                "measure",
                format_args!("--memory {mib}: {error}"),
                "give the guest's RAM in MiB: -m of QEMU",
            )
        })?;
        Ok(Self { bytes })
    }
}

/// The three files of `--acpi`.
struct AcpiInput {
    paths: String,
    files: [Vec<u8>; 3],
}

impl AcpiInput {
    /// Reads the files and checks that they are the ones.
    fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let mut files = Vec::new();
        for path in paths {
            files.push(file::read(path, MAX_GUEST_FILE)?);
        }
        let files = files
            .try_into()
            .map_err(|_| Failure::new("measure", "--acpi takes three files", GIVE_THE_THREE))?;
        let input = Self { paths: names.join(" "), files };
        input.parse()?;
        Ok(input)
    }

    fn parse(&self) -> Result<AcpiFiles<'_>, Failure> {
        let [loader, rsdp, tables] = &self.files;
        AcpiFiles::parse(loader, rsdp, tables).map_err(|error| {
            Failure::new("measure", format_args!("--acpi {}: {error}", self.paths), GIVE_THE_THREE)
        })
    }
}

/// RTMR 1 and 2: the kernel, its command line and the initrd.
fn kernel_registers(args: &TdxArgs) -> Result<[Register; 2], Failure> {
    // A kernel does not help: no vector shows what the firmware makes of it.
    let rtmr1 = Err(match generation(args) {
        OvmfGeneration::Since202505 => {
            format!("{}; {TAKE_FROM_LOG}", NotShown::FirmwareGeneration)
        }
        // It is QEMU before 10 that writes into the kernel's header before that firmware measures it.
        _ => format!(
            "not shown: no vector covers the kernel as the QEMU of that time changes it; {TAKE_FROM_LOG}"
        ),
    });
    let Some(path) = &args.kernel else {
        return Ok([rtmr1, Err(format!("not shown: give {GIVE_KERNEL}"))]);
    };
    let kernel = file::read(path, MAX_GUEST_FILE)?;
    PeImage::parse(&kernel).map_err(|error| refused(path, &error))?;
    let initrd = match &args.initrd {
        Some(path) => {
            let bytes = file::read(path, MAX_GUEST_FILE)?;
            file::demand_some(path, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
            Some(EventDigest::of(&bytes))
        }
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

const TAKE_FROM_LOG: &str = "take the register from a guest that you trust: \
     casemate verify tdx --quote FILE --event-log FILE --explain";
const OLDER: &str = "if the firmware is older, give --generation before-202505";
const EMPTIED: &str = "give firmware.fd of a guest image, whose variables are taken out: \
     casemate guest-image build --tee tdx";
const GIVE_MEMORY: &str = "--memory MIB, the guest's RAM (-m of QEMU)";
const GIVE_ACPI: &str = "--acpi LOADER RSDP TABLES, the files raw in table-loader, acpi/rsdp and acpi/tables \
     below /sys/firmware/qemu_fw_cfg/by_name/etc of a guest on the same QEMU with the same devices";
const GIVE_KERNEL: &str = "--kernel FILE --initrd FILE --append TEXT: kernel, initramfs and the text of \
     cmdline.txt in the folder of the guest image";
const GIVE_THE_THREE: &str = "give the three files raw of one guest, in this order: table-loader, acpi/rsdp and acpi/tables \
     below /sys/firmware/qemu_fw_cfg/by_name/etc";
