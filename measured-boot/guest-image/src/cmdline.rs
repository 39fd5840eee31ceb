// SPDX-License-Identifier: Apache-2.0
//! The kernel's command lines, which are measured.

use crate::ImageTee;

/// The command line of guests with one virtual CPU: what the agent reads, then kernel parameters.
///
/// Source: Linux 6.12, `Documentation/admin-guide/kernel-parameters.rst`. On QEMU without hardware
/// support a one-line init is reached with 3.7 s of processor time under no parameters at all and
/// 2.8 s under these. CPU mitigations and address randomisation stay on: the containers are the
/// owner's but they are not the agent, and leaving them out saves nothing that can be measured.
///
/// # Security
///
/// On SNP, `acpi=off` closes BadAML (E2) and leaves one virtual CPU, since Debian's kernel finds
/// others by ACPI only. A TDX guest finds its interrupt controllers and its event log by ACPI only, so
/// there the line is that of several CPUs; the firmware measures the host's tables into RTMR 0.
#[must_use]
pub fn command_line(tee: ImageTee) -> String {
    match tee {
        ImageTee::Snp => line(tee, |_| true),
        ImageTee::Tdx => command_line_smp(tee),
    }
}

/// The command line of guests with several virtual CPUs: the same without `acpi=off`.
///
/// # Security
///
/// The host's ACPI code runs in the guest's kernel before the agent (E2). On SNP the two command
/// lines lead to different launch digests, so an owner who accepts only digests of one virtual CPU
/// accepts no such guest; on TDX only RTMR 0 tells which code ran.
#[must_use]
pub fn command_line_smp(tee: ImageTee) -> String {
    line(tee, |word| word != "acpi=off")
}

fn line(tee: ImageTee, keep: impl Fn(&str) -> bool) -> String {
    // What the agent reads. Simulated guests say `snp` too: the agent must not see a difference.
    let first = format!("casemate.tee={tee}");
    let kept = PARAMETERS.iter().copied().filter(|word| keep(word));
    [first.as_str()].into_iter().chain(kept).collect::<Vec<_>>().join(" ")
}

const PARAMETERS: &[&str] = &[
    // E2: the host writes the ACPI tables, and their AML would run in the kernel (BadAML). Devices
    // then interrupt by pins, through the old controller: as fast as messages here. Saves 0.2 s.
    "acpi=off",
    // A guest in doubt ends at once; QEMU runs with -no-reboot, so that the host sees it go. Without
    // ACPI, the quickest certain way to reset is a triple fault.
    "panic=-1",
    "oops=panic",
    "reboot=triple",
    // E7: no console, no serial driver that could become one, no magic key, no log on the screen.
    "console=null",
    "8250.nr_uarts=0",
    "sysctl.kernel.sysrq=0",
    "quiet",
    "loglevel=0",
    // E8: entropy comes from the CPU, never from what the host lets the firmware pass on.
    "random.trust_cpu=on",
    "random.trust_bootloader=off",
    // Only signed modules; nobody, root included, reads or writes kernel memory. Saves 0.2 s, the
    // preparation of tracing.
    "lockdown=confidentiality",
    "debugfs=off",
    // The security modules that the guest uses. No policy is ever loaded for the others: AppArmor,
    // TOMOYO, IPE, IMA.
    "lsm=lockdown,landlock,yama",
    // E4: no device joins a guest that runs, neither by PCI Express nor by ACPI.
    "pcie_ports=compat",
    "acpiphp.disable=1",
    // E4: drivers that Debian's kernel has built in and no guest uses, of devices that a host could
    // add: NVMe disks, shared folders, serial cards. Saves nothing, costs nothing.
    "initcall_blacklist=nvme_init,virtio_fs_init,serial_pci_driver_init",
    // E4: nor of a screen that firmware has found.
    "video=efifb:off",
    // Nothing here needs firmware after the boot.
    "efi=noruntime",
    // The host's clock is no better than the CPU's counter: do not measure one against the other,
    // nor wait to see timer interrupts arrive.
    "tsc=reliable",
    "no_timer_check",
    // Self-tests of ciphers: they find broken builds and drivers, not attacks, and cost 0.5 s.
    "cryptomgr.notests",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_distinct_parameters() {
        for line in ImageTee::ALL.into_iter().flat_map(|t| [command_line(t), command_line_smp(t)]) {
            assert!(line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            let keys: Vec<_> = line.split(' ').filter_map(|word| word.split('=').next()).collect();
            let distinct: std::collections::HashSet<_> = keys.iter().collect();
            assert_eq!(distinct.len(), keys.len());
        }
    }

    #[test]
    fn the_two_differ_in_acpi_alone() {
        // E2
        let with_acpi = command_line_smp(ImageTee::Snp);
        assert!(!with_acpi.contains("acpi="));
        assert_eq!(command_line(ImageTee::Snp).replace("acpi=off ", ""), with_acpi);
    }

    #[test]
    fn tdx_differs_from_several_cpus_of_snp_in_the_tee_alone() {
        let tdx = command_line(ImageTee::Tdx);
        assert_eq!(tdx, command_line_smp(ImageTee::Tdx));
        assert!(tdx.starts_with("casemate.tee=tdx "));
        let snp = command_line_smp(ImageTee::Snp);
        assert_eq!(tdx.replace("casemate.tee=tdx", "casemate.tee=snp"), snp);
    }

    #[test]
    fn production_has_no_console_and_no_weakening() {
        // E7; the line for several CPUs has no word of its own
        let line = command_line(ImageTee::Snp);
        assert!(
            line.split(' ').all(|word| !word.starts_with("console=") || word == "console=null")
        );
        for weak in ["mitigations=", "nokaslr", "nosmep", "init=", "earlyprintk", "kgdb", "debug"] {
            let found = line.split(' ').any(|word| word.starts_with(weak) && word != "debugfs=off");
            assert!(!found, "{weak}");
        }
    }
}
