// SPDX-License-Identifier: Apache-2.0
//! MRTD and RTMR against the vectors and against logs of real hardware.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test may panic"
)]

#[path = "fixtures/ccel.rs"]
mod ccel;
mod fixtures;

use std::num::NonZeroU16;

use casemate_boot_formats::pe::PeImage;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_launch_digest::plan::LaunchPlan;
use casemate_launch_digest::plan::Prediction;
use casemate_launch_digest::plan::TdParams;
use casemate_launch_digest::plan::TdxInputs;
use casemate_launch_digest::plan::TdxPlan;
use casemate_launch_digest::plan::TdxPlanError;
use casemate_launch_digest::plan::TdxSection;
use casemate_launch_digest::plan::TdxSectionKind;
use casemate_launch_digest::tdx::Acpi;
use casemate_launch_digest::tdx::BootOption;
use casemate_launch_digest::tdx::Event;
use casemate_launch_digest::tdx::EventDigest;
use casemate_launch_digest::tdx::EventName;
use casemate_launch_digest::tdx::HobError;
use casemate_launch_digest::tdx::MrtdForm;
use casemate_launch_digest::tdx::NotShown;
use casemate_launch_digest::tdx::OvmfGeneration;
use casemate_launch_digest::tdx::Rtmr;
use casemate_launch_digest::tdx::Rtmr0Inputs;
use casemate_launch_digest::tdx::Shown;
use casemate_launch_digest::tdx::load_options_digest;
use casemate_launch_digest::tdx::memory_hob;
use casemate_launch_digest::tdx::predict;
use casemate_launch_digest::tdx::rtmr0_events;
use casemate_launch_digest::tdx::rtmr1_events;
use casemate_launch_digest::tdx::rtmr2_events;
use serde_json::Value;

fn plan(image: &[u8]) -> TdxPlan<'_> {
    let tdvf = Tdvf::parse(image).unwrap();
    TdxInputs { tdvf, params: TdParams::default(), vcpus: NonZeroU16::MIN }.plan().unwrap()
}

/// Debian's TDX build with the variables of its generic build. The guests of all logs had firmware
/// with the same sections and, as here, empty variables; Debian's own hold enrolled keys.
fn plan_of_the_logs<'a>(image: &'a [u8], generic: &'a [u8]) -> TdxPlan<'a> {
    let plan = plan(image);
    let mut sections = plan.sections().to_vec();
    let (gpa, size) = (sections[1].gpa(), sections[1].size());
    let vars = generic[..0x8_4000].into();
    sections[1] = TdxSection::new(TdxSectionKind::Configuration, gpa, size, vars, false).unwrap();
    TdxPlan::new(sections, *plan.params(), plan.vcpus()).unwrap()
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

#[test]
fn mrtd_of_public_images() {
    let Some(vectors) = fixtures::vectors("tdx.json") else { return };
    let mut checked = 0;
    for row in vectors["computed"].as_array().unwrap() {
        let name = row["firmware"].as_str().unwrap();
        let image = if name.contains("inteltdx") {
            fixtures::tdx_firmware()
        } else if name.contains("amdsev") {
            fixtures::amd_sev_firmware()
        } else {
            // Not among the shared files: whoever has the package names its folder.
            let Some(image) = fixtures::extra_firmware() else { continue };
            Some(image)
        };
        let Some(image) = image else { return };
        let plan = plan(&image);
        let listed = row["sections"].as_array().unwrap();
        assert_eq!(plan.sections().len(), listed.len());
        for (section, listed) in plan.sections().iter().zip(listed) {
            assert_eq!(section.gpa(), number(&listed["gpa"]));
            assert_eq!(section.size(), number(&listed["mem_size"]));
            assert_eq!(section.contents().len() as u64, number(&listed["raw_size"]));
            assert_eq!(u64::from(section.is_measured()), listed["attributes"].as_u64().unwrap());
            let kind = match listed["type"].as_str().unwrap() {
                "BFV" => TdxSectionKind::BootFirmware,
                "CFV" => TdxSectionKind::Configuration,
                "TD_HOB" => TdxSectionKind::Hob,
                "TempMem" => TdxSectionKind::TempMemory,
                other => panic!("unknown section {other}"),
            };
            assert_eq!(section.kind(), kind);
        }
        let single = plan.mrtd(MrtdForm::SinglePass);
        assert_eq!(single.to_string(), row["mrtd_single_pass"].as_str().unwrap(), "{name}");
        let two = plan.mrtd(MrtdForm::TwoPass).to_string();
        assert_eq!(two, row["mrtd_two_pass"].as_str().unwrap(), "{name}");
        assert_eq!(LaunchPlan::Tdx(plan).predict(), Prediction::Tdx(single));
        checked += 1;
    }
    assert!(checked >= 2);
}

#[test]
fn mrtd_does_not_hang_on_parameters_and_cpus() {
    let Some(image) = fixtures::tdx_firmware() else { return };
    let tdvf = Tdvf::parse(&image).unwrap();
    let params = TdParams { mr_config_id: [1; 48], mr_owner: [2; 48], ..TdParams::default() };
    let vcpus = NonZeroU16::new(64).unwrap();
    let other = TdxInputs { tdvf, params, vcpus }.plan().unwrap();
    assert_eq!(other.mrtd(MrtdForm::SinglePass), plan(&image).mrtd(MrtdForm::SinglePass));
    assert_eq!(other.params().mr_config_id, [1; 48]);
    assert_eq!(other.vcpus(), vcpus);
    assert_eq!(other.hob_address(), 0x80_9000);
}

#[test]
fn every_measured_byte_and_every_address_counts() {
    // E1: the firmware that starts is the one that was measured.
    let Some(image) = fixtures::tdx_firmware() else { return };
    let plain = plan(&image);
    let mut changed = image.clone();
    changed[0x20_0000] ^= 1;
    assert_ne!(plan(&changed).mrtd(MrtdForm::SinglePass), plain.mrtd(MrtdForm::SinglePass));
    // The configuration volume is added and not measured: that is what RTMR 0 is for.
    let mut vars = image.clone();
    vars[0x100] ^= 1;
    assert_eq!(plan(&vars).mrtd(MrtdForm::SinglePass), plain.mrtd(MrtdForm::SinglePass));

    let mut reversed = plain.sections().to_vec();
    reversed.reverse();
    let reversed = TdxPlan::new(reversed, TdParams::default(), NonZeroU16::MIN).unwrap();
    assert_ne!(reversed.mrtd(MrtdForm::SinglePass), plain.mrtd(MrtdForm::SinglePass));
}

#[test]
fn refuses_impossible_plans() {
    let section = |kind, gpa, size| TdxSection::new(kind, gpa, size, [].as_slice().into(), false);
    let temp = |gpa, size| section(TdxSectionKind::TempMemory, gpa, size);
    let hob = section(TdxSectionKind::Hob, 0x1000, 0x1000).unwrap();
    let plan = |sections| TdxPlan::new(sections, TdParams::default(), NonZeroU16::MIN);

    for (gpa, size) in
        [(1, 0x1000), (0, 0), (0, 0x800), (u64::MAX - 0xfff, 0x1000), (1 << 52, 4096)]
    {
        assert_eq!(temp(gpa, size), Err(TdxPlanError::OutOfBounds { gpa, size }));
    }
    let long =
        TdxSection::new(TdxSectionKind::BootFirmware, 0, 0x1000, vec![0; 0x1001].into(), true);
    assert_eq!(long, Err(TdxPlanError::TooLong { gpa: 0, length: 0x1001 }));
    let measured = TdxSection::new(TdxSectionKind::Hob, 0, 0x1000, [].as_slice().into(), true);
    assert_eq!(measured, Err(TdxPlanError::MeasuredHob { gpa: 0 }));
    assert_eq!(plan(vec![temp(0, 0x1000).unwrap()]), Err(TdxPlanError::HobCount));
    let two = vec![hob.clone(), section(TdxSectionKind::Hob, 0x3000, 0x1000).unwrap()];
    assert_eq!(plan(two), Err(TdxPlanError::HobCount));
    let overlap = vec![hob.clone(), temp(0, 0x2000).unwrap()];
    assert_eq!(plan(overlap), Err(TdxPlanError::Overlap { gpa: 0x1000 }));
    let huge = vec![hob.clone(), temp(1 << 40, 1 << 31).unwrap()];
    assert!(matches!(plan(huge), Err(TdxPlanError::TooLarge { .. })));
    assert!(plan(vec![hob]).is_ok());
}

/// One event of a hardware log.
struct Logged {
    register: u64,
    digest: EventDigest,
}

/// A quote's RTMRs (bytes 328 to 520 of a TDX 1.0 body behind the 48-byte header) and its log.
fn hardware(name: &str) -> Option<([Rtmr; 4], Vec<Logged>, Value)> {
    let document = fixtures::shared_vectors(&format!("tdx/dstack/{name}"))?;
    let quote = hex::decode(document["quote"].as_str().unwrap()).unwrap();
    let register = |index: usize| {
        let start = 48 + 328 + 48 * index;
        Rtmr::from_bytes(quote[start..start + 48].try_into().unwrap())
    };
    let log: Value = serde_json::from_str(document["event_log"].as_str().unwrap()).unwrap();
    let log = log.as_array().unwrap().iter().filter_map(|event| {
        // Events of the running guest may come without a digest.
        let digest = hex::decode(event["digest"].as_str().unwrap()).unwrap();
        let digest = EventDigest(digest.try_into().ok()?);
        Some(Logged { register: event["imr"].as_u64().unwrap(), digest })
    });
    let config = match &document["vm_config"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    Some(([0, 1, 2, 3].map(register), log.collect(), config))
}

fn of_register(log: &[Logged], register: u64) -> Vec<EventDigest> {
    log.iter().filter(|event| event.register == register).map(|event| event.digest).collect()
}

#[test]
fn hardware_logs_replay_to_the_quote() {
    for (name, registers) in [("tdx-lite-getquote.json", 3), ("quote-report.json", 4)] {
        let Some((quoted, log, _)) = hardware(name) else { return };
        for (index, quoted) in (0_u64..registers).zip(quoted) {
            assert_eq!(Rtmr::replay(&of_register(&log, index)), quoted, "{name} RTMR {index}");
        }
    }
}

#[test]
fn hardware_registers_are_predicted() {
    let (Some(image), Some(generic)) = (fixtures::tdx_firmware(), fixtures::amd_sev_firmware())
    else {
        return;
    };
    let plan = plan_of_the_logs(&image, &generic);
    for name in ["tdx-lite-getquote.json", "quote-report.json"] {
        let Some((quoted, log, config)) = hardware(name) else { return };
        let boot = of_register(&log, 0);
        let inputs = Rtmr0Inputs {
            generation: OvmfGeneration::Before202505,
            plan: &plan,
            ram: config["memory_size"].as_u64().unwrap(),
            secure_boot_keys: false,
            acpi: Acpi::Digests { loader: boot[8], rsdp: boot[9], tables: boot[10] },
            boot_option: BootOption::FirmwareMenu,
        };
        let events = rtmr0_events(&inputs).unwrap();
        assert_eq!(events.len(), boot.len(), "{name}");
        for (event, logged) in events.iter().zip(&boot) {
            assert_eq!(event.digest, Shown::Value(*logged), "{name} {}", event.name.as_str());
        }
        assert_eq!(predict(&events), Shown::Value(quoted[0]), "{name}");

        // Without the VMM's tables nobody can say more than that.
        let unknown = Rtmr0Inputs { acpi: Acpi::Unknown, ..inputs };
        let events = rtmr0_events(&unknown).unwrap();
        assert_eq!(predict(&events), Shown::NotShown(NotShown::AcpiTables));
        let hidden: Vec<_> = events.iter().filter(|one| one.digest.value().is_err()).collect();
        let names = [EventName::AcpiLoader, EventName::AcpiRsdp, EventName::AcpiTables];
        assert_eq!(hidden.iter().map(|event| event.name).collect::<Vec<_>>(), names);

        let kernel = of_register(&log, 1);
        let events = rtmr1_events(kernel[0], OvmfGeneration::Before202505);
        assert_eq!(predict(&events), Shown::Value(quoted[1]), "{name}");
        let image = of_register(&log, 2);
        let events = rtmr2_events(image[0], Some(image[1]));
        assert_eq!(predict(&events), Shown::Value(quoted[2]), "{name}");
    }
}

#[test]
fn early_firmware_has_its_last_separator_elsewhere() {
    let (Some(image), Some(generic)) = (fixtures::tdx_firmware(), fixtures::amd_sev_firmware())
    else {
        return;
    };
    let plan = plan_of_the_logs(&image, &generic);
    let Some(log) = ccel::log("eventlog/trustee/CCEL_data_ovmf") else { return };
    let register = |index| ccel::of_register(&log, index);
    let boot = register(0);
    let inputs = Rtmr0Inputs {
        generation: OvmfGeneration::Early,
        plan: &plan,
        ram: 2 << 30,
        secure_boot_keys: false,
        acpi: Acpi::Digests { loader: boot[8], rsdp: boot[9], tables: boot[10] },
        boot_option: BootOption::FirmwareMenu,
    };
    let digests = |events: &[Event]| -> Vec<_> {
        events.iter().map(|event| event.digest.value().unwrap()).collect()
    };
    assert_eq!(digests(&rtmr0_events(&inputs).unwrap()), boot);
    let kernel = register(1);
    assert_eq!(digests(&rtmr1_events(kernel[0], OvmfGeneration::Early)), kernel);
    let stub = register(2);
    assert_eq!(digests(&rtmr2_events(stub[0], Some(stub[1]))), stub);
}

#[test]
fn logs_replay_to_their_registers() {
    // The first bytes of each register, as the vectors' index lists them.
    for (file, registers) in [
        ("CCEL_AAEL_alibabacloud", ["b796e1c1", "3b0b9061", "35f28013", "5e4ecd49"]),
        ("CCEL_data", ["2dc71230", "0fa3be56", "00000000", "00000000"]),
        ("CCEL_data_gcp", ["33009807", "204d49f7", "", ""]),
        ("CCEL_data_grub", ["cec0a104", "6c289e0c", "08919d01", "00000000"]),
        ("CCEL_data_grub_gke", ["bc994513", "c17cb288", "334aeba2", ""]),
        ("CCEL_data_ovmf", ["8566f998", "775b9f6b", "94eaf7a7", "00000000"]),
    ] {
        let Some(log) = ccel::log(&format!("eventlog/trustee/{file}")) else { return };
        for (index, start) in (0..).zip(registers) {
            let register = Rtmr::replay(&ccel::of_register(&log, index)).to_string();
            assert!(register.starts_with(start), "{file} RTMR {index}: {register}");
        }
    }
}

#[test]
fn binary_logs_replay_to_the_quote_or_do_not() {
    for (log, quote, equal) in [
        (
            "tdx/go-tdx-guest/ccel/ccel_data.dat",
            "tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat",
            true,
        ),
        // RTMR 2 of this pair differs.
        ("tdx/cc-api/ccel_data.bin", "tdx/cc-api/quote.bin", false),
    ] {
        let (Some(log), Some(quote)) = (ccel::log(log), fixtures::shared_file(quote)) else {
            return;
        };
        for (index, matches) in [(0, true), (1, true), (2, equal)] {
            let replayed = Rtmr::replay(&ccel::of_register(&log, index));
            let start = 48 + 328 + 48 * index as usize;
            assert_eq!(replayed.as_bytes() == &quote[start..start + 48], matches, "RTMR {index}");
        }
    }
}

#[test]
fn the_publisher_names_kernel_command_line_and_initrd_of_the_quote() {
    // The vector's own figures (CBOR map of byte strings), not the log's.
    let Some((quoted, _, config)) = hardware("tdx-lite-getquote.json") else { return };
    let text = config["tdx_measurement"]["measurement"].as_str().unwrap();
    let cbor = fixtures::from_base64(text);
    let after = |key: &str| {
        let start = cbor.windows(key.len()).position(|part| part == key.as_bytes()).unwrap();
        let value = &cbor[start + key.len()..];
        assert_eq!(value[..2], [0x58, 48], "{key}");
        EventDigest(value[2..50].try_into().unwrap())
    };
    let events = rtmr1_events(after("kernel_authenticode"), OvmfGeneration::Before202505);
    assert_eq!(predict(&events), Shown::Value(quoted[1]));
    let events = rtmr2_events(after("cmdline_sha384"), Some(after("initrd_sha384")));
    assert_eq!(predict(&events), Shown::Value(quoted[2]));
}

/// Debian signs its kernels: the signature holds the digest that the signer computed.
#[test]
fn the_kernel_event_covers_what_the_signer_of_a_kernel_signed() {
    let folder = fixtures::workspace().join("target/casemate/inputs/kernel/boot");
    let kernel = std::fs::read_dir(&folder).ok().and_then(|mut files| {
        files.find_map(|file| {
            let path = file.ok()?.path();
            path.file_name()?.to_str()?.starts_with("vmlinuz").then_some(path)
        })
    });
    let Some(kernel) = kernel else {
        fixtures::skip::<()>(&format!("no kernel in {}", folder.display()));
        return;
    };
    let file = std::fs::read(kernel).unwrap();
    let image = PeImage::parse(&file).unwrap();
    let signed = image.sha256();
    assert!(image.certificates().windows(32).any(|window| window == signed));
    let covered = image.hashed().collect::<Vec<_>>().concat();
    assert_eq!(EventDigest::from(&image), EventDigest::of(&covered));
}

#[test]
fn what_no_vector_covers_is_not_shown() {
    let Some(image) = fixtures::tdx_firmware() else { return };
    let plan = plan(&image);
    let nothing = EventDigest::of(b"");
    let inputs = Rtmr0Inputs {
        generation: OvmfGeneration::Since202505,
        plan: &plan,
        ram: 2 << 30,
        secure_boot_keys: true,
        acpi: Acpi::Digests { loader: nothing, rsdp: nothing, tables: nothing },
        boot_option: BootOption::Digest(EventDigest::of(b"")),
    };
    let value = predict(&rtmr0_events(&inputs).unwrap());
    assert_eq!(value, Shown::NotShown(NotShown::FirmwareGeneration));
    let kernel = rtmr1_events(EventDigest::of(b""), OvmfGeneration::Since202505);
    assert_eq!(predict(&kernel), Shown::NotShown(NotShown::FirmwareGeneration));
    let inputs = Rtmr0Inputs { generation: OvmfGeneration::Before202505, ..inputs };
    let value = predict(&rtmr0_events(&inputs).unwrap());
    assert_eq!(value, Shown::NotShown(NotShown::SecureBootKeys));
    let volumes = plan.sections().iter().filter(|one| one.kind() != TdxSectionKind::Configuration);
    let bare = TdxPlan::new(volumes.cloned().collect(), *plan.params(), plan.vcpus()).unwrap();
    let inputs = Rtmr0Inputs { plan: &bare, secure_boot_keys: false, ..inputs };
    let value = predict(&rtmr0_events(&inputs).unwrap());
    assert_eq!(value, Shown::NotShown(NotShown::ConfigurationVolume));

    assert_eq!(
        load_options_digest("umlaut=\u{e4}".as_bytes(), true),
        Shown::NotShown(NotShown::CommandLine)
    );
    assert_eq!(load_options_digest(b"a\0b", true), Shown::NotShown(NotShown::CommandLine));
    let wide = b"a\0 \0i\0n\0i\0t\0r\0d\0=\0i\0n\0i\0t\0r\0d\0\0\0";
    assert_eq!(load_options_digest(b"a", true), Shown::Value(EventDigest::of(wide)));
    assert_eq!(load_options_digest(b"a", false), Shown::Value(EventDigest::of(b"a\0\0\0")));
}

#[test]
fn ram_must_hold_the_firmware() {
    let Some(image) = fixtures::tdx_firmware() else { return };
    let plan = plan(&image);
    for ram in [1, (2 << 30) + 1, 1 << 45] {
        assert_eq!(memory_hob(&plan, ram), Err(HobError::BadRamSize { ram }));
    }
    for ram in [0, 0x80_0000, 0x81_f000] {
        assert_eq!(memory_hob(&plan, ram), Err(HobError::SectionOutsideRam { ram }));
    }
    // Sizes around the place where q35 splits its RAM all differ.
    let sizes = [0x82_0000, 2 << 30, 0xafff_f000, 0xb000_0000, 0xb000_1000, 4 << 30];
    let hobs: std::collections::HashSet<_> =
        sizes.iter().map(|ram| memory_hob(&plan, *ram).unwrap()).collect();
    assert_eq!(hobs.len(), sizes.len());
}
