// SPDX-License-Identifier: Apache-2.0
//! AMD's service: D17.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod fake;

use std::collections::BTreeSet;

use casemate_collateral::AmdKey;
use casemate_collateral::CheckError;
use casemate_collateral::FetchError;
use casemate_collateral::Item;
use casemate_collateral::Origin;
use casemate_collateral::REFRESH_AFTER;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::TableEntry;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::Requirements;
use casemate_verifier::verify;
use fake::DAY;
use fake::Fake;
use fake::NOW;
use fake::amd;
use fake::amd::Chip;
use fake::kept;
use fake::refusal;

const GENOA: Product = Product::Genoa;
const LIST: Item = Item::AmdCrl { product: GENOA, signs: AmdKey::Vcek };

/// Whether a lie is found out as what it is.
type Finding = fn(&CheckError) -> bool;

fn reason(error: &FetchError) -> &CheckError {
    match error {
        FetchError::NotGenuine { source, .. } | FetchError::Offered { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_that_did_not_come_is_fetched_once() {
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    let found = client.snp(&chip.report, &[], None, NOW).await.unwrap();
    assert!(found.setbacks.is_empty());
    assert_eq!(found.entries[0].data, chip.vcek());
    let kinds: Vec<_> = found.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [CertificateKind::Vcek, CertificateKind::Ask, CertificateKind::Crl]);
    assert_eq!(service.asked().len(), 2);

    // The evidence is complete now, for a verifier that knows the root alone.
    let evidence = Evidence { report: chip.report.clone(), certificates: found.entries };
    let demands = Requirements {
        measurements: Some(BTreeSet::from([Measurement(amd::MEASUREMENT)])),
        require_crl: true,
        ..Requirements::default()
    };
    let expected = Expected { report_data: Some(amd::DATA), host_data: None };
    let verdict = verify(&evidence, &[chip.root()], &expected, &demands, NOW);
    assert!(verdict.accepted().is_some(), "{:?}", verdict.reasons().collect::<Vec<_>>());

    // Another process with the same folder asks nobody.
    let again = service.client(chip.anchors(GENOA), dir.path());
    assert!(again.snp(&chip.report, &[], None, NOW + 1).await.unwrap().setbacks.is_empty());
    assert_eq!(service.asked(), [""; 0]);
}

#[tokio::test]
async fn the_key_below_the_root_is_fetched_where_it_is_not_configured() {
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.bare_anchors(GENOA), dir.path());
    let found = client.snp(&chip.report, &[], None, NOW).await.unwrap();
    assert_eq!(found.entries[1].kind, CertificateKind::Ask);
    assert_eq!(service.asked().len(), 3);
    assert_eq!(kept(dir.path()).len(), 3);
}

#[tokio::test]
async fn turin_is_asked_for_by_eight_bytes_and_five_levels() {
    let (chip, dir) = (Chip::turin(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(Product::Turin), dir.path());
    client.snp(&chip.report, &[], None, NOW).await.unwrap();
    let asked = service.asked();
    let id = hex::encode(&chip.report.chip_id()[..8]);
    assert!(asked[0].contains(&format!("/vcek/v1/Turin/{id}?fmcSPL=09&blSPL=02&")), "{asked:?}");
}

#[tokio::test]
async fn what_came_along_is_used_first_and_only_if_it_belongs() {
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    let found = client.snp(&chip.report, &chip.offered(), None, NOW).await.unwrap();
    assert!(found.setbacks.is_empty());
    assert!(service.asked()[0].ends_with("/vcek/v1/Genoa/crl")); // and nothing else
    // D17: a host that gives the certificate of another chip is found out, and does no harm.
    let other = amd::vcek(|names| names.chip = vec![7; 64]);
    let offered = [TableEntry { kind: CertificateKind::Vcek, data: other }];
    let found = client.snp(&chip.report, &offered, None, NOW).await.unwrap();
    assert!(matches!(reason(&found.setbacks[0]), CheckError::OtherChip { .. }));
    assert_eq!(found.entries[0].data, chip.vcek());
}

#[tokio::test]
async fn leased_keys_come_along_or_not_at_all() {
    let (chip, dir) = (Chip::leased(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    let found = client.snp(&chip.report, &chip.offered(), None, NOW).await.unwrap();
    assert_eq!(found.entries[0].kind, CertificateKind::Vlek);
    assert!(service.asked()[0].ends_with("/vlek/v1/Genoa/crl"));
    let missing = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
    assert!(matches!(missing, FetchError::NoLeasedKey));
}

#[tokio::test]
async fn a_chip_that_is_withheld_cannot_be_asked_for() {
    let (chip, dir) = (Chip::masked(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    assert!(client.snp(&chip.report, &chip.offered(), None, NOW).await.is_ok());
    service.asked();
    let missing = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
    assert!(matches!(missing, FetchError::MaskedChip));
    assert_eq!(service.asked(), [""; 0]);
}

#[tokio::test]
async fn a_report_of_version_2_needs_a_product_by_name() {
    let (chip, dir) = (Chip::unnamed(), tempfile::tempdir().unwrap());
    let client = chip.service().client(chip.anchors(GENOA), dir.path());
    let unknown = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
    assert!(matches!(unknown, FetchError::NoProduct));
    assert!(client.snp(&chip.report, &[], Some(GENOA), NOW).await.is_ok());
}

#[tokio::test]
async fn a_service_that_is_down_does_not_take_away_what_is_valid() {
    // D17
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    service.set_down(true);
    let error = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }));
    assert_eq!(error.code(), "collateral-unreachable");
    service.set_down(false);
    client.snp(&chip.report, &[], None, NOW).await.unwrap();
    service.set_down(true);
    // The list is due to be looked for anew, cannot be, and is still valid.
    let later = NOW + REFRESH_AFTER + 1;
    let found = client.snp(&chip.report, &[], None, later).await.unwrap();
    assert!(matches!(found.setbacks[..], [FetchError::Unreachable { .. }]));
    assert_eq!(found.entries.len(), 3);
    // D17: no downgrade. A list past its date is no list, and a certificate is none.
    let found = client.snp(&chip.report, &[], None, NOW + 90 * DAY).await.unwrap();
    assert_eq!(found.entries.len(), 2);
    let late = client.snp(&chip.report, &[], None, NOW + 3000 * DAY).await.unwrap_err();
    assert!(matches!(late, FetchError::Unreachable { .. }));
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is() {
    // D17: 429
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    for (header, wait) in [
        (Some("120"), 120),
        (Some("Mon, 01 Jun 2026 00:02:00 GMT"), 120),
        (Some("86400"), casemate_collateral::MAX_WAIT),
        (None, 60),
    ] {
        for status in [429, 503] {
            let dir = dir.path().join(format!("{status}{wait}{header:?}").replace([' ', ':'], ""));
            let service = chip.service();
            service.answer("/vcek/v1/", refusal(status, header));
            let client = service.client(chip.anchors(GENOA), &dir);
            let until = NOW + wait;
            for at in [NOW, NOW + 1, until - 1] {
                // Also in another process.
                let client = service.client(chip.anchors(GENOA), &dir);
                let busy = client.snp(&chip.report, &[], None, at).await.unwrap_err();
                assert!(matches!(busy, FetchError::Busy { until: u, .. } if u == until), "{busy}");
            }
            assert_eq!(service.asked().len(), 1);
            service.serve("/vcek/v1/", chip.vcek());
            service.serve("/crl", &chip.crl(7, amd::AROUND));
            assert!(client.snp(&chip.report, &[], None, until).await.is_ok());
        }
    }
}

#[tokio::test]
async fn while_a_service_is_busy_what_is_valid_is_used() {
    // D17
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    client.get(&LIST, NOW).await.unwrap();
    service.answer("/crl", refusal(429, Some("300")));
    let later = NOW + REFRESH_AFTER + 1;
    for _ in 0..3 {
        let list = client.get(&LIST, later).await.unwrap();
        assert_eq!(list.origin, Origin::Cache);
        assert!(matches!(list.setback, Some(FetchError::Busy { .. })));
    }
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn other_refusals_have_names() {
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = Fake::default();
    let client = service.client(chip.anchors(GENOA), dir.path());
    assert!(matches!(client.get(&LIST, NOW).await, Err(FetchError::Missing { .. })));
    for status in [204, 302, 400, 500, 502] {
        service.answer("/crl", refusal(status, None));
        let error = client.get(&LIST, NOW).await.unwrap_err();
        assert!(matches!(error, FetchError::Status { status: s, .. } if s == status), "{status}");
    }
    assert_eq!(kept(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_lies_is_found_out_and_nothing_is_kept() {
    // D17
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = Fake::default();
    let client = service.client(chip.anchors(GENOA), dir.path());
    let genuine = chip.vcek().to_vec();
    let mut flipped = genuine.clone();
    flipped[200] ^= 1;
    let lies: [(&str, Vec<u8>, Finding); 11] = [
        ("another chip", amd::vcek(|names| names.chip = vec![7; 64]), |e| {
            matches!(e, CheckError::OtherChip { .. })
        }),
        ("a lower TCB", amd::vcek(|names| names.tcb = [10, 0, 24, 84]), |e| {
            matches!(e, CheckError::OtherTcb { .. })
        }),
        ("another product", amd::vcek(|names| names.product = "Milan"), |e| {
            matches!(e, CheckError::OtherProduct { .. })
        }),
        ("a leased key", amd::vcek(|names| names.provider = Some("x")), |e| {
            matches!(e, CheckError::OtherKind)
        }),
        ("an expired one", amd::vcek(|names| names.leaf_validity = amd::PAST), |e| {
            matches!(e, CheckError::NotCurrent { .. })
        }),
        ("one of the future", amd::vcek(|names| names.leaf_validity = amd::FUTURE), |e| {
            matches!(e, CheckError::NotCurrent { .. })
        }),
        ("another root's", Chip::of_another_root().vcek().to_vec(), |e| {
            matches!(e, CheckError::NotVouched)
        }),
        ("the signing key", chip.chain().into_bytes(), |e| {
            matches!(e, CheckError::AmdCertificate { .. } | CheckError::OtherKind)
        }),
        ("half of it", genuine[..600].to_vec(), |e| matches!(e, CheckError::AmdCertificate { .. })),
        ("a page", b"<html>Please log in</html>".to_vec(), |e| {
            matches!(e, CheckError::AmdCertificate { .. })
        }),
        ("a flipped bit", flipped, |e| {
            matches!(e, CheckError::AmdCertificate { .. } | CheckError::NotVouched)
        }),
    ];
    for (what, lie, is_named) in lies {
        service.serve("/vcek/v1/", &lie);
        let error = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
        assert!(matches!(error, FetchError::NotGenuine { .. }), "{what}: {error:?}");
        assert_eq!(error.code(), "collateral-refused");
        assert!(is_named(reason(&error)), "{what}: {error:?}");
        assert_eq!(kept(dir.path()), [""; 0], "{what}");
    }
    service.serve("/vcek/v1/", &genuine);
    assert!(client.snp(&chip.report, &[], None, NOW).await.is_ok());
}

#[tokio::test]
async fn lists_that_lie_are_found_out() {
    // D17
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = Fake::default();
    let client = service.client(chip.anchors(GENOA), dir.path());
    let lies: [(Vec<u8>, Finding); 4] = [
        (Chip::of_another_root().crl(8, amd::AROUND), |e| matches!(e, CheckError::NotVouched)),
        (chip.crl(8, amd::PAST), |e| matches!(e, CheckError::NotCurrent { .. })),
        (chip.crl(8, amd::FUTURE), |e| matches!(e, CheckError::NotCurrent { .. })),
        (chip.vcek().to_vec(), |e| matches!(e, CheckError::AmdList { .. })),
    ];
    for (lie, is_named) in lies {
        service.serve("/crl", &lie);
        let error = client.get(&LIST, NOW).await.unwrap_err();
        assert!(is_named(reason(&error)), "{error:?}");
    }
    assert_eq!(kept(dir.path()), [""; 0]);
    // A chain of another root.
    service.serve("/cert_chain", Chip::of_another_root().chain().as_bytes());
    let chain = Item::AmdChain { product: GENOA, signs: AmdKey::Vcek };
    let error = client.get(&chain, NOW).await.unwrap_err();
    assert!(matches!(reason(&error), CheckError::NotVouched));
}

#[tokio::test]
async fn an_older_list_is_refused_even_after_a_restart() {
    // D17: rollback
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    let seventh = client.get(&LIST, NOW).await.unwrap().answer;
    service.serve("/crl", &chip.crl(6, amd::AROUND));
    let later = NOW + REFRESH_AFTER + 1;
    let list = client.get(&LIST, later).await.unwrap();
    assert!(list.origin == Origin::Cache && list.answer == seventh);
    assert!(matches!(reason(&list.setback.unwrap()), CheckError::RolledBack { .. }));
    // Without the kept one too, and in another process.
    std::fs::remove_file(dir.path().join("amd-crl-genoa-vcek.json")).unwrap();
    let again = service.client(chip.anchors(GENOA), dir.path());
    let error = again.get(&LIST, later).await.unwrap_err();
    let text = format!("{}", reason(&error));
    assert_eq!(text, "it is older than one seen before: number 6, seen was number 7");
    // From a host neither.
    let offered = TableEntry { kind: CertificateKind::Crl, data: chip.crl(6, amd::AROUND) };
    let found = again.snp(&chip.report, &[offered], None, later).await.unwrap();
    assert!(found.entries.iter().all(|entry| entry.kind != CertificateKind::Crl));
    assert_eq!(found.setbacks.len(), 2);
    // The number of one root says nothing of another's.
    let other = Chip::of_another_root();
    let foreign = service.client(other.anchors(GENOA), dir.path());
    service.serve("/crl", &other.crl(1, amd::AROUND));
    assert!(foreign.get(&LIST, NOW).await.is_ok());
}

#[tokio::test]
async fn a_hosts_list_counts_when_there_is_no_other() {
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = Fake::default();
    service.set_down(true);
    let client = service.client(chip.anchors(GENOA), dir.path());
    let mut offered = chip.offered();
    offered.push(TableEntry { kind: CertificateKind::Crl, data: chip.crl(7, amd::AROUND) });
    let found = client.snp(&chip.report, &offered, None, NOW).await.unwrap();
    assert_eq!(found.entries.len(), 3);
    assert!(matches!(found.setbacks[..], [FetchError::Unreachable { .. }]));
}

#[tokio::test]
async fn a_changed_file_is_fetched_again_and_never_believed() {
    // D17: the cache is checked whenever it is read.
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    client.snp(&chip.report, &[], None, NOW).await.unwrap();
    let name = kept(dir.path()).into_iter().find(|name| name.starts_with("vcek-")).unwrap();
    let path = dir.path().join(name);
    let whole = std::fs::read(&path).unwrap();
    service.asked();
    let mut fetched = 0;
    for at in (0..whole.len()).step_by(17) {
        let mut changed = whole.clone();
        changed[at] ^= 0x01;
        std::fs::write(&path, &changed).unwrap();
        let found = client.snp(&chip.report, &[], None, NOW).await.unwrap();
        assert_eq!(found.entries[0].data, chip.vcek(), "{at}");
        fetched += service.asked().len();
    }
    assert!(fetched > whole.len() / 17 - 10, "{fetched}");
    // The file of another chip in its place.
    let other = amd::vcek(|names| names.chip = vec![7; 64]);
    service.serve("/vcek/v1/Genoa/0707", &other);
    let id = hex::encode(chip.report.chip_id());
    let item = path.file_stem().unwrap().to_str().unwrap().replace(&id, &"07".repeat(64));
    client.get(&item.parse().unwrap(), NOW).await.unwrap();
    std::fs::copy(dir.path().join(format!("{item}.json")), &path).unwrap();
    let found = client.snp(&chip.report, &[], None, NOW).await.unwrap();
    assert_eq!(found.entries[0].data, chip.vcek());
}

#[tokio::test]
async fn broken_marks_are_an_error_not_a_new_start() {
    // D17
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let client = service.client(chip.anchors(GENOA), dir.path());
    client.get(&LIST, NOW).await.unwrap();
    std::fs::write(dir.path().join("state"), b"{}").unwrap();
    let error = client.get(&LIST, NOW).await.unwrap_err();
    assert!(matches!(error, FetchError::Cache { .. }));
    let error = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
    assert_eq!(error.code(), "collateral-cache");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_nothing_costs_its_time_once() {
    // D17
    let (chip, dir) = (Chip::genoa(), tempfile::tempdir().unwrap());
    let service = chip.service();
    let patience = std::time::Duration::from_secs(10);
    let client = service.client(chip.anchors(GENOA), dir.path()).with_patience(patience);
    client.snp(&chip.report, &[], None, NOW).await.unwrap();
    service.asked();
    service.set_stalled(true);
    // The kept list is valid, and a newer one is looked for.
    let start = tokio::time::Instant::now();
    let later = NOW + REFRESH_AFTER + 1;
    let found = client.snp(&chip.report, &[], None, later).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!((found.entries.len(), found.setbacks.len()), (3, 1));
    assert!(found.setbacks[0].is_transient());
    assert_eq!(service.asked().len(), 1);
    // It is left alone for a while, by everybody with the folder.
    let again = service.client(chip.anchors(GENOA), dir.path());
    let found = again.snp(&chip.report, &[], None, later + 59).await.unwrap();
    assert_eq!((found.entries.len(), found.setbacks[0].code()), (3, "collateral-busy"));
    assert_eq!((start.elapsed().as_secs(), service.asked().len()), (5, 0));
    service.set_stalled(false);
    let found = again.snp(&chip.report, &[], None, later + 60).await.unwrap();
    assert!(found.setbacks.is_empty());

    // Nothing is kept: the whole patience, and no longer.
    let empty = tempfile::tempdir().unwrap();
    let client = service.client(chip.anchors(GENOA), empty.path()).with_patience(patience);
    service.set_stalled(true);
    let start = tokio::time::Instant::now();
    let error = client.snp(&chip.report, &[], None, NOW).await.unwrap_err();
    assert!(error.is_transient() && matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    assert_eq!(start.elapsed().as_secs(), 10);
}
