// SPDX-License-Identifier: Apache-2.0
//! Which of the host's devices have a driver: those that a guest uses, and no other.

use std::fs;
use std::io;
use std::path::Path;

/// A device on a bus that the host fills.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    bus: &'static str,
    name: String,
    driver: Option<String>,
}

/// What the devices come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Census {
    /// Devices whose driver no guest uses.
    unwanted: Vec<Device>,
    /// Drivers that have more devices than a guest uses, with their number.
    surplus: Vec<(&'static str, usize)>,
    /// Devices without a driver.
    idle: usize,
}

/// A bus that the host fills, and the drivers that a guest uses on it.
struct Bus {
    name: &'static str,
    drivers: &'static [Driver],
}

struct Driver {
    name: &'static str,
    /// Most devices of it that a guest uses.
    most: usize,
}

/// Ports of PCI Express and the transport of virtio devices are not counted: what counts is behind
/// them. A pod has a network card for each of its networks.
const BUSES: &[Bus] = &[
    Bus { name: "pci", drivers: &[driver("pcieport", ANY), driver("virtio-pci", ANY)] },
    Bus {
        name: "virtio",
        drivers: &[driver("virtio_net", ANY), driver("virtio_blk", 1), driver("virtio_console", 1)],
    },
];
const ANY: usize = usize::MAX;

const fn driver(name: &'static str, most: usize) -> Driver {
    Driver { name, most }
}

/// Takes the driver from every device that no guest uses, and lets none be found any more.
///
/// # Security
///
/// E4. Everything of a device is the host's word, and each driver is one more parser of it, in the
/// kernel. The measured image has few; this is for those that the kernel has built in. A device
/// beyond what a guest uses is noted and stays without effect: nothing opens it.
pub(crate) fn settle(sys: &Path) -> Result<(), DevicesError> {
    let census = judge(&list(sys)?);
    for device in &census.unwanted {
        let (bus, name) = (device.bus, device.name.as_str());
        tracing::warn!(bus, device = name, driver = device.driver, "unknown device: no driver");
        unbind(sys, device)?;
    }
    for (driver, count) in &census.surplus {
        tracing::warn!(driver, count, "more devices than a guest uses");
    }
    tracing::info!(
        unwanted = census.unwanted.len(),
        surplus = census.surplus.len(),
        idle = census.idle,
        "devices"
    );
    BUSES.iter().try_for_each(|bus| close(sys, bus.name))
}

fn judge(devices: &[Device]) -> Census {
    let mut census = Census::default();
    for bus in BUSES {
        let here: Vec<_> = devices.iter().filter(|device| device.bus == bus.name).collect();
        for device in &here {
            match &device.driver {
                None => census.idle = census.idle.saturating_add(1),
                Some(driver) if bus.drivers.iter().any(|known| known.name == driver) => {}
                Some(_) => census.unwanted.push((*device).clone()),
            }
        }
        for known in bus.drivers {
            let has_it = |device: &&&Device| device.driver.as_deref() == Some(known.name);
            let count = here.iter().filter(has_it).count();
            if count > known.most {
                census.surplus.push((known.name, count));
            }
        }
    }
    census
}

fn list(sys: &Path) -> Result<Vec<Device>, DevicesError> {
    let mut devices = Vec::new();
    for bus in BUSES {
        let failed = |source| DevicesError::List { bus: bus.name, source };
        let entries = match fs::read_dir(sys.join("bus").join(bus.name).join("devices")) {
            Ok(entries) => entries,
            // A kernel without this bus has no devices on it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if devices.len() == MAX_DEVICES {
                return Err(DevicesError::TooMany);
            }
            let driver = match fs::read_link(entry.path().join("driver")) {
                Ok(link) => link.file_name().map(|name| name.to_string_lossy().into_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(failed(source)),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            devices.push(Device { bus: bus.name, name, driver });
        }
    }
    Ok(devices)
}

fn unbind(sys: &Path, device: &Device) -> Result<(), DevicesError> {
    let Some(driver) = &device.driver else { return Ok(()) };
    let drivers = sys.join("bus").join(device.bus).join("drivers");
    fs::write(drivers.join(driver).join("unbind"), &device.name).map_err(|source| {
        let (device, driver) = (device.name.clone(), driver.clone());
        DevicesError::Unbind { device, driver, source }
    })
}

/// A device that appears on the bus from now on gets no driver by itself.
fn close(sys: &Path, bus: &'static str) -> Result<(), DevicesError> {
    match fs::write(sys.join("bus").join(bus).join("drivers_autoprobe"), "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DevicesError::Close { bus, source: error })
        }
        _ => Ok(()),
    }
}

/// The host's devices cannot be brought in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DevicesError {
    #[error("failed to list the devices on the {bus} bus")]
    List {
        bus: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the guest has more than {MAX_DEVICES} devices")]
    TooMany,
    #[error("failed to take the driver {driver} from the device {device}")]
    Unbind {
        device: String,
        driver: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to close the {bus} bus for further devices")]
    Close {
        bus: &'static str,
        #[source]
        source: io::Error,
    },
}

/// A guest has about ten.
const MAX_DEVICES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A /sys with these devices.
    fn sys(devices: &[(&str, &str, Option<&str>)]) -> TempDir {
        let sys = tempfile::tempdir().unwrap();
        for bus in ["pci", "virtio"] {
            let bus = sys.path().join("bus").join(bus);
            fs::create_dir_all(bus.join("devices")).unwrap();
            fs::write(bus.join("drivers_autoprobe"), "1\n").unwrap();
        }
        for (bus, name, driver) in devices {
            let bus = sys.path().join("bus").join(bus);
            fs::create_dir(bus.join("devices").join(name)).unwrap();
            if let Some(driver) = driver {
                let driver = bus.join("drivers").join(driver);
                fs::create_dir_all(&driver).unwrap();
                symlink(&driver, bus.join("devices").join(name).join("driver")).unwrap();
            }
        }
        sys
    }

    const USUAL: &[(&str, &str, Option<&str>)] = &[
        ("pci", "0000:00:00.0", None),
        ("pci", "0000:00:01.0", Some("virtio-pci")),
        ("pci", "0000:00:1c.0", Some("pcieport")),
        ("virtio", "virtio0", Some("virtio_net")),
        ("virtio", "virtio1", Some("virtio_blk")),
        ("virtio", "virtio2", Some("virtio_console")),
        ("virtio", "virtio3", Some("virtio_net")),
    ];

    fn census(more: &[(&str, &str, Option<&str>)]) -> Census {
        let sys = sys(&[USUAL, more].concat());
        judge(&list(sys.path()).unwrap())
    }

    #[test]
    fn the_devices_of_a_guest_are_in_order() {
        assert_eq!(census(&[]), Census { idle: 1, ..Census::default() });
    }

    #[test]
    fn each_driver_that_no_guest_uses_is_unwanted() {
        // E4: on its own bus each.
        for (bus, driver) in [
            ("pci", "nvme"),
            ("pci", "serial"),
            ("pci", "virtio_blk"),
            ("virtio", "virtiofs"),
            ("virtio", "virtio_balloon"),
            ("virtio", "virtio-pci"),
        ] {
            let found = census(&[(bus, "added", Some(driver))]);
            let names: Vec<_> = found.unwanted.iter().map(|d| d.name.as_str()).collect();
            assert_eq!(names, ["added"], "{bus} {driver}");
        }
        // Without a driver it is harmless.
        let found = census(&[("virtio", "added", None)]);
        assert_eq!((found.unwanted.len(), found.idle), (0, 2));
    }

    #[test]
    fn a_second_disk_and_a_second_console_are_counted() {
        let found = census(&[
            ("virtio", "disk", Some("virtio_blk")),
            ("virtio", "port", Some("virtio_console")),
        ]);
        assert_eq!(found.surplus, [("virtio_blk", 2), ("virtio_console", 2)]);
        assert!(found.unwanted.is_empty());
    }

    #[test]
    fn an_unwanted_device_loses_its_driver_and_the_buses_are_closed() {
        let sys = sys(&[USUAL, &[("pci", "0000:00:09.0", Some("nvme"))]].concat());
        let unbind = sys.path().join("bus/pci/drivers/nvme/unbind");
        settle(sys.path()).unwrap();
        assert_eq!(fs::read_to_string(&unbind).unwrap(), "0000:00:09.0");
        assert!(!sys.path().join("bus/pci/drivers/virtio-pci/unbind").exists());
        for bus in ["pci", "virtio"] {
            let autoprobe = sys.path().join("bus").join(bus).join("drivers_autoprobe");
            assert_eq!(fs::read_to_string(autoprobe).unwrap(), "0");
        }
        // A driver that does not let go stops the boot.
        fs::remove_file(&unbind).unwrap();
        fs::create_dir(&unbind).unwrap();
        assert!(matches!(settle(sys.path()), Err(DevicesError::Unbind { .. })));
    }

    #[test]
    fn what_cannot_be_seen_is_refused_but_an_absent_bus_is_not() {
        let empty = tempfile::tempdir().unwrap();
        settle(empty.path()).unwrap();
        let many = sys(&[]);
        for number in 0..=MAX_DEVICES {
            fs::create_dir(many.path().join(format!("bus/pci/devices/{number}"))).unwrap();
        }
        assert!(matches!(settle(many.path()), Err(DevicesError::TooMany)));
        fs::remove_dir_all(many.path().join("bus/pci/devices")).unwrap();
        fs::write(many.path().join("bus/pci/devices"), "").unwrap();
        assert!(matches!(settle(many.path()), Err(DevicesError::List { bus: "pci", .. })));
    }
}
