// SPDX-License-Identifier: Apache-2.0
//! The events that OVMF and Linux measure when QEMU boots a kernel directly, each by its name.
//!
//! Sources: EDK II, `OvmfPkg/IntelTdx` and `SecurityPkg/Library/DxeTpmMeasureBootLib`; Linux,
//! `drivers/firmware/efi/libstub`; TCG PC Client Platform Firmware Profile, section 10.4 (events).
//! Logs of three guests on real hardware cover the order and every digest that has a rule here.

use casemate_boot_formats::acpi::AcpiFiles;

use super::EventDigest;
use super::Rtmr;
use super::hob::HobError;
use super::hob::memory_hob;
use crate::plan::TdxPlan;
use crate::plan::TdxSectionKind;

/// One event: what was measured, and its digest if it can be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was measured.
    pub name: EventName,
    /// The digest.
    pub digest: Shown<EventDigest>,
}

/// A value, or the reason why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<T> {
    /// Predicted by a rule that reproduces vectors, or given by the caller.
    Value(T),
    /// No vector shows what the value would be, so none is given.
    NotShown(NotShown),
}

impl<T> Shown<T> {
    /// The value.
    ///
    /// # Errors
    ///
    /// The reason why there is none.
    pub fn value(self) -> Result<T, NotShown> {
        match self {
            Self::Value(value) => Ok(value),
            Self::NotShown(reason) => Err(reason),
        }
    }
}

/// Why a value cannot be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotShown {
    /// The ACPI tables depend on the VMM's build and on every device; give their digests.
    #[error("not shown: the ACPI tables of the VMM are not known")]
    AcpiTables,
    /// OVMF since 2025.05 measures other events.
    #[error("not shown: no vector covers the events of OVMF since 2025.05")]
    FirmwareGeneration,
    /// The firmware has enrolled keys, whose variables have contents.
    #[error("not shown: no vector covers firmware with enrolled secure boot keys")]
    SecureBootKeys,
    /// The firmware has no section for variables.
    #[error("not shown: no vector covers firmware without a configuration volume")]
    ConfigurationVolume,
    /// A command line that OVMF does not convert in a way that any source states.
    #[error("not shown: the kernel command line is not ASCII text without NUL")]
    CommandLine,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventName {
    /// RTMR 0: the list of memory resources, hence the size of the RAM.
    MemoryHob,
    /// RTMR 0: the firmware's variables as they lie in its image.
    ConfigurationVolume,
    /// RTMR 0: the variable SecureBoot.
    SecureBoot,
    /// RTMR 0: the variable PK.
    PlatformKey,
    /// RTMR 0: the variable KEK.
    KeyExchangeKeys,
    /// RTMR 0: the variable db.
    AllowedSignatures,
    /// RTMR 0: the variable dbx.
    ForbiddenSignatures,
    /// RTMR 0 and 1: the border between firmware and what it starts.
    Separator,
    /// RTMR 0: fw_cfg file etc/table-loader.
    AcpiLoader,
    /// RTMR 0: fw_cfg file etc/acpi/rsdp.
    AcpiRsdp,
    /// RTMR 0: fw_cfg file etc/acpi/tables.
    AcpiTables,
    /// RTMR 0: the variable BootOrder.
    BootOrder,
    /// RTMR 0: the variable Boot0000.
    BootOption,
    /// RTMR 1: the kernel as a PE file.
    Kernel,
    /// RTMR 1: the firmware starts what it has loaded.
    CallingApplication,
    /// RTMR 1: the kernel takes over.
    ExitBootServices,
    /// RTMR 1: the kernel has taken over.
    ExitedBootServices,
    /// RTMR 2: the kernel's command line.
    LoadOptions,
    /// RTMR 2: the initrd.
    Initrd,
}

impl EventName {
    /// A name for people and scripts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MemoryHob => "memory-hob",
            Self::ConfigurationVolume => "configuration-volume",
            Self::SecureBoot => "secure-boot",
            Self::PlatformKey => "pk",
            Self::KeyExchangeKeys => "kek",
            Self::AllowedSignatures => "db",
            Self::ForbiddenSignatures => "dbx",
            Self::Separator => "separator",
            Self::AcpiLoader => "acpi-loader",
            Self::AcpiRsdp => "acpi-rsdp",
            Self::AcpiTables => "acpi-tables",
            Self::BootOrder => "boot-order",
            Self::BootOption => "boot-option",
            Self::Kernel => "kernel",
            Self::CallingApplication => "calling-application",
            Self::ExitBootServices => "exit-boot-services",
            Self::ExitedBootServices => "exited-boot-services",
            Self::LoadOptions => "load-options",
            Self::Initrd => "initrd",
        }
    }
}

/// The register's value after these events, if all of them can be predicted.
#[must_use]
pub fn predict(events: &[Event]) -> Shown<Rtmr> {
    let mut register = Rtmr::new();
    for event in events {
        match event.digest {
            Shown::Value(digest) => register.extend(&digest),
            Shown::NotShown(reason) => return Shown::NotShown(reason),
        }
    }
    Shown::Value(register)
}

/// Which events OVMF measures, and into which register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OvmfGeneration {
    /// The first OVMF for TDX: the separator behind the boot option goes to RTMR 0.
    Early,
    /// OVMF after that and before edk2-stable202505: it goes to RTMR 1.
    Before202505,
    /// OVMF since edk2-stable202505.
    Since202505,
}

impl OvmfGeneration {
    /// Replaces digests by the reason why they cannot be predicted.
    fn hide(self, mut events: Vec<Event>) -> Vec<Event> {
        if self == Self::Since202505 {
            for event in &mut events {
                event.digest = Shown::NotShown(NotShown::FirmwareGeneration);
            }
        }
        events
    }
}

/// The ACPI tables that the VMM passes to the firmware through fw_cfg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acpi<'a> {
    /// The files themselves.
    Files(AcpiFiles<'a>),
    /// Digests of the files, for instance from an event log that the owner accepts.
    Digests {
        /// etc/table-loader.
        loader: EventDigest,
        /// etc/acpi/rsdp.
        rsdp: EventDigest,
        /// etc/acpi/tables.
        tables: EventDigest,
    },
    /// Nobody knows them.
    Unknown,
}

impl Acpi<'_> {
    fn digests(self) -> [Shown<EventDigest>; 3] {
        match self {
            Self::Files(files) => [files.loader(), files.rsdp(), files.tables()]
                .map(|file| Shown::Value(EventDigest::of(file))),
            Self::Digests { loader, rsdp, tables } => [loader, rsdp, tables].map(Shown::Value),
            Self::Unknown => [Shown::NotShown(NotShown::AcpiTables); 3],
        }
    }
}

/// The firmware's first boot option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootOption {
    /// The firmware's own menu (UiApp), as on a guest without boot disks.
    FirmwareMenu,
    /// Another one, by the digest of its variable.
    Digest(EventDigest),
}

/// All that RTMR 0 depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rtmr0Inputs<'a> {
    /// Which events the firmware measures.
    pub generation: OvmfGeneration,
    /// The launch: firmware variables and the places of the firmware's memory.
    pub plan: &'a TdxPlan<'a>,
    /// Size of the RAM in bytes.
    pub ram: u64,
    /// The firmware has enrolled secure boot keys.
    pub secure_boot_keys: bool,
    /// The ACPI tables.
    pub acpi: Acpi<'a>,
    /// The first boot option.
    pub boot_option: BootOption,
}

/// The events of RTMR 0, in order: firmware configuration.
///
/// # Errors
///
/// A size of RAM that no guest can have.
pub fn rtmr0_events(inputs: &Rtmr0Inputs<'_>) -> Result<Vec<Event>, HobError> {
    let hob = EventDigest::of(&memory_hob(inputs.plan, inputs.ram)?);
    let variable = |guid: &[u8; 16], name: &str| {
        if inputs.secure_boot_keys {
            return Shown::NotShown(NotShown::SecureBootKeys);
        }
        Shown::Value(empty_variable(guid, name))
    };
    let [loader, rsdp, tables] = inputs.acpi.digests();
    let boot_option = match inputs.boot_option {
        BootOption::FirmwareMenu => EventDigest::of(&firmware_menu()),
        BootOption::Digest(digest) => digest,
    };
    let mut events = vec![
        event(EventName::MemoryHob, Shown::Value(hob)),
        event(EventName::ConfigurationVolume, configuration_volume(inputs.plan)),
        event(EventName::SecureBoot, variable(&GLOBAL_VARIABLE, "SecureBoot")),
        event(EventName::PlatformKey, variable(&GLOBAL_VARIABLE, "PK")),
        event(EventName::KeyExchangeKeys, variable(&GLOBAL_VARIABLE, "KEK")),
        event(EventName::AllowedSignatures, variable(&IMAGE_SECURITY_DATABASE, "db")),
        event(EventName::ForbiddenSignatures, variable(&IMAGE_SECURITY_DATABASE, "dbx")),
        event(EventName::Separator, Shown::Value(separator())),
        event(EventName::AcpiLoader, loader),
        event(EventName::AcpiRsdp, rsdp),
        event(EventName::AcpiTables, tables),
        // One entry: option 0.
        event(EventName::BootOrder, Shown::Value(EventDigest::of(&[0, 0]))),
        event(EventName::BootOption, Shown::Value(boot_option)),
    ];
    if inputs.generation == OvmfGeneration::Early {
        events.push(event(EventName::Separator, Shown::Value(separator())));
    }
    Ok(inputs.generation.hide(events))
}

/// The events of RTMR 1, in order: the kernel that the firmware starts.
///
/// `kernel` is the digest of a [`PeImage`](casemate_boot_formats::pe::PeImage) of the bytes that the
/// firmware got. QEMU before 10 writes into the setup header of the kernel first, at places that
/// depend on RAM and initrd; OVMF since 2025.05 takes the file as it is.
#[must_use]
pub fn rtmr1_events(kernel: EventDigest, generation: OvmfGeneration) -> Vec<Event> {
    let text = |text: &str| Shown::Value(EventDigest::of(text.as_bytes()));
    let mut events = vec![
        event(EventName::Kernel, Shown::Value(kernel)),
        event(EventName::CallingApplication, text("Calling EFI Application from Boot Option")),
    ];
    if generation != OvmfGeneration::Early {
        events.push(event(EventName::Separator, Shown::Value(separator())));
    }
    events.push(event(EventName::ExitBootServices, text("Exit Boot Services Invocation")));
    let exited = text("Exit Boot Services Returned with Success");
    events.push(event(EventName::ExitedBootServices, exited));
    generation.hide(events)
}

/// The events of RTMR 2, in order: what the kernel's EFI stub got.
///
/// `initrd` is the digest of the whole file, `None` if there is no initrd.
#[must_use]
pub fn rtmr2_events(load_options: EventDigest, initrd: Option<EventDigest>) -> Vec<Event> {
    let mut events = vec![event(EventName::LoadOptions, Shown::Value(load_options))];
    events.extend(initrd.map(|digest| event(EventName::Initrd, Shown::Value(digest))));
    events
}

/// The digest of the load options that OVMF makes of a command line: UTF-16 with a NUL, behind
/// ` initrd=initrd` if there is an initrd.
///
/// No vector holds a command line's text, so this rule rests on the sources alone (EDK II,
/// `GenericQemuLoadImageLib`; Linux, `efi_convert_cmdline`).
#[must_use]
pub fn load_options_digest(cmdline: &[u8], has_initrd: bool) -> Shown<EventDigest> {
    if !cmdline.is_ascii() || cmdline.contains(&0) {
        return Shown::NotShown(NotShown::CommandLine);
    }
    let suffix: &[u8] = if has_initrd { b" initrd=initrd" } else { b"" };
    let text = cmdline.iter().chain(suffix).chain(&[0]);
    let wide: Vec<u8> = text.flat_map(|byte| [*byte, 0]).collect();
    Shown::Value(EventDigest::of(&wide))
}

fn event(name: EventName, digest: Shown<EventDigest>) -> Event {
    Event { name, digest }
}

fn separator() -> EventDigest {
    EventDigest::of(&[0; 4])
}

fn configuration_volume(plan: &TdxPlan<'_>) -> Shown<EventDigest> {
    let mut volumes =
        plan.sections().iter().filter(|one| one.kind() == TdxSectionKind::Configuration);
    match (volumes.next(), volumes.next()) {
        (Some(volume), None) => Shown::Value(EventDigest::of(volume.contents())),
        _ => Shown::NotShown(NotShown::ConfigurationVolume),
    }
}

/// UEFI_VARIABLE_DATA of a variable without contents.
fn empty_variable(guid: &[u8; 16], name: &str) -> EventDigest {
    let length = u64::try_from(name.len()).unwrap_or_default();
    let mut data = guid.to_vec();
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(&[0; 8]);
    data.extend(utf16(name));
    EventDigest::of(&data)
}

/// EFI_LOAD_OPTION of OVMF's menu: attributes, length of the device path, name, device path.
fn firmware_menu() -> Vec<u8> {
    let mut option = 0x109_u32.to_le_bytes().to_vec();
    option.extend_from_slice(&0x2c_u16.to_le_bytes());
    option.extend(utf16("UiApp\0"));
    for (kind, guid) in [(7, &FIRMWARE_VOLUME), (6, &MENU_FILE)] {
        option.extend_from_slice(&[4, kind, 20, 0]);
        option.extend_from_slice(guid);
    }
    option.extend_from_slice(&[0x7f, 0xff, 4, 0]);
    option
}

fn utf16(text: &str) -> impl Iterator<Item = u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes)
}

/// 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL_VARIABLE: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
/// d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const IMAGE_SECURITY_DATABASE: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];
/// 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1.
const FIRMWARE_VOLUME: [u8; 16] = [
    0xc9, 0xbd, 0xb8, 0x7c, 0xeb, 0xf8, 0x34, 0x4f, 0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1,
];
/// 462caa21-7614-4503-836e-8ab6f4662331.
const MENU_FILE: [u8; 16] = [
    0x21, 0xaa, 0x2c, 0x46, 0x14, 0x76, 0x03, 0x45, 0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31,
];
