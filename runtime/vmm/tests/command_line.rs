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

mod fixtures;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_vmm::qemu::{Platform, Sockets, command_line};
use casemate_vmm::{
    Acceleration, ConfigError, GuestImage, InitdataDigest, MemoryMib, Network, Nic, OwnerId,
    QuoteSocket, SnpOptions, SnpPolicy, TdxOptions, Tee, VcpuCount, VmConfig, VmName,
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
    let config = VmConfig { vcpus: VcpuCount::new(4).unwrap(), ..config() };
    check("snp", &config, &fixtures::snp(SnpOptions::default(), None));
}

#[test]
fn snp_with_the_operators_choices() {
    let policy = SnpPolicy::new(0x2_0000).unwrap();
    let options = SnpOptions { policy, vcek_disabled: true, ..SnpOptions::default() };
    let object = object(&fixtures::snp(options, None));
    assert!(object.contains(",policy=0x20000,"), "{object}");
    assert!(object.ends_with(",vcek-disabled=on"), "{object}");
}

#[test]
fn snp_with_an_id_block() {
    let without = object(&fixtures::snp(SnpOptions::default(), None));
    for (author, enabled) in [(false, "off"), (true, "on")] {
        let identity = fixtures::identity(author);
        let block = STANDARD.encode(identity.block().to_bytes());
        let auth = STANDARD.encode(identity.auth().to_bytes().as_slice());
        let object = object(&fixtures::snp(SnpOptions::default(), Some(identity)));
        let more = format!(",id-block={block},id-auth={auth},author-key-enabled={enabled}");
        assert_eq!(object, format!("{without}{more}"));
    }
}

#[test]
fn tdx() {
    let config = VmConfig { network: None, initdata: None, ..config() };
    check("tdx", &config, &Platform::Tdx(TdxOptions::default()));
}

#[test]
fn tdx_with_the_operators_choices() {
    let options = TdxOptions {
        mr_owner: OwnerId([1; 48]),
        mr_owner_config: OwnerId([2; 48]),
        quote_socket: QuoteSocket::Unix("/run/qgs,\".sock".into()),
    };
    let object: serde_json::Value = serde_json::from_str(&object(&Platform::Tdx(options))).unwrap();
    assert_eq!(object["mrowner"], STANDARD.encode([1; 48]));
    assert_eq!(object["mrownerconfig"], STANDARD.encode([2; 48]));
    let socket = serde_json::json!({ "type": "unix", "path": "/run/qgs,\".sock" });
    assert_eq!(object["quote-generation-socket"], socket);
    for bad in [PathBuf::from("qgs.sock"), format!("/{}", "x".repeat(107)).into()] {
        let quote_socket = QuoteSocket::Unix(bad);
        let options = TdxOptions { quote_socket, ..TdxOptions::default() };
        assert!(line(&config(), &Platform::Tdx(options)).is_err());
    }
}

/// MRCONFIGID takes the whole of a longer digest, HOST_DATA its first 32 bytes.
#[test]
fn longer_digests_of_initdata_fill_mrconfigid() {
    let digest: [u8; 48] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let config = VmConfig { initdata_digest: InitdataDigest::Sha384(digest), ..config() };
    let tdx = line(&config, &Platform::Tdx(TdxOptions::default())).unwrap().join(" ");
    assert!(tdx.contains(&format!("\"mrconfigid\":\"{}\"", STANDARD.encode(digest))), "{tdx}");
    let snp = line(&config, &fixtures::snp(SnpOptions::default(), None)).unwrap().join(" ");
    assert!(snp.contains(&format!(",host-data={}", STANDARD.encode(&digest[..32]))), "{snp}");
}

#[test]
fn host_data_enters_the_hardware_lines_only_there() {
    // A2: the digest of the initdata is fixed at launch.
    let other = VmConfig { initdata_digest: InitdataDigest::Sha256([0x5b; 32]), ..config() };
    for platform in hardware() {
        let (a, b) = (line(&config(), &platform).unwrap(), line(&other, &platform).unwrap());
        let differing: Vec<_> = a.iter().zip(&b).filter(|(a, b)| a != b).collect();
        assert_eq!(differing.len(), 1, "{differing:?}");
    }
}

#[test]
fn only_the_simulated_platform_has_a_way_to_the_software_psp() {
    for platform in hardware() {
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
    let refused = line(&with(vec![nic("t,script=/x")]), &Platform::Tdx(TdxOptions::default()));
    assert!(matches!(refused, Err(ConfigError::DeviceName { .. })));
    let refused =
        line(&with((0..9).map(|_| nic("tap0")).collect()), &Platform::Tdx(TdxOptions::default()));
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

/// The argument that describes the TEE.
fn object(platform: &Platform) -> String {
    let line = line(&config(), platform).unwrap();
    line.into_iter().find(|argument| fixtures::is_tee(argument)).unwrap()
}

fn hardware() -> [Platform; 2] {
    [fixtures::snp(SnpOptions::default(), None), Platform::Tdx(TdxOptions::default())]
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
        id_block: "/usr/share/casemate/guest/id-block-1.bin".into(),
        id_auth: "/usr/share/casemate/guest/id-auth-1.bin".into(),
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
        initdata_digest: InitdataDigest::Sha256([0x5a; 32]),
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
