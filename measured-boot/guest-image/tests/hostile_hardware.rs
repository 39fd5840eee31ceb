// SPDX-License-Identifier: Apache-2.0
//! What a host adds to a guest that the shim did not ask for. E3: settings, boot code and ROMs, which
//! nobody reads or runs. E4: devices, which get no driver but those that every guest has.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

#[path = "fixtures/boot_code.rs"]
mod boot_code;
mod fixtures;
#[path = "fixtures/qemu.rs"]
mod qemu;
#[path = "fixtures/qmp.rs"]
mod qmp;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use casemate_guest_image::Kind;

use qemu::Boot;
use qemu::End;
use qemu::Guest;
use qemu::PATIENCE;
use qemu::ProbeImage;

/// E3: the host's strings, its boot order, and loaders on its disks.
#[test]
fn what_the_host_offers_to_firmware_is_ignored() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let folder = tempfile::tempdir().unwrap();
    let offered = offered(folder.path());
    let guest = image.guest(NonZeroU16::MIN);
    let victim = Guest { hardware: &offered, ..guest };
    let (honest, hostile) = both(&guest, &victim);
    let said = folder.path().join("said");
    assert_eq!(fs::read(&said).unwrap(), b"", "code of the host ran");
    // The same to the byte, but for the added disks: no word on the command line, no name, no time.
    let without_drivers = |boot: &Boot| {
        let lines = report(boot).lines().filter(|line| !line.starts_with("bound "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_drivers(&hostile), without_drivers(&honest));
    // What is measured of the firmware is in place to the end.
    let size = u64::try_from(guest.firmware.len()).unwrap();
    assert!(hostile.memory((1 << 32) - size, size) == guest.firmware);

    // The control: a BIOS runs what the same disk offers.
    let mut bios = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-machine", "q35", "-m", "256", "-nodefaults", "-display", "none"])
        .args(&offered)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let wanted = [boot_code::BOOT_SECTOR];
    let mut heard = Vec::new();
    while heard != wanted && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        assert!(bios.try_wait().unwrap().is_none(), "QEMU has ended");
        heard = fs::read(&said).unwrap();
    }
    bios.kill().unwrap();
    bios.wait().unwrap();
    assert_eq!(heard, wanted);
}

/// E3: the firmware runs the ROM of a card, unmeasured, if the guest's memory is not encrypted, as
/// here. In an SNP or TDX guest it takes none: it asks for the guest's type first.
///
/// The type is the first byte of the work area, where the reset vector puts it. Firmware that was
/// built without that question (edk2's `CcProbeLibNull`, as this firmware's sources once were) has
/// the answer "not encrypted" instead of it.
#[test]
fn the_rom_of_a_card_runs_only_where_nothing_is_encrypted() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut offered = offered(folder.path());
    offered.extend(card(folder.path()));
    let guest = image.guest(NonZeroU16::MIN);
    let boot = Guest { hardware: &offered, ..guest }.boot(PATIENCE);
    assert!(report(&boot).ends_with("end\n"));
    assert_eq!(fs::read(folder.path().join("said")).unwrap(), [boot_code::EFI_ROM]);

    // PcdOvmfWorkAreaBase of the AmdSev platform.
    const WORK_AREA: u32 = 0x80_b000;
    let drivers = unpack(guest.firmware);
    let is_here = |place: &usize| drivers[*place..].starts_with(&NO_ROM);
    let places: Vec<_> = (0..drivers.len() - NO_ROM.len()).filter(is_here).collect();
    let [place] = places[..] else { panic!("{} drivers that can refuse ROMs", places.len()) };
    // The driver's image, a PE file.
    let start = (0..place).rev().find(|at| drivers[*at..].starts_with(b"MZ\0\0")).unwrap();
    assert!(place - start < 0x1_0000);
    // mov al, [WORK_AREA]
    let question = [&[0x8a, 0x04, 0x25][..], &WORK_AREA.to_le_bytes()].concat();
    let driver = &drivers[start..start + 0x3000];
    assert!(driver.windows(question.len()).any(|window| window == question));
}

/// What the driver answers to have the ROM of a device left alone: an address space descriptor of
/// memory with "offset" 6 and no flag (UEFI PI 1.7, volume 5, table 20).
const NO_ROM: [u8; 46] = {
    let mut bytes = [0; 46];
    bytes[0] = 0x8a;
    bytes[1] = 43;
    bytes[6] = 64;
    let mut at = 14;
    while at < 30 {
        bytes[at] = 0xff;
        at += 1;
    }
    bytes[30] = 6;
    bytes
};

/// The drivers in a firmware image, which are compressed.
fn unpack(firmware: &[u8]) -> Vec<u8> {
    // EE4E5898-3914-4259-9D6E-DC7BD79403CF, before the offset of the data in its section.
    const LZMA: [u8; 16] = [
        0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03,
        0xcf,
    ];
    let at = firmware.windows(LZMA.len()).position(|window| window == LZMA).unwrap();
    let offset = u16::from_le_bytes(firmware[at + 16..at + 18].try_into().unwrap());
    // The section begins with four bytes of its own.
    let data = &firmware[at - 4 + usize::from(offset)..];
    let mut drivers = Vec::new();
    let mut reader = lzma_rust2::LzmaReader::new_mem_limit(data, 64 << 10, None).unwrap();
    reader.read_to_end(&mut drivers).unwrap();
    drivers
}

/// E4: on the bus of virtio devices network, disk and port alone have drivers; on any other nothing
/// has one that an honest guest has not.
#[test]
fn added_devices_get_no_driver_but_the_usual() {
    let Some(image) = ProbeImage::build(|_| Kind::Production) else { return };
    let folder = tempfile::tempdir().unwrap();
    let added = added(folder.path());
    // Without ACPI and with it.
    for vcpus in [1, 2] {
        let guest = image.guest(NonZeroU16::new(vcpus).unwrap());
        let victim = Guest { hardware: &added, ..guest };
        let (honest, hostile) = both(&guest, &victim);
        let (usual, found) = (drivers(&honest), drivers(&hostile));
        eprintln!("usual {usual:?}\nfound {found:?}");
        let unusual: Vec<_> = found.keys().filter(|driver| !usual.contains_key(*driver)).collect();
        assert!(unusual.is_empty(), "{vcpus} vCPUs: {unusual:?} of {found:?}");
        let virtio: Vec<_> = found.keys().filter(|(bus, _)| bus == "virtio").collect();
        let usual = ["virtio_blk", "virtio_console", "virtio_net"];
        assert_eq!(virtio.iter().map(|(_, driver)| driver.as_str()).collect::<Vec<_>>(), usual);
        // They were there to be seen: the transport has more devices.
        let transports = |of: &BTreeMap<_, _>| of[&("pci".to_owned(), "virtio-pci".to_owned())];
        assert!(transports(&found) >= transports(&drivers(&honest)) + 8);
    }
}

fn both(honest: &Guest<'_>, hostile: &Guest<'_>) -> (Boot, Boot) {
    std::thread::scope(|scope| {
        let honest = scope.spawn(|| honest.boot(PATIENCE));
        let hostile = hostile.boot(PATIENCE);
        (honest.join().unwrap(), hostile)
    })
}

/// Each driver with devices, by bus and name, and how many it has.
fn drivers(boot: &Boot) -> BTreeMap<(String, String), usize> {
    let lines = report(boot).lines().filter_map(|line| line.strip_prefix("bound "));
    lines
        .map(|line| {
            // The name of a driver may have blanks.
            let (bus, rest) = line.split_once(' ').unwrap();
            let (count, driver) = rest.split_once(' ').unwrap();
            ((bus.to_owned(), driver.to_owned()), count.parse().unwrap())
        })
        .collect()
}

/// What only firmware looks at, and a device on which its code is heard.
fn offered(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let sector = [boot_code::boot_sector(), vec![0; 1 << 20]].concat();
    fs::write(path("sector"), sector).unwrap();
    fs::create_dir_all(path("system/EFI/BOOT")).unwrap();
    fs::write(path("system/EFI/BOOT/BOOTX64.EFI"), boot_code::efi_loader()).unwrap();
    let port = boot_code::PORT;
    [
        ("-chardev", format!("file,id=said,path={}", path("said"))),
        ("-device", format!("isa-debugcon,iobase={port:#x},chardev=said")),
        ("-boot", "order=cdn,menu=on,strict=on".to_owned()),
        ("-fw_cfg", "name=opt/org.casemate/cmdline,string=init=/bin/sh".to_owned()),
        ("-fw_cfg", "name=opt/io.systemd.credentials/agent.debug,string=yes".to_owned()),
        ("-fw_cfg", "name=opt/ovmf/PcdSetNxForStack,string=no".to_owned()),
        ("-fw_cfg", "name=opt/ovmf/X-PciMmio64Mb,string=65536".to_owned()),
        ("-smbios", "type=0,vendor=host,version=1".to_owned()),
        ("-smbios", "type=1,manufacturer=host,product=host,serial=init=/bin/sh".to_owned()),
        ("-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/bin/sh".to_owned()),
        ("-drive", format!("file={},format=raw,if=none,id=sector,readonly=on", path("sector"))),
        ("-device", "virtio-blk-pci,drive=sector,bootindex=1".to_owned()),
        ("-drive", format!("file=fat:{},format=raw,if=none,id=system,readonly=on", path("system"))),
        ("-device", "virtio-blk-pci,drive=system,bootindex=2".to_owned()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect()
}

/// A card with a ROM.
fn card(folder: &Path) -> [String; 2] {
    let rom = folder.join("rom");
    fs::write(&rom, boot_code::option_rom()).unwrap();
    ["-device".to_owned(), format!("virtio-rng-pci,romfile={}", rom.display())]
}

/// Devices of many kinds, none of which a guest uses.
fn added(folder: &Path) -> Vec<String> {
    let disk = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        format!("file={},format=raw,if=none,id={name}", path.display())
    };
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |option: &str, value: &str| {
        arguments.extend([option.to_owned(), value.to_owned()]);
    };
    add("-netdev", "hubport,id=added-net,hubid=1");
    add("-device", "virtio-net-pci,netdev=added-net,romfile=");
    add("-device", "e1000,romfile=");
    add("-device", "virtio-serial-pci,id=added-serial");
    add("-device", "virtconsole,bus=added-serial.0,chardev=added-console");
    add("-chardev", "null,id=added-console");
    add("-fsdev", &format!("local,id=added-fs,path={},security_model=none", folder.display()));
    add("-device", "virtio-9p-pci,fsdev=added-fs,mount_tag=added");
    add("-device", "virtio-balloon-pci");
    add("-device", "virtio-gpu-pci");
    add("-device", "VGA,romfile=");
    add("-device", "virtio-rng-pci");
    add("-device", "virtio-keyboard-pci");
    add("-device", "virtio-scsi-pci");
    add("-device", "qemu-xhci,id=added-usb");
    add("-device", "usb-kbd,bus=added-usb.0");
    add("-drive", &disk("added-stick"));
    add("-device", "usb-storage,bus=added-usb.0,drive=added-stick");
    add("-drive", &disk("added-disk"));
    add("-device", "virtio-blk-pci,drive=added-disk,serial=added");
    add("-drive", &disk("added-nvme"));
    add("-device", "nvme,drive=added-nvme,serial=added");
    add("-device", "pci-serial,chardev=added-console2");
    add("-chardev", "null,id=added-console2");
    add("-device", "pcie-root-port,id=added-port,chassis=1,slot=1");
    add("-device", "pvpanic-pci");
    add("-device", "i82801b11-bridge,id=added-bridge");
    arguments
}

fn report(boot: &Boot) -> &str {
    assert_eq!(boot.end, End::Reset, "{}", boot.errors);
    let report = boot.report.as_deref();
    report.unwrap_or_else(|| panic!("no boot, {:?}: {}", boot.end, boot.errors))
}
