// SPDX-License-Identifier: Apache-2.0
//! The command lines of all platforms against golden files, one argument a line.
//!
//! `CASEMATE_UPDATE_GOLDEN=1` writes the files anew; read the difference as text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::path::{Path, PathBuf};

use casemate_vmm::qemu::{Platform, Sockets, command_line};
use casemate_vmm::{
    Acceleration, ConfigError, GuestImage, HostData, MemoryMib, Network, Nic, Tee, VcpuCount,
    VmConfig, VmName,
};

#[test]
fn sim_with_tcg() {
    check("sim-tcg", &config(), &sim(Acceleration::Tcg));
}

#[test]
fn sim_with_kvm_and_console() {
    let config = VmConfig { console: Some("/run/vm/console.log".into()), ..config() };
    check("sim-kvm", &config, &sim(Acceleration::Kvm));
}

#[test]
fn snp() {
    let config = VmConfig { tee: Tee::Snp, vcpus: VcpuCount::new(4).unwrap(), ..config() };
    check("snp", &config, &Platform::Snp { cbitpos: 51, reduced_phys_bits: 1 });
}

#[test]
fn tdx() {
    let config = VmConfig { tee: Tee::Tdx, network: None, initdata: None, ..config() };
    check("tdx", &config, &Platform::Tdx);
}

#[test]
fn host_data_enters_the_hardware_lines_only_there() {
    // A2: the digest of the initdata is fixed at launch.
    let other = VmConfig { host_data: HostData([0x5b; 32]), ..config() };
    for platform in [Platform::Snp { cbitpos: 51, reduced_phys_bits: 1 }, Platform::Tdx] {
        let (a, b) = (line(&config(), &platform).unwrap(), line(&other, &platform).unwrap());
        let differing: Vec<_> = a.iter().zip(&b).filter(|(a, b)| a != b).collect();
        assert_eq!(differing.len(), 1, "{differing:?}");
    }
}

#[test]
fn only_the_simulated_platform_has_a_way_to_the_software_psp() {
    for platform in [Platform::Snp { cbitpos: 51, reduced_phys_bits: 1 }, Platform::Tdx] {
        let line = line(&config(), &platform).unwrap().join(" ");
        assert!(!line.contains("psp") && !line.contains("loader"), "{line}");
    }
}

#[test]
fn commas_in_paths_stay_in_the_path() {
    let config = VmConfig { initdata: Some("/run/a,readonly=off".into()), ..config() };
    let line = line(&config, &sim(Acceleration::Tcg)).unwrap();
    let disk = line.iter().find(|argument| argument.contains("node-name")).unwrap();
    assert!(disk.ends_with("file.filename=/run/a,,readonly=off"), "{disk}");
}

#[test]
fn refuses_paths_that_qemu_would_read_otherwise() {
    for bad in ["relative", "/with\nnewline"] {
        let config = VmConfig { initdata: Some(bad.into()), ..config() };
        let refused = line(&config, &sim(Acceleration::Tcg));
        assert!(matches!(refused, Err(ConfigError::Path { .. })), "{bad:?}");
    }
    let long = PathBuf::from(format!("/{}", "x".repeat(120)));
    let refused =
        command_line(&config(), &image(), &Sockets::in_folder(&long), &sim(Acceleration::Tcg));
    assert!(matches!(refused, Err(ConfigError::SocketPath { .. })));
}

#[test]
fn refuses_bad_and_too_many_interfaces() {
    let nic = |tap: &str| Nic { tap: tap.to_owned(), mac: mac(), mtu: 1500 };
    let with = |nics| VmConfig {
        network: Some(Network { namespace: "/run/netns/pod".into(), nics }),
        ..config()
    };
    let refused = line(&with(vec![nic("t,script=/x")]), &Platform::Tdx);
    assert!(matches!(refused, Err(ConfigError::DeviceName { .. })));
    let refused = line(&with((0..9).map(|_| nic("tap0")).collect()), &Platform::Tdx);
    assert!(matches!(refused, Err(ConfigError::TooManyNics { .. })));
}

fn check(name: &str, config: &VmConfig, platform: &Platform) {
    let made = line(config, platform).unwrap().join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let file = file.with_extension("args");
    if std::env::var_os("CASEMATE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(made, golden, "{}", file.display());
}

fn line(config: &VmConfig, platform: &Platform) -> Result<Vec<String>, ConfigError> {
    command_line(config, &image(), &Sockets::in_folder(&config.runtime_dir), platform)
}

fn sim(acceleration: Acceleration) -> Platform {
    let hash_table = "/run/vm/sev-hashes.bin".into();
    Platform::Sim { acceleration, hash_table, hash_table_address: 0x81_0c00 }
}

fn image() -> GuestImage {
    GuestImage {
        firmware: "/usr/share/casemate/guest/firmware.fd".into(),
        kernel: "/usr/share/casemate/guest/kernel".into(),
        initramfs: "/usr/share/casemate/guest/initramfs".into(),
        cmdline: "casemate.tee=snp panic=-1".to_owned(),
    }
}

fn mac() -> casemate_vmm::MacAddress {
    "02:00:00:00:00:01".parse().unwrap()
}

fn config() -> VmConfig {
    VmConfig {
        name: VmName::new("pod-1").unwrap(),
        tee: Tee::Sim { socket: "/run/casemate/tee-sim.sock".into() },
        vcpus: VcpuCount::new(1).unwrap(),
        memory: MemoryMib::new(512).unwrap(),
        guest_image: "/usr/share/casemate/guest".into(),
        initdata: Some("/run/vm/initdata.img".into()),
        host_data: HostData([0x5a; 32]),
        network: Some(Network {
            namespace: "/run/netns/pod".into(),
            nics: vec![Nic { tap: "tap0".to_owned(), mac: mac(), mtu: 1500 }],
        }),
        runtime_dir: "/run/vm".into(),
        cgroups: Vec::new(),
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        acceleration: None,
        console: None,
    }
}
