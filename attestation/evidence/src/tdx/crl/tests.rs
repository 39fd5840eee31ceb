// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::tdx::testing::text;
use crate::tdx::testing::vector;

fn of_collateral(member: &str) -> Vec<u8> {
    let json: serde_json::Value =
        serde_json::from_str(&text("tdx/dcap-qvl/tdx_quote_collateral.json")).unwrap();
    hex::decode(json[member].as_str().unwrap()).unwrap()
}

fn serial(hex_digits: &str) -> Serial {
    Serial::new(&hex::decode(hex_digits).unwrap()).unwrap()
}

#[test]
fn reads_real_lists() {
    let pck = Crl::parse(&of_collateral("pck_crl")).unwrap();
    // 2025-06-19T10:00:35Z to a month later
    assert_eq!((pck.this_update(), pck.next_update()), (1_750_327_235, 1_752_919_235));
    assert_eq!(pck.number(), Some(1));
    assert!(pck.revokes(&serial("6FC34E5023E728923435D61AA4B83C618166AD35")));
    assert!(pck.revokes(&serial("FD608648629CBA73078B4D492F4B3EA741AD08CD")));
    assert!(!pck.revokes(&serial("3c16ed54eacbb4ced072be72630c85788cf46e36")));
    assert!(pck.revoked_count() > 10);
    let root = Crl::parse(&of_collateral("root_ca_crl")).unwrap();
    assert_eq!((root.revoked_count(), root.number()), (0, Some(1)));
    for name in ["tdx/go-tdx-guest/pckcrl", "tdx/go-tdx-guest/rootcrl.der"] {
        let bytes = vector(name);
        let list = Crl::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(list.der(), bytes, "{name}");
        assert!(!list.revokes(&serial("00")), "{name}");
    }
}

#[test]
fn pem_is_read_too() {
    use base64::Engine as _;
    let der = of_collateral("root_ca_crl");
    let base64 = base64::engine::general_purpose::STANDARD.encode(&der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let body = lines.join("\n");
    let pem = format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n");
    assert_eq!(Crl::parse(pem.as_bytes()).unwrap().der(), der);
    let other = pem.replace("X509 CRL", "CERTIFICATE");
    assert!(matches!(Crl::parse(other.as_bytes()), Err(CrlError::Pem)));
}

#[test]
fn truncated_trailing_and_large_are_refused() {
    let der = of_collateral("pck_crl");
    for end in 0..der.len() {
        assert!(Crl::parse(&der[..end]).is_err(), "{end}");
    }
    let mut trailing = der;
    trailing.push(0);
    assert!(Crl::parse(&trailing).is_err()); // D7
    trailing.resize(MAX_CRL_BYTES + 1, 0);
    assert!(matches!(Crl::parse(&trailing), Err(CrlError::TooLarge)));
}

#[test]
fn a_changed_byte_is_an_error_or_another_list() {
    for member in ["pck_crl", "root_ca_crl"] {
        let der = of_collateral(member);
        let good = Crl::parse(&der).unwrap();
        for at in 0..der.len() {
            let mut bad = der.clone();
            bad[at] ^= 0x01;
            if let Ok(parsed) = Crl::parse(&bad) {
                assert_eq!(parsed.der(), bad);
                let same = parsed.signed_bytes() == good.signed_bytes()
                    && parsed.signature() == good.signature();
                assert!(!same, "{member} byte {at}");
            }
        }
    }
}

#[test]
fn critical_extensions_scopes_and_lists_without_an_end_are_refused() {
    let der = of_collateral("root_ca_crl");
    // The list's number, 06 03 55 1d 14, marked critical in place of its first bytes' value.
    let at = der.windows(5).position(|w| w == [0x06, 0x03, 0x55, 0x1d, 0x14]).unwrap();
    let mut critical = der.clone();
    // OCTET STRING 04 03 02 01 01 becomes BOOLEAN 01 01 ff and an empty OCTET STRING.
    critical[at + 5..at + 10].copy_from_slice(&[0x01, 0x01, 0xFF, 0x04, 0x00]);
    assert!(matches!(Crl::parse(&critical), Err(CrlError::CriticalExtension)));
    // The number becomes the point of distribution, or the mark of a delta list.
    for id in [27, 28] {
        let mut scoped = der.clone();
        scoped[at + 4] = id;
        assert!(matches!(Crl::parse(&scoped), Err(CrlError::Scope)), "{id}");
    }
    // The second date becomes something that is none.
    let mut endless = der.clone();
    let first = der.windows(2).position(|w| w == [0x17, 0x0d]).unwrap();
    assert_eq!(endless[first + 15], 0x17);
    endless[first + 15] = 0x04;
    assert!(matches!(Crl::parse(&endless), Err(CrlError::NextUpdate)));
}

#[test]
fn serial_numbers_compare_as_numbers() {
    assert_eq!(serial("0012"), serial("12"));
    assert_eq!(serial("0012").as_bytes(), [0x12]);
    assert_ne!(serial("1200"), serial("12"));
    assert_eq!(serial("").as_bytes(), [0_u8; 0]);
    assert!(Serial::new(&[1; 20]).is_some());
    assert!(Serial::new(&[0; 40]).is_some());
    assert!(Serial::new(&[1; 21]).is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Crl::parse(&bytes).is_err());
    }
}
