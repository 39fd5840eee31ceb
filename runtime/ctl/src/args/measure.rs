// SPDX-License-Identifier: Apache-2.0
//! Arguments of `casemate measure`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use casemate_guest_image::ReferenceValues;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::VcpuType;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use super::id_block::word;

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
    /// Number of virtual CPUs, 1 to 255, or M..N for all numbers from M to N
    #[arg(long, value_name = "N|M..N")]
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
    /// The first and the last number; the first is not larger.
    Range(NonZeroU16, NonZeroU16),
}

impl FromStr for Vcpus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            // Neither `+1` nor `01`: one number is written in one way.
            let number = text.parse::<NonZeroU16>().ok()?;
            (number.to_string() == text && number <= ReferenceValues::MAX_VCPUS).then_some(number)
        };
        let vcpus = match text.split_once("..") {
            None => number(text).map(Self::One),
            Some((first, last)) => number(first)
                .zip(number(last))
                .and_then(|(first, last)| (first <= last).then_some(Self::Range(first, last))),
        };
        vcpus.ok_or("expected a number from 1 to 255, or two such as 1..8")
    }
}

fn features(text: &str) -> Result<GuestFeatures, String> {
    GuestFeatures::from_bits(word(text)?).map_err(|error| error.to_string())
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
    /// Size of the guest's RAM: -m of QEMU
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
    /// Which events the firmware measures
    #[arg(long, value_name = "GENERATION", default_value = "since-202505")]
    pub(crate) generation: Generation,
    /// The VMM's fw_cfg files etc/table-loader, etc/acpi/rsdp and etc/acpi/tables, in this order: a
    /// guest on the same VMM with the same devices has them in /sys/firmware/qemu_fw_cfg/by_name
    #[arg(long, value_names = ["LOADER", "RSDP", "TABLES"], num_args = 3)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_cpus_is_written_in_one_way() {
        let number = |number| NonZeroU16::new(number).unwrap();
        assert_eq!("1".parse(), Ok(Vcpus::One(number(1))));
        assert_eq!("255".parse(), Ok(Vcpus::One(number(255))));
        assert_eq!("1..1".parse(), Ok(Vcpus::Range(number(1), number(1))));
        assert_eq!("2..4".parse(), Ok(Vcpus::Range(number(2), number(4))));
        assert_eq!("1..255".parse(), Ok(Vcpus::Range(number(1), number(255))));
        for wrong in [
            "", "0", "+1", "01", " 1", "1 ", "-1", "1.0", "256", "65536", "1..", "..4", "0..4",
            "1..0", "4..2", "1..256", "1..+4", "01..4", "1..04", "1...4", "1..2..3", "1..=4",
        ] {
            assert!(wrong.parse::<Vcpus>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_hexadecimal_word_has_no_sign() {
        assert_eq!((word("0x30000"), word("30000")), (Ok(0x3_0000), Ok(0x3_0000)));
        for wrong in ["", "0x", "+1", "0x+1", "-1", "0x0x1", "1_0", " 1", "10000000000000000"] {
            assert!(word(wrong).is_err(), "{wrong:?}");
        }
    }
}
