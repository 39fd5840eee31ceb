// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::snp::testing::vector;

#[test]
fn reads_a_milan_vcek() {
    let bytes = vector("trustee/test-vcek.der");
    let vcek = Certificate::parse(&bytes).unwrap();
    assert_eq!(vcek.der(), bytes);
    assert_eq!(vcek.common_name(), "SEV-VCEK");
    assert_eq!(vcek.product(), Some("Milan-B0"));
    assert_eq!(vcek.provider(), None);
    assert_eq!(vcek.hardware_id().unwrap().len(), 64);
    assert!(matches!(vcek.key(), PublicKey::P384(point) if point.len() == 97));
    assert!(!vcek.is_ca());
    // 2023-01-24T17:58:26Z to seven years later
    assert_eq!((vcek.not_before(), vcek.not_after()), (1_674_583_106, 1_895_507_906));
    assert_eq!(
        vcek.tcb(),
        Some(TcbVersion { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 0x73 })
    );
    assert_eq!(vcek.signature().len(), 512);
}

#[test]
fn reads_a_turin_vcek_and_a_vlek() {
    let turin = Certificate::parse(&vector("virtee-sev/vcek_turin.der")).unwrap();
    assert_eq!(turin.hardware_id().unwrap(), hex::decode("1e550a8ee5cf9f4d").unwrap());
    assert_eq!(turin.tcb().unwrap().fmc, Some(0));
    assert_eq!(turin.product(), Some("Turin"));
    let vlek = Certificate::parse(&vector("trustee/test-vlek.der")).unwrap();
    assert_eq!(vlek.provider(), Some("CN=cc-us-east-2.amazonaws.com"));
    assert_eq!(vlek.hardware_id(), None);
    assert_eq!(vlek.tcb().unwrap().microcode, 0xD9);
}

#[test]
fn both_encodings_of_the_chip_id_are_read() {
    let legacy = Certificate::parse(&vector("trustee/test-vcek-invalid-legacy.der")).unwrap();
    let wrapped = Certificate::parse(&vector("trustee/test-vcek-invalid-new.der")).unwrap();
    assert_eq!(legacy.hardware_id().unwrap().len(), 64);
    assert_eq!(wrapped.hardware_id().unwrap().len(), 64);
}

#[test]
fn reads_bundles() {
    for product in ["milan", "genoa", "turin"] {
        let pem = vector(&format!("trustee/{product}_ask_ark_asvk.pem"));
        let bundle = Certificate::parse_bundle(std::str::from_utf8(&pem).unwrap()).unwrap();
        assert_eq!(bundle.len(), 3);
        assert!(bundle.iter().all(Certificate::is_ca));
        assert!(bundle.iter().all(|c| matches!(c.key(), PublicKey::Rsa(_))));
        assert_eq!(bundle.iter().filter(|c| c.issuer() == c.subject()).count(), 1);
    }
    let one = vector("virtee-sev/builtin-genoa-ark.pem");
    assert_eq!(Certificate::parse(&one).unwrap().common_name(), "ARK-Genoa");
}

#[test]
fn malformed_bundles_are_refused() {
    let pem = String::from_utf8(vector("virtee-sev/builtin-genoa-ark.pem")).unwrap();
    for bad in [
        format!("{pem}rest"),
        format!("text before\n{pem}"),
        pem.replace("CERTIFICATE", "X509 CRL"),
        pem.replacen('M', "!", 1),
        pem.repeat(super::super::MAX_CERTIFICATES + 1),
    ] {
        assert!(Certificate::parse_bundle(&bad).is_err());
    }
    assert!(Certificate::parse_bundle("").unwrap().is_empty());
}

#[test]
fn truncated_trailing_and_large_are_refused() {
    let der = vector("trustee/test-vcek.der");
    for end in 0..der.len() {
        assert!(Certificate::parse(&der[..end]).is_err(), "{end}");
    }
    let mut trailing = der.clone();
    trailing.push(0);
    assert!(Certificate::parse(&trailing).is_err()); // D7
    trailing.resize(MAX_CERTIFICATE_BYTES + 1, 0);
    assert!(matches!(Certificate::parse(&trailing), Err(CertificateError::TooLarge)));
}

#[test]
fn overlong_lengths_are_refused() {
    // D7: 30 82 LL LL rewritten as 30 83 00 LL LL, which BER allows and DER does not.
    let der = vector("trustee/test-vcek.der");
    let mut overlong = vec![0x30, 0x83, 0x00];
    overlong.extend_from_slice(&der[2..]);
    assert!(Certificate::parse(&overlong).is_err());
}

#[test]
fn a_changed_byte_is_an_error_or_another_certificate() {
    let der = vector("trustee/test-vcek.der");
    let good = Certificate::parse(&der).unwrap();
    for at in 0..der.len() {
        let mut bad = der.clone();
        bad[at] ^= 0x01;
        if let Ok(parsed) = Certificate::parse(&bad) {
            assert_eq!(parsed.der(), bad);
            assert!(
                parsed.signed_bytes() != good.signed_bytes()
                    || parsed.signature() != good.signature()
                    || parsed.der() != good.der(),
                "byte {at}"
            );
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
    }
}
