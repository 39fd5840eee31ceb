// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

/// Made by OpenSSL 3.0: `openssl ca -gencrl` with an RSA key of the test's own, RSASSA-PSS, SHA-384.
const LIST: &str = "\
    308201e930819e020101304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c30\
    1a06092a864886f70d010108300d06096086480165030402020500a2030201303010310e300c06035504030c05\
    41524b2d78170d3236313132333135343030345a170d3237313132333135343030345a30163014020302000117\
    0d3236303130313030303030305aa00e300c300a0603551d140403020105304106092a864886f70d01010a3034\
    a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d0609608648016503040202\
    0500a20302013003820101004d0d89ec98ffd3cf7f36d5013b19eb82f8aaef009c8dc6fe818b4f298333f2bc31\
    f879bae608f204156b213ea795955ec38b14f87261aad24429b24218e15f63d47cd3a1c5be536f3c90a797b658\
    4011b2d547ea99936f1d74c5e0b557b5aaa51fbdeb27f2a209a16d1af4059cd3e5f4681db5fdeaae47b267ffc4\
    16780706209ba2bf711230751174e7a6b9ed953f45604d1abb2f1e95b9e2d20f7d34df06b0778663306570e6fd\
    a6c64ef87dd8c5e6ad64c2048eddbc4a531181e3b057e72710053e615e98ffd74f690354cffbe9f95360261b32\
    3fa8cf5fdc191205745bb1916a12c8ba9865889c94015df255bc00e23a640bdb00da2d4ada5b8279b6e7ff";

fn list() -> Vec<u8> {
    hex::decode(LIST).unwrap()
}

#[test]
fn reads_what_openssl_writes() {
    let crl = Crl::parse(&list()).unwrap();
    assert_eq!(crl.der(), list());
    assert_eq!(crl.revoked().collect::<Vec<_>>(), [[2, 0, 1]]);
    assert!(crl.names(&[2, 0, 1]) && !crl.names(&[2, 0]) && !crl.names(&[0, 2, 0, 1]));
    assert_eq!(crl.number(), Some(&[5][..]));
    assert_eq!(crl.next_update() - crl.this_update(), 365 * 24 * 60 * 60);
    assert_eq!(crl.signature().len(), 256);
    assert!(list().windows(crl.signed_bytes().len()).any(|part| part == crl.signed_bytes()));
}

#[test]
fn every_truncation_and_anything_behind_is_refused() {
    // D7
    let list = list();
    for end in 0..list.len() {
        assert!(Crl::parse(&list[..end]).is_err(), "{end}");
    }
    let mut long = list;
    long.push(0);
    assert!(matches!(Crl::parse(&long), Err(CrlError::Malformed { .. })));
    long.resize(MAX_CRL_BYTES + 1, 0);
    assert!(matches!(Crl::parse(&long), Err(CrlError::TooLarge)));
}

#[test]
fn a_changed_byte_is_an_error_or_another_list() {
    let good = Crl::parse(&list()).unwrap();
    for at in 0..list().len() {
        let mut bad = list();
        bad[at] ^= 0x01;
        if let Ok(changed) = Crl::parse(&bad) {
            assert_ne!(changed, good, "byte {at}");
            assert_eq!(changed.der(), bad, "byte {at}");
        }
    }
}

#[test]
fn a_list_of_some_certificates_only_is_none() {
    // The list's number, 2.5.29.20, becomes the point of distribution or the mark of a delta list.
    let at = list().windows(5).position(|part| part == [0x06, 0x03, 0x55, 0x1d, 0x14]).unwrap();
    for id in [27, 28] {
        let mut scoped = list();
        scoped[at + 4] = id;
        assert!(matches!(Crl::parse(&scoped), Err(CrlError::Scope)), "{id}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Crl::parse(&bytes).is_err());
    }
}
