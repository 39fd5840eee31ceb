// SPDX-License-Identifier: Apache-2.0
//! The TEE of a VM, and what an operator may choose about it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use casemate_launch_digest::snp::GuestPolicy;

use super::ConfigError;
use super::VcpuCount;

/// The TEE that must protect a VM. There is no value for a VM without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp(SnpOptions),
    /// Intel TDX.
    Tdx(TdxOptions),
    /// The software PSP of a development installation.
    Sim {
        /// Socket of `casemate-tee-sim serve`.
        socket: PathBuf,
    },
}

impl Tee {
    /// Whether a VM of this kind keeps its memory from the host. The software PSP's do not: it signs
    /// reports, and encrypts nothing.
    ///
    /// # Security
    ///
    /// E13: this is what the operator is told of a launch on this host. An owner does not ask the
    /// host: the verdict on a report names the root that signed it.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        match self {
            Self::Snp(_) | Self::Tdx(_) => true,
            Self::Sim { .. } => false,
        }
    }

    /// Whether a guest of this image's kind runs ACPI code of the host (BadAML). A TDX guest always
    /// does: it finds its interrupt controllers and its event log by ACPI only. Others do with
    /// several virtual CPUs; with one, their measured command line says `acpi=off`.
    ///
    /// # Security
    ///
    /// E2: this is what the operator is told. An owner's reference values decide: the launch digest
    /// on SNP, RTMR 0 on TDX.
    #[must_use]
    pub fn takes_acpi_from_host(&self, vcpus: VcpuCount) -> bool {
        match self {
            Self::Tdx(_) => true,
            Self::Snp(_) | Self::Sim { .. } => vcpus > VcpuCount::ONE,
        }
    }
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

/// What an operator may choose about SNP guests.
///
/// The ID block is not among it: it belongs to the guest image and lies beside it
/// ([`GuestImage`](crate::GuestImage)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnpOptions {
    /// The guest policy.
    pub policy: SnpPolicy,
    /// Start no guest without an ID block.
    pub require_id_block: bool,
    /// Reports must not be signed by the chip's own key (VCEK): the host has loaded a VLEK.
    pub vcek_disabled: bool,
}

/// A guest policy that keeps the host out of the guest.
///
/// # Security
///
/// The policy stands in every report, where the owner checks it. This type guards the operator: a
/// guest that the host may debug, or move with a migration agent, is not started by a mistyped
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnpPolicy(GuestPolicy);

/// What an operator may choose about TDs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TdxOptions {
    /// MROWNER.
    pub mr_owner: OwnerId,
    /// MROWNERCONFIG.
    pub mr_owner_config: OwnerId,
    /// Where QEMU gets quotes from.
    pub quote_socket: QuoteSocket,
}

/// An identity of the TD's owner that stands in every TD report: 48 bytes, zeros for no owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnerId(pub [u8; 48]);

/// The socket of the host's quote generation service (QGS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteSocket {
    /// A Unix socket.
    Unix(PathBuf),
    /// A vsock address.
    Vsock {
        /// Context id of the service's machine.
        cid: u32,
        /// Port of the service.
        port: u32,
    },
}

impl Tee {
    /// Its name.
    #[must_use]
    pub const fn kind(&self) -> TeeKind {
        match self {
            Self::Snp(_) => TeeKind::Snp,
            Self::Tdx(_) => TeeKind::Tdx,
            Self::Sim { .. } => TeeKind::Sim,
        }
    }
}

impl SnpPolicy {
    /// Takes a policy's word.
    ///
    /// # Errors
    ///
    /// [`ConfigError::SnpPolicy`] for a word that every PSP refuses (bit 17 must be one, bits 26 and
    /// above zero), that allows debugging (bit 19) or a migration agent (bit 18).
    pub fn new(bits: u64) -> Result<Self, ConfigError> {
        match GuestPolicy::from_bits(bits) {
            Ok(policy) if !policy.allows_debug() && !policy.allows_migration_agent() => {
                Ok(Self(policy))
            }
            _ => Err(ConfigError::SnpPolicy { bits }),
        }
    }

    /// The policy.
    #[must_use]
    pub const fn get(self) -> GuestPolicy {
        self.0
    }
}

impl QuoteSocket {
    const UNIX: &str = "unix:";
    const VSOCK: &str = "vsock:";
}

/// Where Intel's service listens on its own machine, the host (vsock context 2).
impl Default for QuoteSocket {
    fn default() -> Self {
        Self::Vsock { cid: 2, port: 4050 }
    }
}

/// Reads `unix:/absolute/path` or `vsock:CID:PORT`.
impl FromStr for QuoteSocket {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ConfigError::QuoteSocket { text: text.chars().take(128).collect() };
        if let Some(path) = text.strip_prefix(Self::UNIX) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(bad()) };
        }
        let (cid, port) =
            text.strip_prefix(Self::VSOCK).and_then(|rest| rest.split_once(':')).ok_or_else(bad)?;
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| plain).ok_or_else(bad)
        };
        Ok(Self::Vsock { cid: number(cid)?, port: number(port)? })
    }
}

impl Default for OwnerId {
    fn default() -> Self {
        Self([0; 48])
    }
}

/// Reads 96 hexadecimal digits.
impl FromStr for OwnerId {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 48];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(ConfigError::OwnerId { digits: text.len() }),
        }
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hardware_keeps_memory_from_the_host() {
        // E13.
        assert!(Tee::Snp(SnpOptions::default()).is_confidential());
        assert!(Tee::Tdx(TdxOptions::default()).is_confidential());
        assert!(!Tee::Sim { socket: "/s".into() }.is_confidential());
    }

    #[test]
    fn one_vcpu_keeps_acpi_out_of_all_guests_but_tdx() {
        // E2: a TDX guest's command line has no acpi=off.
        let two = VcpuCount::new(2).unwrap();
        for tee in [Tee::Snp(SnpOptions::default()), Tee::Sim { socket: "/s".into() }] {
            assert!(!tee.takes_acpi_from_host(VcpuCount::ONE), "{tee:?}");
            assert!(tee.takes_acpi_from_host(two), "{tee:?}");
        }
        for vcpus in [VcpuCount::ONE, two] {
            assert!(Tee::Tdx(TdxOptions::default()).takes_acpi_from_host(vcpus));
        }
    }

    #[test]
    fn policies_that_open_the_guest_do_not_exist() {
        assert_eq!(SnpPolicy::default().get().bits(), 0x3_0000);
        assert_eq!(SnpPolicy::new(0x2_0000).unwrap().get().bits(), 0x2_0000);
        // No bit 17, debugging, migration agent, a bit that must be zero.
        for bits in [0, 0x1_0000, 0xb_0000, 0x7_0000, 0x3_0000 | 1 << 26] {
            assert_eq!(SnpPolicy::new(bits), Err(ConfigError::SnpPolicy { bits }));
        }
    }

    #[test]
    fn quote_sockets_are_paths_or_vsock_addresses() {
        let parse = |text: &str| text.parse::<QuoteSocket>();
        assert_eq!(parse("unix:/run/qgs.sock"), Ok(QuoteSocket::Unix("/run/qgs.sock".into())));
        assert_eq!(parse("vsock:2:4050"), Ok(QuoteSocket::default()));
        for bad in [
            "",
            "/run/qgs.sock",
            "unix:",
            "unix:run/qgs.sock",
            "vsock:2",
            "vsock:2:",
            "vsock:+2:4050",
            "vsock:2:4050:1",
            "vsock:2:4294967296",
            "tcp:127.0.0.1:4050",
        ] {
            assert_eq!(parse(bad), Err(ConfigError::QuoteSocket { text: bad.to_owned() }));
        }
    }

    #[test]
    fn owners_have_96_digits() {
        let text = "0f".repeat(48);
        assert_eq!(text.parse(), Ok(OwnerId([0x0f; 48])));
        for bad in ["", "0f", &"0f".repeat(47), &"0f".repeat(49), &"0g".repeat(48)] {
            let digits = bad.len();
            assert_eq!(bad.parse::<OwnerId>(), Err(ConfigError::OwnerId { digits }));
        }
    }
}
