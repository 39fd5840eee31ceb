// SPDX-License-Identifier: Apache-2.0
//! Guests whose host gave no certificates.

use std::collections::HashMap;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use crate::harness::Guest;
use crate::harness::KEY;
use crate::harness::Place;
use crate::harness::mint::Authority;
use crate::harness::mint::Names;

/// Answers by part of a path; what is asked is noted.
#[derive(Clone, Default)]
struct Kds {
    answers: Arc<Mutex<HashMap<&'static str, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

const VCEK: &str = "?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84";

impl Kds {
    fn of(authority: &Authority) -> Self {
        let kds = Self::default();
        let chain = crate::harness::mint::pem("CERTIFICATE", &authority.ask) + &authority.ark_pem();
        kds.answer(VCEK, &authority.vcek);
        kds.answer("/cert_chain", chain.as_bytes());
        kds
    }

    fn answer(&self, part: &'static str, body: &[u8]) {
        self.answers.lock().unwrap().insert(part, body.to_vec());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Serves on loopback until the test's process ends; the settings that name it.
    fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = format!("kds = \"http://{}\"\n", listener.local_addr().unwrap());
        let kds = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let answers = kds.answers.lock().unwrap().clone();
                let body = answers.iter().find(|(part, _)| path.contains(*part));
                kds.asked.lock().unwrap().push(path.clone());
                let (status, body) = body.map_or((404, &[][..]), |(_, body)| (200, body));
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(&[reply.as_bytes(), body].concat()).unwrap();
            }
        });
        settings
    }
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
    let kds = Kds::of(&authority);
    let settings = kds.serve();
    let asks_nobody = Place::ready(&authority).await;
    assert!(!key(&asks_nobody, &guest(&authority)).await);
    assert!(kds.asked().is_empty());
    asks_nobody.stop().await;

    let place = Place::ready_with(&authority, &settings).await;
    assert!(key(&place, &guest(&authority)).await);
    let asked = kds.asked();
    assert!(asked.iter().any(|path| path.ends_with(VCEK)), "{asked:?}");
    // D17: with the service gone, the kept one will do.
    kds.answers.lock().unwrap().clear();
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
    let kds = Kds::of(&authority);
    let place = Place::ready_with(&authority, &kds.serve()).await;
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
