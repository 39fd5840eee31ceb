// SPDX-License-Identifier: Apache-2.0
//! Bundles: from a place with a network to one without.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod fake;

use casemate_collateral::Bundle;
use casemate_collateral::CheckError;
use casemate_collateral::Update;
use casemate_evidence::snp::Product;
use fake::DAY;
use fake::Fake;
use fake::NOW;
use fake::amd;
use fake::amd::Chip;
use fake::intel::Simulated;
use fake::kept;

#[tokio::test]
async fn a_place_without_a_network_has_what_another_fetched() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (chip, simulated) = (Chip::genoa(), Simulated::new());
    let service = chip.service();
    simulated.parts.serve(&service);
    for (anchors, intel) in
        [(chip.bare_anchors(Product::Genoa), false), (simulated.anchors(), true)]
    {
        let client = service.client(anchors.clone(), here.path());
        let platform = simulated.platform();
        if intel {
            client.tdx(platform, Update::Early, NOW).await.unwrap();
        } else {
            client.snp(&chip.report, &[], None, NOW).await.unwrap();
        }
        let bundle = client.export(NOW).unwrap();
        assert_eq!(bundle.items().count(), if intel { 4 } else { 3 });

        let offline = Fake::default();
        offline.set_down(true);
        let client = offline.client(anchors, there.path());
        let read = Bundle::from_json(bundle.to_json().as_bytes()).unwrap();
        let imported = client.import(&read, NOW).unwrap();
        assert_eq!((imported.kept.len(), imported.refused.len()), (bundle.items().count(), 0));
        if intel {
            let found = client.tdx(platform, Update::Early, NOW).await.unwrap();
            assert_eq!(found.setbacks.len(), 4); // nobody could be asked for newer ones
        } else {
            let found = client.snp(&chip.report, &[], None, NOW).await.unwrap();
            assert_eq!(found.entries.len(), 3);
        }
    }
}

#[tokio::test]
async fn a_bundle_is_no_way_around_the_checks() {
    // D17: what is wrong is named, the rest is kept.
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let chip = Chip::genoa();
    let client = chip.service().client(chip.anchors(Product::Genoa), here.path());
    client.snp(&chip.report, &[], None, NOW).await.unwrap();
    let bundle = client.export(NOW).unwrap();

    let offline = Fake::default();
    let client = offline.client(chip.anchors(Product::Genoa), there.path());
    let lie = |items: &Bundle| {
        Bundle::new(items.items().map(|(item, answer)| {
            let mut answer = answer.clone();
            if item.to_string().starts_with("amd-crl") {
                answer.body = Chip::of_another_root().crl(9, amd::AROUND);
            }
            (item, answer)
        }))
    };
    let imported = client.import(&lie(&bundle), NOW).unwrap();
    assert_eq!(imported.kept.len(), 1);
    assert!(matches!(imported.refused[..], [(_, CheckError::NotVouched)]));
    assert_eq!(kept(there.path()).len(), 1);

    // Stale, and rolled back.
    let late = client.import(&bundle, NOW + 90 * DAY).unwrap();
    assert!(matches!(late.refused[..], [(_, CheckError::NotCurrent { .. })]));
    offline.serve("/crl", &chip.crl(8, amd::AROUND));
    client.snp(&chip.report, &[], None, NOW).await.unwrap();
    let old = client.import(&bundle, NOW).unwrap();
    assert!(matches!(old.refused[..], [(_, CheckError::RolledBack { .. })]));
    // What is stale does not go out again either.
    assert_eq!(client.export(NOW + 90 * DAY).unwrap().items().count(), 1);
}
