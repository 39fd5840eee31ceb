// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::tdx::testing::Pieces;
use crate::tdx::testing::quote;
use crate::tdx::testing::vector;

/// File, version, body, bytes used.
const QUOTES: [(&str, QuoteVersion, BodyKind, usize); 14] = [
    ("tdx/cc-api/quote.bin", QuoteVersion::V4, BodyKind::Td10, 4956),
    ("tdx/dcap-qvl/tdx_quote", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/dcap-qvl/tdx_quote_outdated", QuoteVersion::V5, BodyKind::Td15, 5006),
    ("tdx/dcap-qvl/near-quote_hex.txt", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/dcap-qvl/quote-from-tappd.hex", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/dcap-qvl/tdx-quote.hex", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/dstack/quote-report.json", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/dstack/tdx-lite-getquote.json", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat", QuoteVersion::V4, BodyKind::Td10, 4935),
    ("tdx/go-tdx-guest/quote_v5_sample.dat", QuoteVersion::V5, BodyKind::Td15, 5006),
    ("tdx/trustee/tdx_quote_4.dat", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("tdx/trustee/tdx_quote_5.dat", QuoteVersion::V5, BodyKind::Td15, 5006),
    ("tdx/trustee/tdx_quote_6.dat", QuoteVersion::V4, BodyKind::Td10, 4936),
    ("az-tdx-vtpm/td-quote.bin", QuoteVersion::V4, BodyKind::Td10, 4936),
];

#[test]
fn reads_every_real_quote_and_keeps_its_bytes() {
    for (name, version, kind, used) in QUOTES {
        let bytes = quote(name);
        let parsed = Quote::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(parsed.version(), version, "{name}");
        assert_eq!(parsed.body().kind(), kind, "{name}");
        assert_eq!(parsed.used_bytes(), used, "{name}");
        assert_eq!(parsed.as_bytes(), bytes, "{name}");
        let header = if version == QuoteVersion::V4 { 48 } else { 54 };
        assert_eq!(parsed.signed_bytes(), &bytes[..header + kind.bytes()], "{name}");
        assert!(parsed.pck_chain().starts_with(b"-----BEGIN CERTIFICATE-----"), "{name}");
        assert_eq!(parsed.qe_auth_data().len(), 32, "{name}");
        assert_eq!(parsed.qe_report().product_id(), 2, "{name}");
        assert_eq!(parsed.qe_report().as_bytes().len(), ENCLAVE_REPORT_BYTES);
        assert_eq!(hex::encode(&parsed.qe_report().mr_signer()[..4]), "dc9e2a7c", "{name}");
    }
}

#[test]
fn reads_the_fields_of_a_body() {
    let parsed = Quote::parse(&quote("tdx/go-tdx-guest/quote_v5_sample.dat")).unwrap();
    let body = parsed.body();
    assert_eq!(body.tee_tcb_svn()[..3], [11, 1, 4]);
    assert_eq!(body.tee_tcb_svn2().unwrap()[..3], [13, 1, 4]);
    assert_eq!(body.mr_service_td(), Some(&[0; 48]));
    assert_eq!((body.current_service_td(), body.td_id()), (None, None));
    assert_eq!(hex::encode(&body.mr_seam()[..8]), "7bf063280e94fb05");
    assert_eq!(body.mr_signer_seam(), &[0; 48]);
    assert_eq!(body.seam_attributes(), 0);
    assert_eq!(body.td_attributes(), crate::tdx::TdAttributes::SEPT_VE_DISABLE);
    assert_eq!(body.xfam(), 0x0006_02e7);
    assert_eq!(hex::encode(&body.mr_td()[..8]), "7348651a34b2d2d3");
    assert_eq!((body.mr_config_id(), body.mr_owner()), (&[0; 48], &[0; 48]));
    assert_eq!(body.mr_owner_config(), &[0; 48]);
    assert_eq!(body.rtmrs().map(|r| hex::encode(&r[..4]))[..2], ["5c8daf76", "463acaac"]);
    assert_eq!(hex::encode(&body.report_data()[..8]), "945eaacf5abc1f71");
    assert_eq!(hex::encode(&parsed.user_data()[..4]), "ba103c0e");
}

#[test]
fn quotes_of_enclaves_are_named_as_such() {
    for name in ["tdx/dcap-qvl/sgx_quote", "tdx/trustee/occlum_quote.dat"] {
        assert_eq!(Quote::parse(&vector(name)).err(), Some(QuoteError::Sgx), "{name}");
    }
}

#[test]
fn text_behind_a_quote_is_refused() {
    // D7: a real file that somebody's text follows; without it the quote is fine.
    let bytes = vector("tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat");
    assert_eq!(Quote::parse(&bytes).err(), Some(QuoteError::Trailing { offset: 4935 }));
    assert_eq!(Quote::parse(&bytes[..4935]).unwrap().used_bytes(), 4935);

    let mut padded = quote("tdx/dcap-qvl/tdx_quote");
    padded.resize(8192, 0);
    assert!(Quote::parse(&padded).is_ok());
    for at in [4936, 5000, 8191] {
        let mut bad = padded.clone();
        bad[at] = 1;
        assert_eq!(Quote::parse(&bad).err(), Some(QuoteError::Trailing { offset: 4936 }));
    }
    padded.resize(MAX_QUOTE_BYTES + 1, 0);
    assert_eq!(Quote::parse(&padded).err(), Some(QuoteError::TooLarge));
}

#[test]
fn every_truncation_is_refused() {
    for name in ["tdx/trustee/tdx_quote_4.dat", "tdx/trustee/tdx_quote_5.dat"] {
        let bytes = quote(name);
        for end in 0..bytes.len() {
            let error = Quote::parse(&bytes[..end]).err();
            let Some(QuoteError::Truncated { offset }) = error else { panic!("{name} {end}") };
            assert!(offset <= end, "{name} {end}");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_another_quote() {
    // D1, D7: nothing is dropped silently: what parses gives back the changed bytes.
    for name in ["tdx/dcap-qvl/tdx_quote", "tdx/trustee/tdx_quote_5.dat"] {
        let bytes = quote(name);
        let good = Quote::parse(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x01;
            if let Ok(parsed) = Quote::parse(&bad) {
                assert_eq!(parsed.as_bytes(), bad, "{name} byte {at:#x}");
                assert_ne!(parsed, good, "{name} byte {at:#x}");
            }
        }
    }
}

#[test]
fn header_and_body_must_be_known_and_agree() {
    let refused = |pieces: Pieces| Quote::parse(&pieces.quote()).unwrap_err();
    let base = Pieces::default;
    assert!(Quote::parse(&base().quote()).is_ok());
    let v5 = |body_type, bytes| Pieces { version: 5, body_type, body: vec![7; bytes], ..base() };
    for (body_type, bytes, kind) in
        [(2, 584, BodyKind::Td10), (3, 648, BodyKind::Td15), (4, 885, BodyKind::Td15Extended)]
    {
        let parsed = Quote::parse(&v5(body_type, bytes).quote()).unwrap();
        assert_eq!(parsed.body().kind(), kind);
        assert_eq!(parsed.body().td_id().is_some(), body_type == 4);
    }
    // D6: bodies of one version or type under the name of another.
    assert_eq!(refused(v5(2, 648)), QuoteError::BodySize { kind: 2, size: 648 });
    assert_eq!(refused(v5(3, 584)), QuoteError::BodySize { kind: 3, size: 584 });
    assert_eq!(refused(v5(1, 384)), QuoteError::BodyType { kind: 1 });
    assert_eq!(refused(v5(9, 584)), QuoteError::BodyType { kind: 9 });
    let mixed = Pieces { body: vec![7; 648], ..base() };
    assert!(matches!(refused(mixed), QuoteError::Truncated { .. }));
    for version in [0, 1, 2, 3, 6, u16::MAX] {
        assert_eq!(refused(Pieces { version, ..base() }), QuoteError::Version { version });
    }
    assert_eq!(refused(Pieces { tee_type: 0, ..base() }), QuoteError::Sgx);
    assert_eq!(refused(Pieces { tee_type: 0x82, ..base() }), QuoteError::TeeType { kind: 0x82 });
    assert_eq!(refused(Pieces { key_type: 3, ..base() }), QuoteError::KeyType { kind: 3 });
    assert_eq!(refused(Pieces { vendor: [1; 16], ..base() }), QuoteError::Vendor);
}

#[test]
fn certification_data_is_nested_one_way() {
    let refused = |pieces: Pieces| Quote::parse(&pieces.quote()).unwrap_err();
    for kind in [0, 1, 4, 5, 7] {
        let pieces = Pieces { outer_type: kind, ..Pieces::default() };
        assert_eq!(refused(pieces), QuoteError::Certification { kind, expected: 6 });
    }
    for kind in [0, 1, 2, 3, 4, 6, 7] {
        let pieces = Pieces { inner_type: kind, ..Pieces::default() };
        assert_eq!(refused(pieces), QuoteError::Certification { kind, expected: 5 });
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    // D7: each length of the quote one more and one less than it is.
    let good = Pieces::default().quote();
    let size = |at: usize| u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
    let (signature_data, outer) = (48 + 584, 48 + 584 + 4 + 128 + 2);
    let (auth, inner) = (outer + 4 + 384 + 64, outer + 4 + 384 + 64 + 2 + 32 + 2);
    assert_eq!(usize::try_from(size(signature_data)).unwrap() + signature_data + 4, good.len());
    for at in [signature_data, outer, inner] {
        for wrong in [size(at) + 1, size(at) - 1, 0, u32::MAX] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
            assert!(Quote::parse(&bad).is_err(), "{at:#x} {wrong}");
        }
    }
    for wrong in [31_u16, 33, 0, u16::MAX] {
        let mut bad = good.clone();
        bad[auth..auth + 2].copy_from_slice(&wrong.to_le_bytes());
        assert!(Quote::parse(&bad).is_err(), "{wrong}");
    }
    // A byte too many inside the signature data, with all other lengths right.
    let mut bad = good.clone();
    bad.push(0);
    bad[signature_data..signature_data + 4]
        .copy_from_slice(&(size(signature_data) + 1).to_le_bytes());
    assert_eq!(Quote::parse(&bad).err(), Some(QuoteError::Leftover { offset: good.len() }));
}

proptest! {
    #[test]
    fn what_is_put_together_is_read_back(
        kind in 2_u16..=4,
        body in proptest::collection::vec(any::<u8>(), 885),
        auth_data in proptest::collection::vec(any::<u8>(), 0..100),
        chain in proptest::collection::vec(any::<u8>(), 0..100),
        padding in 0_usize..100,
    ) {
        let size = BodyKind::from_type(kind).unwrap().bytes();
        let pieces = Pieces {
            version: 5,
            body_type: kind,
            body: body[..size].to_vec(),
            auth_data: auth_data.clone(),
            chain: chain.clone(),
            padding: vec![0; padding],
            ..Pieces::default()
        };
        let bytes = pieces.quote();
        let parsed = Quote::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.as_bytes(), &bytes[..]);
        prop_assert_eq!(parsed.used_bytes(), bytes.len() - padding);
        prop_assert_eq!(&parsed.signed_bytes()[54..], &body[..size]);
        prop_assert_eq!(parsed.body().mr_td(), &body[136..184]);
        prop_assert_eq!(parsed.qe_auth_data(), &auth_data[..]);
        prop_assert_eq!(parsed.pck_chain(), &chain[..]);
        prop_assert_eq!(parsed.attestation_key(), &[0xA5; 64]);
        prop_assert_eq!(parsed.qe_report_signature(), &[0x51; 64]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Quote::parse(&bytes).is_err());
    }
}
