// SPDX-License-Identifier: Apache-2.0
//! Guests whose host gave no certificates.

use std::sync::Arc;

use crate::harness::Guest;
use crate::harness::KEY;
use crate::harness::Place;
use crate::harness::mint::Authority;
use crate::harness::mint::Names;
use crate::harness::service::Service;

const VCEK: &str = "?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84";

/// AMD's service, for the chips of `authority`.
fn kds(authority: &Authority) -> Service {
    let kds = Service::default();
    let chain = crate::harness::mint::pem("CERTIFICATE", &authority.ask) + &authority.ark_pem();
    kds.answer(VCEK, &authority.vcek);
    kds.answer("/cert_chain", chain.as_bytes());
    kds
}

async fn key(place: &Place, guest: &Guest) -> bool {
    let session = guest.session(&place.endpoint());
    session.resource(&format!("kbs:///{KEY}").parse().unwrap()).await.is_ok()
}

fn guest(authority: &Arc<Authority>) -> Guest {
    Guest { without_certificates: true, ..Guest::new(authority) }
}

#[tokio::test]
async fn a_certificate_is_fetched_once_where_the_owner_says_so() {
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let settings = kds.serve("kds");
    let asks_nobody = Place::ready(&authority).await;
    assert!(!key(&asks_nobody, &guest(&authority)).await);
    assert!(kds.asked().is_empty());
    asks_nobody.stop().await;

    let place = Place::ready_with(&authority, &settings).await;
    assert!(key(&place, &guest(&authority)).await);
    let asked = kds.asked();
    assert!(asked.iter().any(|path| path.ends_with(VCEK)), "{asked:?}");
    // D17: with the service gone, the kept one will do.
    kds.forget();
    assert!(key(&place, &guest(&authority)).await);
    assert!(!kds.asked().iter().any(|path| path.ends_with(VCEK)));
    // Who brings a certificate costs no request.
    assert!(key(&place, &Guest::new(&authority)).await);
    assert!(kds.asked().is_empty());
    place.stop().await;
}

#[tokio::test]
async fn a_service_that_lies_opens_nothing() {
    // D17
    let authority = Arc::new(Authority::new());
    let kds = kds(&authority);
    let place = Place::ready_with(&authority, &kds.serve("kds")).await;
    let other_chip = Names { chip: vec![7; 64], ..Names::default() };
    let lower_tcb = Names { tcb: [10, 0, 24, 84], ..Names::default() };
    for lie in [
        Authority::with(&other_chip, 0),
        Authority::with(&lower_tcb, 0),
        Authority::with(&Names::default(), 2),
    ] {
        kds.answer(VCEK, &lie.vcek);
        assert!(!key(&place, &guest(&authority)).await);
    }
    kds.answer(VCEK, &authority.vcek);
    assert!(key(&place, &guest(&authority)).await);
    place.stop().await;
}
