// SPDX-License-Identifier: Apache-2.0
//! Real guests in QEMU, through the measured firmware: one of an honest and one of a hostile host,
//! booted once for all cases that look at them, and what was seen of both.

#[path = "../../../../../measured-boot/guest-image/tests/fixtures/boot_code.rs"]
pub(crate) mod boot_code;
mod fixtures;
#[path = "../../../../../measured-boot/guest-image/tests/fixtures/fw_cfg.rs"]
mod fw_cfg;
#[path = "../../../../../measured-boot/guest-image/tests/fixtures/qemu.rs"]
pub(crate) mod qemu;
#[path = "../../../../../measured-boot/guest-image/tests/fixtures/qmp.rs"]
pub(crate) mod qmp;
#[path = "../../../../../measured-boot/guest-image/tests/fixtures/bad_aml.rs"]
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use casemate_guest_image::Kind;

use crate::Context;
use crate::Missing;
use qemu::Boot;
use qemu::End;
use qemu::Guest;
use qemu::MEMORY;
use qemu::PATIENCE;
use qemu::ProbeImage;
use tables::HostileTables;

pub(crate) use tables::STORED;

/// What was seen of two guests of the same image, with one virtual CPU.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// Under an honest host.
    pub(crate) honest: Seen,
    /// Under one that offers tables, settings, boot code and devices.
    pub(crate) hostile: Seen,
    /// Whether the hostile tables were in the guest's memory, where firmware puts tables.
    pub(crate) tables_arrived: bool,
    /// What code of the host said on its port.
    pub(crate) said: Vec<u8>,
}

/// What was seen of a guest.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What PID 1 found.
    pub(crate) report: String,
    /// The words to which hostile tables store: DSDT, SSDT.
    pub(crate) stored: [[u32; 2]; 2],
    /// Whether the firmware in memory is the measured one to the end.
    pub(crate) firmware_is_intact: bool,
    /// Whether the host found in the VMM's memory what the guest made up.
    pub(crate) canary_is_readable: bool,
}

impl Seen {
    /// What stands behind a word at the start of a line of the report.
    pub(crate) fn value(&self, key: &str) -> &str {
        qemu::value(&self.report, key)
    }

    /// Each driver with devices, by bus and name, and how many it has.
    pub(crate) fn drivers(&self) -> BTreeMap<(String, String), usize> {
        let lines = self.report.lines().filter_map(|line| line.strip_prefix("bound "));
        lines
            .filter_map(|line| {
                // The name of a driver may have blanks.
                let (bus, rest) = line.split_once(' ')?;
                let (count, driver) = rest.split_once(' ')?;
                Some(((bus.to_owned(), driver.to_owned()), count.parse().ok()?))
            })
            .collect()
    }

    /// The report without what is said of drivers.
    pub(crate) fn without_drivers(&self) -> Vec<&str> {
        self.report.lines().filter(|line| !line.starts_with("bound ")).collect()
    }
}

/// The probe's image: production's, with a program in the agent's place that tells what it finds.
///
/// # Errors
///
/// [`Missing`] without QEMU or the fetched packages.
pub(crate) fn probe_image(context: &Context) -> anyhow::Result<ProbeImage> {
    context.artifact("inputs/unpacked.json")?;
    if qemu::installed().is_none() {
        return Err(Missing { what: "qemu-system-x86_64".to_owned() }.into());
    }
    ProbeImage::build(|_| Kind::Production).context("the probe's image was not built")
}

/// Boots both guests, or gives what was seen before.
///
/// # Errors
///
/// [`Missing`]; a guest that does not come up.
pub(crate) fn pair(context: &Context) -> anyhow::Result<Pair> {
    static SEEN: Mutex<Option<Pair>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pair) = &*seen {
        return Ok(pair.clone());
    }
    let image = probe_image(context)?;
    let guest = image.guest(NonZeroU16::MIN);
    let folder = tempfile::tempdir()?;
    let tables = HostileTables::of(&guest);
    let hardware = [offered(folder.path())?, added(folder.path())?].concat();
    let victim = Guest { acpi: Some(&tables.files), hardware: &hardware, ..guest };
    let (honest, hostile) = std::thread::scope(|scope| {
        let honest = scope.spawn(|| guest.boot(PATIENCE));
        let hostile = victim.boot(PATIENCE);
        (honest.join(), hostile)
    });
    let honest = honest.map_err(|_| anyhow::anyhow!("the honest host's guest was not watched"))?;
    // Firmware puts tables near the end of memory.
    const SEARCHED: u64 = 32 << 20;
    let end = hostile.memory(MEMORY - SEARCHED, SEARCHED);
    let arrived =
        |table: &Vec<u8>| (0..end.len()).step_by(16).any(|at| end[at..].starts_with(table));
    let pair = Pair {
        honest: see(&honest, &guest)?,
        hostile: see(&hostile, &guest)?,
        tables_arrived: [&tables.dsdt, &tables.ssdt].into_iter().all(arrived),
        said: fs::read(folder.path().join("said"))?,
    };
    Ok(seen.insert(pair).clone())
}

fn see(boot: &Boot, guest: &Guest<'_>) -> anyhow::Result<Seen> {
    let report = boot.report.clone();
    let Some(report) = report.filter(|report| report.ends_with("end\n")) else {
        bail!("a guest did not come up: {:?}, {}", boot.end, boot.errors)
    };
    ensure!(boot.end == End::Reset, "a guest ended by {:?}: {}", boot.end, boot.errors);
    let word = |address: u32| {
        let bytes = boot.memory(address.into(), 8);
        [&bytes[..4], &bytes[4..]].map(|word| u32::from_le_bytes(word.try_into().unwrap()))
    };
    let size = u64::try_from(guest.firmware.len())?;
    Ok(Seen {
        stored: [word(tables::DSDT_TARGET), word(tables::SSDT_TARGET)],
        firmware_is_intact: boot.memory((1 << 32) - size, size) == guest.firmware,
        canary_is_readable: boot.process_holds(&canary()),
        report,
    })
}

/// As the probe computes it; it is in no file and goes through no port.
fn canary() -> Vec<u8> {
    let byte = |at: u8| at.wrapping_mul(181).wrapping_add(77).rotate_left(3) ^ 0x3c;
    (0..64).map(byte).collect()
}

/// Boots guests that must not come up, and gives what each did at last.
pub(crate) fn refuse(
    guests: &[(&'static str, Guest<'_>)],
) -> Vec<(&'static str, Option<String>, End)> {
    std::thread::scope(|scope| {
        let boots: Vec<_> = guests
            .iter()
            .map(|(name, guest)| (*name, scope.spawn(|| guest.boot(PATIENCE))))
            .collect();
        let ended = boots.into_iter().map(|(name, boot)| (name, boot.join().unwrap()));
        ended.map(|(name, boot)| (name, boot.report.clone(), boot.end)).collect()
    })
}

/// E3: what only firmware looks at, and a device on which its code is heard.
fn offered(folder: &Path) -> anyhow::Result<Vec<String>> {
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("sector"), [boot_code::boot_sector(), vec![0; 1 << 20]].concat())?;
    fs::create_dir_all(path("system/EFI/BOOT"))?;
    fs::write(path("system/EFI/BOOT/BOOTX64.EFI"), boot_code::efi_loader())?;
    fs::write(path("rom"), boot_code::option_rom())?;
    let port = boot_code::PORT;
    let options = [
        ("-chardev", format!("file,id=said,path={}", path("said"))),
        ("-device", format!("isa-debugcon,iobase={port:#x},chardev=said")),
        ("-device", format!("virtio-rng-pci,romfile={}", path("rom"))),
        ("-boot", "order=cdn,menu=on,strict=on".to_owned()),
        ("-fw_cfg", "name=opt/org.casemate/cmdline,string=init=/bin/sh".to_owned()),
        ("-fw_cfg", "name=opt/io.systemd.credentials/agent.debug,string=yes".to_owned()),
        ("-fw_cfg", "name=opt/ovmf/X-PciMmio64Mb,string=65536".to_owned()),
        ("-smbios", "type=0,vendor=host,version=1".to_owned()),
        ("-smbios", "type=1,manufacturer=host,product=host,serial=init=/bin/sh".to_owned()),
        ("-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/bin/sh".to_owned()),
        ("-drive", format!("file={},format=raw,if=none,id=sector,readonly=on", path("sector"))),
        ("-device", "virtio-blk-pci,drive=sector,bootindex=1".to_owned()),
        ("-drive", format!("file=fat:{},format=raw,if=none,id=system,readonly=on", path("system"))),
        ("-device", "virtio-blk-pci,drive=system,bootindex=2".to_owned()),
    ];
    Ok(options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect())
}

/// E4, E7, E8: devices of many kinds, none of which a guest uses.
fn added(folder: &Path) -> anyhow::Result<Vec<String>> {
    let disk = |name: &str| -> anyhow::Result<String> {
        let path = folder.join(name);
        fs::write(&path, vec![0; 1 << 20])?;
        Ok(format!("file={},format=raw,if=none,id={name}", path.display()))
    };
    let folder = folder.display();
    let options = [
        ("-netdev", "hubport,id=added-net,hubid=1".to_owned()),
        ("-device", "virtio-net-pci,netdev=added-net,romfile=".to_owned()),
        ("-device", "e1000,romfile=".to_owned()),
        ("-device", "virtio-serial-pci,id=added-serial".to_owned()),
        ("-chardev", "null,id=added-console".to_owned()),
        ("-device", "virtconsole,bus=added-serial.0,chardev=added-console".to_owned()),
        ("-fsdev", format!("local,id=added-fs,path={folder},security_model=none")),
        ("-device", "virtio-9p-pci,fsdev=added-fs,mount_tag=added".to_owned()),
        ("-device", "virtio-balloon-pci".to_owned()),
        ("-device", "virtio-gpu-pci".to_owned()),
        ("-device", "VGA,romfile=".to_owned()),
        // E8: the host's randomness is no randomness.
        ("-object", "rng-random,id=added-rng,filename=/dev/zero".to_owned()),
        ("-device", "virtio-rng-pci,rng=added-rng".to_owned()),
        ("-device", "virtio-keyboard-pci".to_owned()),
        ("-device", "virtio-scsi-pci".to_owned()),
        ("-device", "qemu-xhci,id=added-usb".to_owned()),
        ("-device", "usb-kbd,bus=added-usb.0".to_owned()),
        ("-drive", disk("added-nvme")?),
        ("-device", "nvme,drive=added-nvme,serial=added".to_owned()),
        ("-chardev", "null,id=added-console2".to_owned()),
        ("-device", "pci-serial,chardev=added-console2".to_owned()),
        // E7: the PC's own serial port, and one more.
        ("-serial", "null".to_owned()),
        ("-device", "pcie-root-port,id=added-port,chassis=1,slot=1".to_owned()),
        ("-device", "pvpanic-pci".to_owned()),
    ];
    Ok(options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect())
}
