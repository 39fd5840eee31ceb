// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::snp::testing::vector;

const REPORTS: [(&str, u32, Option<Product>); 8] = [
    ("oak/derived-milan_oc_release.report.bin", 3, Some(Product::Milan)),
    ("oak/derived-cb.report.bin", 3, Some(Product::Milan)),
    ("oak/derived-genoa_oc.report.bin", 5, Some(Product::Genoa)),
    ("oak/derived-turin_oc.report.bin", 5, Some(Product::Turin)),
    ("trustee/e2e-evidence.report.bin", 3, Some(Product::Genoa)),
    ("trustee/test-vlek-report.bin", 3, Some(Product::Milan)),
    ("aci-sidecar/snp_report.bin", 2, None),
    ("go-sev-guest/attestation.bin", 2, None),
];

#[test]
fn reads_every_real_report_and_keeps_its_bytes() {
    for (name, version, product) in REPORTS {
        let bytes = vector(name);
        let report = Report::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(report.version(), version, "{name}");
        assert_eq!(report.cpuid().and_then(CpuId::product), product, "{name}");
        assert_eq!(report.as_bytes(), bytes, "{name}");
        assert_eq!(report.signed_bytes(), &bytes[..SIGNED_BYTES], "{name}");
        assert!(report.signature().is_some(), "{name}");
        assert!(report.policy().is_well_formed(), "{name}");
    }
}

#[test]
fn reads_the_fields_of_a_genoa_report() {
    let report = Report::parse(&vector("oak/derived-genoa_oc.report.bin")).unwrap();
    assert_eq!(report.reported_tcb().to_string(), "bootloader 10 tee 0 snp 25 microcode 84");
    assert_eq!(report.reported_tcb(), report.committed_tcb());
    assert_eq!(report.reported_tcb(), report.launch_tcb());
    assert_eq!(report.reported_tcb(), report.current_tcb());
    assert_eq!(report.cpuid(), Some(CpuId { family: 0x19, model: 0x11, stepping: 1 }));
    assert_eq!(report.current_firmware(), FirmwareVersion { major: 1, minor: 55, build: 43 });
    assert_eq!(report.vmpl(), 0);
    assert_eq!(report.signature_algorithm(), 1);
    assert_eq!(report.signing_key(), SigningKey::Vcek);
    assert!(report.launch_mitigations().is_some());
    assert!(report.platform_info().alias_check_complete());
    assert!(report.policy().smt());
    assert!(!report.policy().debug());
    assert!(hex::encode(report.chip_id()).starts_with("d2421d976f95ce0b"));
}

#[test]
fn reads_the_turin_order_of_levels() {
    let report = Report::parse(&vector("oak/derived-turin_oc.report.bin")).unwrap();
    assert_eq!(
        report.reported_tcb(),
        TcbVersion { fmc: Some(0), bootloader: 1, tee: 0, snp: 2, microcode: 0x47 }
    );
}

#[test]
fn reads_debug_vlek_and_host_data() {
    let debug = Report::parse(&vector("go-sev-guest/attestation.bin")).unwrap();
    assert!(debug.policy().debug());
    let vlek = Report::parse(&vector("trustee/test-vlek-report.bin")).unwrap();
    assert_eq!((vlek.signing_key(), vlek.vmpl()), (SigningKey::Vlek, 1));
    assert_eq!(vlek.chip_id(), &[0; 64]);
    let aci = Report::parse(&vector("aci-sidecar/snp_report.bin")).unwrap();
    assert!(hex::encode(aci.host_data()).starts_with("cadd74f7"));
    assert!(hex::encode(aci.measurement()).starts_with("51068107"));
    assert_eq!(aci.policy().abi(), (0, 31));
    assert_eq!(aci.launch_mitigations(), None);
}

#[test]
fn every_other_length_is_refused() {
    let bytes = vector("oak/derived-genoa_oc.report.bin");
    for end in 0..bytes.len() {
        assert_eq!(Report::parse(&bytes[..end]).err(), Some(ReportError::Size { actual: end }));
    }
    let mut long = bytes;
    long.push(0);
    assert_eq!(Report::parse(&long).err(), Some(ReportError::Size { actual: 1185 }));
    let damaged = vector("lit-sev-snp-utils/guest_report_bad_sig.bin");
    assert_eq!(Report::parse(&damaged).err(), Some(ReportError::Size { actual: 1185 }));
    let cut = vector("lit-sev-snp-utils/guest_report_corrupt.bin");
    assert_eq!(Report::parse(&cut).err(), Some(ReportError::Size { actual: 793 }));
}

#[test]
fn unknown_versions_are_refused_with_their_place() {
    let mut bytes = vector("oak/derived-genoa_oc.report.bin");
    for version in [0u32, 1, 6, 7, 255, u32::MAX] {
        bytes[..4].copy_from_slice(&version.to_le_bytes());
        assert_eq!(Report::parse(&bytes).err(), Some(ReportError::Version { version, offset: 0 }));
    }
}

#[test]
fn a_changed_byte_is_an_error_or_another_report() {
    // D7: nothing is dropped silently: what parses gives back the changed bytes.
    for (name, ..) in REPORTS {
        let bytes = vector(name);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x80;
            match Report::parse(&bad) {
                Ok(report) => assert_eq!(report.as_bytes(), bad, "{name} byte {at:#x}"),
                Err(ReportError::Version { .. }) => assert!(at < 4),
                Err(error) => panic!("{name} byte {at:#x}: {error}"),
            }
        }
    }
}

#[test]
fn reserved_fields_are_kept_and_named() {
    // D4: a bit without a meaning is no parse error and is never dropped.
    let genoa = vector("oak/derived-genoa_oc.report.bin");
    let turin = vector("oak/derived-turin_oc.report.bin");
    let milan_v2 = vector("trustee/test-report.bin");
    for (bytes, at, offset, len) in [
        (&genoa, 0x4C, 0x4C, 4),
        (&genoa, 0x49, 0x48, 4),
        (&genoa, 0x19F, 0x18B, 21),
        (&genoa, 0x1EB, 0x1EB, 1),
        (&genoa, 0x1EF, 0x1EF, 1),
        (&genoa, 0x29F, 0x208, 152),
        (&genoa, 0x330, 0x330, 368),
        (&genoa, 0x49F, 0x330, 368),
        (&genoa, 0x3C, 0x3A, 4),
        (&genoa, 0x184, 0x182, 4),
        (&turin, 0x186, 0x184, 3),
        (&turin, 0x1E4, 0x1E4, 3),
        (&turin, 0x1F6, 0x1F4, 3),
        (&milan_v2, 0x189, 0x188, 3),
        (&milan_v2, 0x1F8, 0x1F8, 8),
        (&milan_v2, 0x207, 0x200, 8),
    ] {
        assert_eq!(Report::parse(bytes).unwrap().reserved(), [], "{at:#x}");
        let mut bad = bytes.clone();
        bad[at] |= 0x40;
        let report = Report::parse(&bad).unwrap();
        assert_eq!(report.reserved(), [Reserved { offset, len }], "{at:#x}");
        assert_eq!(report.as_bytes(), bad);
    }
}

#[test]
fn bits_of_policy_and_platform() {
    let policy = |bit: u32| GuestPolicy(1 << bit);
    assert!(policy(16).smt() && policy(18).migration_agent() && policy(19).debug());
    assert!(policy(20).single_socket() && policy(21).cxl() && policy(22).aes_256_xts());
    assert!(policy(23).rapl_disabled() && policy(24).ciphertext_hiding());
    assert!(policy(25).page_swap_disabled());
    assert!(!policy(17).page_swap_disabled() && policy(17).is_well_formed());
    assert!(!GuestPolicy(1 << 17 | 1 << 26).is_well_formed() && !GuestPolicy(0).is_well_formed());
    let info = |bit: u32| PlatformInfo(1 << bit);
    assert!(info(0).smt() && info(1).tsme() && info(2).ecc() && info(3).rapl_disabled());
    assert!(info(4).ciphertext_hiding() && info(5).alias_check_complete());
    assert!(info(6).iommu_write_safe() && info(7).tio());
    for bit in 0..64 {
        let known = bit < 8 && bit != 6;
        assert_eq!(info(bit).unknown_bits(Some(Product::Genoa)) == 0, known, "{bit}");
        assert_eq!(info(bit).unknown_bits(None) == 0, known, "{bit}");
        assert_eq!(info(bit).unknown_bits(Some(Product::Turin)) == 0, bit < 8, "{bit}");
    }
}

#[test]
fn a_signature_number_longer_than_the_curve_is_none() {
    for at in [0x2A0 + 48, 0x2E8 + 71] {
        let mut bad = vector("oak/derived-genoa_oc.report.bin");
        bad[at] = 1;
        assert_eq!(Report::parse(&bad).unwrap().signature(), None);
    }
}

#[test]
fn certificate_names_tell_the_product() {
    assert_eq!(Product::from_certificate_name("Milan-B0"), Some(Product::Milan));
    assert_eq!(Product::from_certificate_name("Turin"), Some(Product::Turin));
    assert_eq!(Product::from_certificate_name("Siena-B1"), Some(Product::Genoa));
    for unknown in
        ["Milano", "", "Venice", "Genoa-", "Genoa-X", "Genoa-B10", "Genoa-b0", "Genoa-B0-C"]
    {
        assert_eq!(Product::from_certificate_name(unknown), None, "{unknown}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), REPORT_BYTES)) {
        if let Ok(report) = Report::parse(&bytes) {
            prop_assert_eq!(report.as_bytes(), &bytes[..]);
        }
    }
}
