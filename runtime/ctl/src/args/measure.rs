// SPDX-License-Identifier: Apache-2.0
//! Arguments of `casemate measure`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::VcpuType;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

#[derive(Debug, Subcommand)]
pub(crate) enum MeasureCommand {
    /// Print the digest of an initdata document; HOST_DATA holds its first 32 bytes
    Initdata(InitdataArgs),
    /// Print the launch digest of an SNP guest
    Snp(SnpArgs),
    /// Print MRTD and the runtime registers of a TDX guest
    Tdx(TdxArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct InitdataArgs {
    /// The initdata document, TOML
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print JSON, with HOST_DATA and MRCONFIGID
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
#[command(group = clap::ArgGroup::new("guest").required(true).args(["guest_image", "firmware"]))]
pub(crate) struct SnpArgs {
    /// Directory of a guest image: firmware.fd, kernel, initramfs, cmdline.txt, cmdline-smp.txt
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kernel", "initrd", "append"])]
    pub(crate) guest_image: Option<PathBuf>,
    /// The firmware
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: Option<PathBuf>,
    /// The kernel, if the firmware checks one
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// The initial file system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// The kernel's command line, taken byte for byte
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Number of virtual CPUs, or 1..N for all numbers up to N
    #[arg(long, value_name = "N|1..N")]
    pub(crate) vcpus: Vcpus,
    /// CPU model as QEMU names it, for example EPYC-v4
    #[arg(long, value_name = "MODEL")]
    pub(crate) vcpu_type: VcpuType,
    /// SEV features of the guest: 1 on upstream kernels, 21 with debug swap
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = features)]
    pub(crate) guest_features: GuestFeatures,
    /// The VMM: qemu, ec2, gce or casemate
    #[arg(long, value_name = "VMM", default_value = "qemu")]
    pub(crate) vmm: String,
    /// Print JSON
    #[arg(long, conflicts_with = "explain")]
    pub(crate) json: bool,
    /// Print every step with the digest after it
    #[arg(long)]
    pub(crate) explain: bool,
}

/// How many virtual CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vcpus {
    One(NonZeroU16),
    UpTo(NonZeroU16),
}

impl FromStr for Vcpus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text.parse::<NonZeroU16>() {
            Ok(number) if number.get() <= MAX_VCPUS => Ok(number),
            _ => Err("expected a number from 1 to 512"),
        };
        match text.strip_prefix("1..") {
            Some(last) => number(last).map(Self::UpTo),
            None => number(text).map(Self::One),
        }
    }
}

/// More than any host gives to one guest.
const MAX_VCPUS: u16 = 512;

fn features(text: &str) -> Result<GuestFeatures, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let bits = u64::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    GuestFeatures::from_bits(bits).map_err(|error| error.to_string())
}

#[derive(Debug, Parser)]
pub(crate) struct TdxArgs {
    /// The firmware
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: PathBuf,
    /// The kernel that the firmware starts
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// The initial file system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Size of the guest's RAM
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
    /// Which events the firmware measures
    #[arg(long, value_name = "GENERATION", default_value = "since-202505")]
    pub(crate) generation: Generation,
    /// The VMM's fw_cfg files etc/table-loader, etc/acpi/rsdp and etc/acpi/tables
    #[arg(long, value_name = "FILE", num_args = 3)]
    pub(crate) acpi: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A generation of OVMF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generation {
    /// The first OVMF for TDX
    Early,
    /// OVMF after that and before edk2-stable202505
    #[value(name = "before-202505")]
    Before202505,
    /// OVMF since edk2-stable202505
    #[value(name = "since-202505")]
    Since202505,
}
