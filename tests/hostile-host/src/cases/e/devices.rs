// SPDX-License-Identifier: Apache-2.0
//! E4, E6: devices that the shim did not ask for, and other ways in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::ensure;
use casemate_agent::boot_steps;
use casemate_agent_api::Code;

use super::vm;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static E4: Case = Case {
    id: "E4",
    level: Level::V,
    attack: "adds devices: disks, consoles, shared folders, screens, USB, cards while it runs",
    defence: Defence::Code(Guard {
        function: "casemate_agent::boot::devices::judge",
        sabotage: "Census::default()",
    }),
    run: |context| Box::pin(async move { add(&context) }),
};

pub(super) static E6: Case = Case {
    id: "E6",
    level: Level::V,
    attack: "connects by vsock, from another context id",
    defence: Defence::Nothing,
    run: |context| Box::pin(async move { connect(&context) }),
};

/// Buses as the kernel shows them: devices with their drivers.
fn buses(sys: &Path, devices: &[(&str, &str, Option<&str>)]) -> anyhow::Result<()> {
    for bus in ["pci", "virtio"] {
        fs::create_dir_all(sys.join("bus").join(bus).join("devices"))?;
        fs::write(sys.join("bus").join(bus).join("drivers_autoprobe"), "1")?;
    }
    for (bus, name, driver) in devices {
        let device = sys.join("bus").join(bus).join("devices").join(name);
        fs::create_dir(&device)?;
        if let Some(driver) = driver {
            let folder = sys.join("bus").join(bus).join("drivers").join(driver);
            fs::create_dir_all(&folder)?;
            symlink(&folder, device.join("driver"))?;
        }
    }
    Ok(())
}

const USUAL: [(&str, &str, Option<&str>); 4] = [
    ("pci", "0000:00:01.0", Some("virtio-pci")),
    ("virtio", "virtio0", Some("virtio_net")),
    ("virtio", "virtio1", Some("virtio_blk")),
    ("virtio", "virtio2", Some("virtio_console")),
];

fn add(context: &Context) -> Verdict {
    // The agent's own census, of drivers that a kernel may have built in.
    let unwanted = [
        ("pci", "0000:00:09.0", "nvme"),
        ("pci", "0000:00:0a.0", "xhci_hcd"),
        ("pci", "0000:00:0b.0", "virtio_net"),
        ("virtio", "virtio9", "virtiofs"),
        ("virtio", "virtio10", "9pnet_virtio"),
        ("virtio", "virtio11", "virtio_balloon"),
        ("virtio", "virtio12", "vmw_vsock_virtio_transport"),
    ];
    let sys = tempfile::tempdir()?;
    let all = unwanted.map(|(bus, name, driver)| (bus, name, Some(driver)));
    buses(sys.path(), &[&USUAL[..], &all].concat())?;
    ensure!(boot_steps::devices(sys.path()).is_ok(), "the usual devices are refused");
    for (bus, name, driver) in unwanted {
        let unbind = sys.path().join("bus").join(bus).join("drivers").join(driver).join("unbind");
        let taken = fs::read_to_string(unbind).unwrap_or_default();
        ensure!(taken == name, "{name} keeps the driver {driver}");
    }
    for bus in ["pci", "virtio"] {
        let probe = fs::read_to_string(sys.path().join("bus").join(bus).join("drivers_autoprobe"))?;
        ensure!(probe == "0", "a late device on the {bus} bus gets a driver");
    }
    // A driver that does not let go stops the boot.
    let sys = tempfile::tempdir()?;
    buses(sys.path(), &[("pci", "0000:00:09.0", Some("nvme"))])?;
    fs::create_dir(sys.path().join("bus/pci/drivers/nvme/unbind"))?;
    let refused = boot_steps::devices(sys.path()).err();
    ensure!(refused == Some(Code::GuestDevice), "{refused:?}");

    // A real guest with many devices has the drivers that it has without them.
    let pair = vm::pair(context)?;
    let (usual, found) = (pair.honest.drivers(), pair.hostile.drivers());
    let unusual: Vec<_> = found.keys().filter(|driver| !usual.contains_key(*driver)).collect();
    ensure!(unusual.is_empty(), "unusual drivers: {unusual:?}");
    let virtio = found.keys().filter(|(bus, _)| bus == "virtio").map(|(_, driver)| driver.as_str());
    let virtio: Vec<_> = virtio.collect();
    ensure!(virtio == ["virtio_blk", "virtio_console", "virtio_net"], "{virtio:?}");
    let transport = ("pci".to_owned(), "virtio-pci".to_owned());
    let more = found[&transport].saturating_sub(usual[&transport]);
    ensure!(more >= 8, "the guest saw only {more} of the added devices");
    Ok(Outcome::pass(format!(
        "{} drivers taken away and the buses closed; of {more} more virtio devices in a real guest \
         none got a driver but network, disk and port",
        unwanted.len()
    )))
}

fn connect(context: &Context) -> Verdict {
    // The agent listens on the one port that has its name; sockets of the kernel it has none.
    let port = |names: &[(&str, &str)]| -> anyhow::Result<_> {
        let sys = tempfile::tempdir()?;
        for (port, name) in names {
            fs::create_dir(sys.path().join(port))?;
            fs::write(sys.path().join(port).join("name"), format!("{name}\n"))?;
        }
        Ok(boot_steps::port(sys.path(), Path::new("/dev")))
    };
    let right = port(&[("vport1p1", "other"), ("vport1p2", "casemate.agent")])?;
    ensure!(right.is_some_and(|path| path == Path::new("/dev/vport1p2")));
    for names in [&[("vport1p1", "casemate.agent2")][..], &[("vport1p1", "casemate")], &[]] {
        ensure!(port(names)?.is_none(), "{names:?} is taken for the agent's port");
    }
    // No module of vsock or of shared folders is in the measured image, and no more are loaded.
    let pair = vm::pair(context)?;
    let modules: Vec<_> =
        pair.hostile.report.lines().filter_map(|line| line.strip_prefix("module ")).collect();
    ensure!(modules.len() >= 9, "no list of modules: {modules:?}");
    for absent in ["vsock", "9p", "fuse", "virtiofs"] {
        let found = modules.iter().find(|module| module.contains(absent));
        ensure!(found.is_none(), "the image has {found:?}");
        let bound = pair.hostile.drivers().into_keys().find(|(_, name)| name.contains(absent));
        ensure!(bound.is_none(), "{bound:?} has devices");
    }
    Ok(Outcome::absent(
        "the guest has no vsock: no module, no driver, and the agent serves one virtio-serial port \
         by its name. A transport by vsock would bring it, and must take context id 2 and one port \
         alone",
    ))
}
