// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use x509_cert::TbsCertificate;
use x509_cert::der::Encode as _;

use super::*;
use crate::tdx::Quote;
use crate::tdx::testing::quote;
use crate::tdx::testing::vector;

fn chain(name: &str) -> Vec<u8> {
    Quote::parse(&quote(name)).unwrap().pck_chain().to_vec()
}

fn leaf() -> Certificate {
    Certificate::parse_chain(&chain("tdx/dcap-qvl/tdx_quote")).unwrap().remove(0)
}

#[test]
fn reads_a_chain() {
    let certificates = Certificate::parse_chain(&chain("tdx/dcap-qvl/tdx_quote")).unwrap();
    let [leaf, ca, root] = &certificates[..] else { panic!("three certificates") };
    assert_eq!(leaf.common_name(), "Intel SGX PCK Certificate");
    assert_eq!(ca.common_name(), "Intel SGX PCK Platform CA");
    assert_eq!(root.common_name(), "Intel SGX Root CA");
    assert_eq!((leaf.is_ca(), ca.is_ca(), root.is_ca()), (false, true, true));
    assert_eq!((leaf.signs_lists(), ca.signs_lists(), root.signs_lists()), (false, true, true));
    assert_eq!((ca.path_limit(), root.path_limit()), (Some(0), Some(1)));
    assert_eq!(leaf.issuer(), ca.subject());
    assert_eq!((ca.issuer(), root.issuer()), (root.subject(), root.subject()));
    assert_eq!(root.der(), vector("tdx/dcap-qvl/TrustedRootCA.der"));
    // 2025-02-06T23:25:51Z to seven years later
    assert_eq!((leaf.not_before(), leaf.not_after()), (1_738_884_351, 1_959_722_751));
    assert_eq!(hex::encode(leaf.serial().as_bytes()), "3c16ed54eacbb4ced072be72630c85788cf46e36");
    assert!(leaf.key().starts_with(&[4, 0x17, 0x20, 0xfa]));
    assert!(ca.pck().is_none() && root.pck().is_none());
}

#[test]
fn reads_what_intel_says_of_a_platform() {
    let leaf = leaf();
    let pck = leaf.pck().unwrap();
    assert_eq!(hex::encode(pck.fmspc), "b0c06f000000");
    assert_eq!(pck.pce_id, [0, 0]);
    assert_eq!(pck.components[..9], [3, 3, 2, 2, 4, 1, 0, 5, 0]);
    assert_eq!(pck.cpu_svn, pck.components);
    assert_eq!((pck.pce_svn, pck.sgx_type), (11, 1));
    assert!(pck.platform_instance_id.is_some());
    let flags = pck.flags;
    assert_eq!(
        (flags.dynamic_platform, flags.cached_keys, flags.smt_enabled),
        (Some(true), Some(true), Some(true))
    );
}

#[test]
fn reads_the_certificates_of_every_quote() {
    for (name, fmspc) in [
        ("tdx/cc-api/quote.bin", "10806f070000"),
        ("tdx/dcap-qvl/near-quote_hex.txt", "20a06f000000"),
        ("tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat", "00806f050000"),
        ("tdx/trustee/tdx_quote_4.dat", "50806f000000"),
        ("tdx/trustee/tdx_quote_5.dat", "90c06f000000"),
        ("tdx/trustee/tdx_quote_6.dat", "00a06d080000"),
        ("az-tdx-vtpm/td-quote.bin", "00806f050000"),
    ] {
        let certificates = Certificate::parse_chain(&chain(name)).unwrap();
        assert_eq!(certificates.len(), 3, "{name}");
        assert_eq!(hex::encode(certificates[0].pck().unwrap().fmspc), fmspc, "{name}");
    }
    for number in 0..7 {
        let name = format!("tdx/intel-dcap/PCKCertSelection/pck{number}_sample.pem");
        // Samples with a key on another curve, which no platform has.
        let sample = Certificate::parse(&vector(&name));
        assert!(matches!(sample, Err(CertificateError::KeyKind)), "{name}");
    }
}

#[test]
fn malformed_chains_are_refused() {
    let good = chain("tdx/dcap-qvl/tdx_quote");
    let text = String::from_utf8(good.clone()).unwrap();
    let pem = text.trim_end_matches('\0');
    assert!(Certificate::parse_chain(format!("{pem}\0\0\n").as_bytes()).is_err());
    assert!(Certificate::parse_chain(format!("{pem}\u{b}").as_bytes()).is_err());
    for bad in [
        format!("{pem}rest"),
        format!("text\n{pem}"),
        pem.replacen("END CERTIFICATE-----\n", "END CERTIFICATE-----\ntext\n", 1),
        pem.replace("CERTIFICATE", "X509 CRL"),
        pem.replacen('M', "!", 1),
        pem.repeat(3),
        String::new(),
    ] {
        assert!(Certificate::parse_chain(bad.as_bytes()).is_err());
    }
    let long = pem.repeat(3);
    assert!(matches!(
        Certificate::parse_chain(long.as_bytes()),
        Err(CertificateError::ChainLength)
    ));
    assert!(matches!(Certificate::parse_chain(&[0xFF]), Err(CertificateError::Pem)));
}

#[test]
fn truncated_trailing_large_and_overlong_are_refused() {
    let der = leaf().der().to_vec();
    for end in 0..der.len() {
        assert!(Certificate::parse(&der[..end]).is_err(), "{end}");
    }
    let mut trailing = der.clone();
    trailing.push(0);
    assert!(Certificate::parse(&trailing).is_err()); // D7
    trailing.resize(MAX_CERTIFICATE_BYTES + 1, 0);
    assert!(matches!(Certificate::parse(&trailing), Err(CertificateError::TooLarge)));
    // D7: 30 82 LL LL rewritten as 30 83 00 LL LL, which BER allows and DER does not.
    let mut overlong = vec![0x30, 0x83, 0x00];
    overlong.extend_from_slice(&der[2..]);
    assert!(Certificate::parse(&overlong).is_err());
}

#[test]
fn other_peoples_certificates_are_refused() {
    assert!(matches!(
        Certificate::parse(&vector("snp/trustee/test-vcek.der")),
        Err(CertificateError::SignatureAlgorithm)
    ));
}

#[test]
fn a_changed_byte_is_an_error_or_another_certificate() {
    let good = leaf();
    for at in 0..good.der().len() {
        let mut bad = good.der().to_vec();
        bad[at] ^= 0x01;
        if let Ok(parsed) = Certificate::parse(&bad) {
            assert_eq!(parsed.der(), bad);
            let same = parsed.signed_bytes() == good.signed_bytes()
                && parsed.signature() == good.signature();
            assert!(!same, "byte {at}");
        }
    }
}

/// The extension's value, and where it lies in the certificate.
fn extension(certificate: &Certificate) -> Vec<u8> {
    let tbs = <TbsCertificate>::from_der(certificate.signed_bytes()).unwrap();
    let extensions = tbs.extensions().unwrap();
    let sgx = extensions.iter().find(|extension| extension.extn_id == SGX).unwrap();
    sgx.extn_value.as_bytes().to_vec()
}

#[test]
fn reads_what_another_parser_reads() {
    for name in ["tdx/dcap-qvl/tdx_quote", "tdx/trustee/tdx_quote_5.dat", "tdx/cc-api/quote.bin"] {
        for ours in Certificate::parse_chain(&chain(name)).unwrap() {
            let tbs = <TbsCertificate>::from_der(ours.signed_bytes()).unwrap();
            assert_eq!(ours.issuer(), tbs.issuer().to_der().unwrap());
            assert_eq!(ours.subject(), tbs.subject().to_der().unwrap());
            assert_eq!(Serial::new(tbs.serial_number().as_bytes()).as_ref(), Some(ours.serial()));
            let spki = tbs.subject_public_key_info();
            assert_eq!(ours.spki(), spki.to_der().unwrap());
            assert_eq!(ours.key(), spki.subject_public_key.as_bytes().unwrap());
            let common_name = tbs.subject().common_name().unwrap().unwrap();
            assert_eq!(ours.common_name(), common_name.value());
            let until = tbs.validity().not_after.to_unix_duration().as_secs();
            assert_eq!(ours.not_after(), until);
        }
    }
}

#[test]
fn the_extension_is_read_strictly() {
    let value = extension(&leaf());
    let good = PckExtension::parse(&value).unwrap();
    for end in 0..value.len() {
        assert!(PckExtension::parse(&value[..end]).is_err(), "{end}");
    }
    for at in 0..value.len() {
        let mut bad = value.clone();
        bad[at] ^= 0x01;
        if let Ok(parsed) = PckExtension::parse(&bad) {
            // The ids' first numbers and unknown members are not looked at.
            assert!(parsed != good || bad != value, "{at}");
        }
    }
    // D7: a member twice.
    let member = [0x30, 0x03, 0x06, 0x01, 0x01];
    let mut twice = value.clone();
    twice.extend(member);
    assert!(PckExtension::parse(&twice).is_err());
    let (mut tcb_twice, id) = (Vec::new(), SGX_MEMBER_PPID.to_der().unwrap());
    for _ in 0..2 {
        let mut one = vec![0x30, u8::try_from(id.len() + 2).unwrap()];
        one.extend(&id);
        one.extend([0x05, 0x00]);
        tcb_twice.extend(one);
    }
    let mut outer = vec![0x30, u8::try_from(tcb_twice.len()).unwrap()];
    outer.extend(tcb_twice);
    assert_eq!(PckExtension::parse(&outer), Err(PckError::Duplicate));
    assert_eq!(PckExtension::parse(&[0x30, 0]), Err(PckError::Missing { member: "TCB" }));
}

const SGX_MEMBER_PPID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.1");

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        let _ = PckExtension::parse(&bytes);
        let _ = Certificate::parse_chain(&bytes);
    }
}
