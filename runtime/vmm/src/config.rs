// SPDX-License-Identifier: Apache-2.0
//! What a VM shall be, in types that cannot hold a bad state.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A VM to launch.
#[derive(Debug, Clone)]
pub struct VmConfig {
    /// Name of the VM in process lists.
    pub name: VmName,
    /// The TEE that must protect the VM.
    pub tee: Tee,
    /// Number of vCPUs, part of the SNP launch digest.
    pub vcpus: VcpuCount,
    /// Guest memory.
    pub memory: MemoryMib,
    /// Folder with `firmware.fd`, `kernel`, `initramfs`, `cmdline.txt` and `cmdline-smp.txt`.
    pub guest_image: PathBuf,
    /// File that the guest sees as the read-only disk with serial `casemate-initdata`.
    pub initdata: Option<PathBuf>,
    /// HOST_DATA (SNP) or, padded with zeros, MRCONFIGID (TDX): the digest of the initdata.
    pub host_data: HostData,
    /// Network namespace and interfaces; none means a VM without network.
    pub network: Option<Network>,
    /// Private folder of this VM for sockets and files; must exist, mode 0700.
    pub runtime_dir: PathBuf,
    /// Folders of cgroups to join: one of cgroup v2, or one per hierarchy of v1.
    pub cgroups: Vec<PathBuf>,
    /// The QEMU program.
    pub qemu: PathBuf,
    /// KVM or TCG for [`Tee::Sim`]; `None` finds out by trying. SNP and TDX always use KVM.
    pub acceleration: Option<Acceleration>,
    /// File for the guest's serial console, for debugging: a production guest writes nothing there.
    pub console: Option<PathBuf>,
}

/// The TEE that must protect a VM. There is no value for a VM without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// The software PSP of a development installation.
    Sim {
        /// Socket of `casemate-tee-sim serve`.
        socket: PathBuf,
    },
}

/// Names a [`Tee`] in messages and configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeeKind {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// The software PSP.
    Sim,
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// The host kernel's hypervisor.
    Kvm,
    /// QEMU's translator: slow, works everywhere.
    Tcg,
}

/// Where the VM's interfaces live.
#[derive(Debug, Clone)]
pub struct Network {
    /// Path of the network namespace that QEMU runs in.
    pub namespace: PathBuf,
    /// Interfaces in the guest's order.
    pub nics: Vec<Nic>,
}

/// One network interface.
#[derive(Debug, Clone)]
pub struct Nic {
    /// An existing tap device inside the namespace.
    pub tap: String,
    /// The guest's address.
    pub mac: MacAddress,
    /// Largest packet in bytes.
    pub mtu: u16,
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

/// The 32 bytes that the launch binds into every report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HostData(pub [u8; 32]);

/// Name of a VM: letters, digits, `-`, `_`, `.`; at most 128.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmName(String);

/// Number of vCPUs, 1 to [`VcpuCount::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuCount(u16);

/// Guest memory in MiB, [`MemoryMib::MIN`] to [`MemoryMib::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryMib(u32);

/// Why a value is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A device name is not one that the kernel would make.
    #[error("{name:?} is not a network device name")]
    DeviceName {
        /// The name.
        name: String,
    },
    /// A MAC address is malformed, a group address or zero.
    #[error("{text:?} is not a MAC address of one interface")]
    Mac {
        /// The text.
        text: String,
    },
    /// Memory size out of range.
    #[error("{mib} MiB of memory, allowed are {min} to {max}", min = MemoryMib::MIN, max = MemoryMib::MAX)]
    Memory {
        /// The size.
        mib: u32,
    },
    /// MTU that the guest could not use.
    #[error("MTU {mtu} of {tap}, allowed are {min} to 65535", min = Nic::MTU_MIN)]
    Mtu {
        /// The tap device.
        tap: String,
        /// The MTU.
        mtu: u16,
    },
    /// The name cannot stand in a process list or path.
    #[error("{name:?} cannot be the name of a VM")]
    Name {
        /// The name.
        name: String,
    },
    /// A path cannot be handed to QEMU.
    #[error("path {path:?} is not absolute UTF-8 text without control characters")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A path is too long for a socket.
    #[error("socket path {path:?} is longer than {cap} bytes")]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// The kernel's limit.
        cap: usize,
    },
    /// Too many interfaces.
    #[error("{count} network interfaces, at most {cap}")]
    TooManyNics {
        /// How many.
        count: usize,
        /// The cap.
        cap: usize,
    },
    /// vCPU count out of range.
    #[error("{count} vCPUs, allowed are 1 to {max}", max = VcpuCount::MAX)]
    Vcpus {
        /// The count.
        count: u32,
    },
}

impl VmName {
    /// Longest name in bytes.
    pub const MAX: usize = 128;

    /// Takes a name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Name`].
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > Self::MAX || !name.bytes().all(allowed) {
            return Err(ConfigError::Name { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VcpuCount {
    /// More would need an interrupt remapping unit.
    pub const MAX: u16 = 240;
    /// One.
    pub const ONE: Self = Self(1);

    /// Takes a count.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Vcpus`].
    pub fn new(count: u32) -> Result<Self, ConfigError> {
        match u16::try_from(count) {
            Ok(n) if (1..=Self::MAX).contains(&n) => Ok(Self(n)),
            _ => Err(ConfigError::Vcpus { count }),
        }
    }

    /// The count.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl MemoryMib {
    /// Less does not boot firmware and kernel.
    pub const MIN: u32 = 192;
    /// 1 TiB.
    pub const MAX: u32 = 1 << 20;

    /// Takes a size in MiB.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Memory`].
    pub fn new(mib: u32) -> Result<Self, ConfigError> {
        if (Self::MIN..=Self::MAX).contains(&mib) {
            Ok(Self(mib))
        } else {
            Err(ConfigError::Memory { mib })
        }
    }

    /// The size in MiB.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Network {
    /// A pod has one interface; some network plugins add a few.
    pub const MAX_NICS: usize = 8;
}

impl Nic {
    /// The least that IPv4 allows.
    pub const MTU_MIN: u16 = 68;
    /// `IFNAMSIZ` without the NUL.
    const NAME_MAX: usize = 15;

    /// Checks what the types of the fields leave open.
    ///
    /// # Errors
    ///
    /// [`ConfigError::DeviceName`] or [`ConfigError::Mtu`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.tap.is_empty()
            || self.tap.len() > Self::NAME_MAX
            || !self.tap.bytes().all(allowed)
            || self.tap.starts_with('.')
        {
            return Err(ConfigError::DeviceName { name: self.tap.clone() });
        }
        if self.mtu < Self::MTU_MIN {
            return Err(ConfigError::Mtu { tap: self.tap.clone(), mtu: self.mtu });
        }
        Ok(())
    }
}

impl FromStr for MacAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ConfigError::Mac { text: text.chars().take(32).collect() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        let [first, ..] = bytes;
        if parts.next().is_some() || first & 1 == 1 || bytes == [0; 6] {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HostData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HostData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Tee {
    /// Its name.
    #[must_use]
    pub const fn kind(&self) -> TeeKind {
        match self {
            Self::Snp => TeeKind::Snp,
            Self::Tdx => TeeKind::Tdx,
            Self::Sim { .. } => TeeKind::Sim,
        }
    }
}

impl fmt::Display for TeeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::Sim => "sim",
        })
    }
}

impl fmt::Display for Acceleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert!(VmName::new("3f2a-x_y.z").is_ok());
        let long = "a".repeat(VmName::MAX + 1);
        for bad in ["", "a b", "a,b", "a/b", "ü", long.as_str()] {
            assert!(VmName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn counts_and_sizes_have_bounds() {
        assert_eq!(VcpuCount::new(240).unwrap().get(), 240);
        for bad in [0, 241, 65_537] {
            assert_eq!(VcpuCount::new(bad), Err(ConfigError::Vcpus { count: bad }));
        }
        assert_eq!(MemoryMib::new(192).unwrap().get(), 192);
        for bad in [0, 191, (1 << 20) + 1] {
            assert_eq!(MemoryMib::new(bad), Err(ConfigError::Memory { mib: bad }));
        }
    }

    #[test]
    fn mac_addresses_round_trip() {
        let mac: MacAddress = "02:00:5e:10:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:ff:00",
            "01:00:5e:10:00:ff",
            "00:00:00:00:00:00",
            "02:00:5e:10:00:+f",
            "2:00:5e:10:00:ff",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nics_are_checked() {
        let nic = |tap: &str, mtu| Nic { tap: tap.to_owned(), mac: MacAddress([2; 6]), mtu };
        assert!(nic("tap0", 1500).check().is_ok());
        for bad in ["", "a,script=/bin/sh", "sixteen-bytes-xx", "..", "a b"] {
            assert!(matches!(nic(bad, 1500).check(), Err(ConfigError::DeviceName { .. })));
        }
        assert!(matches!(nic("tap0", 67).check(), Err(ConfigError::Mtu { .. })));
    }
}
