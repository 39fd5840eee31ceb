// SPDX-License-Identifier: Apache-2.0
//! Services in the process: what they answer is set by the test, and what they are asked is noted.

#![allow(dead_code, reason = "no test program uses all of it")]

pub(crate) mod amd;
pub(crate) mod intel;

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use casemate_collateral::Anchors;
use casemate_collateral::Cache;
use casemate_collateral::Client;
use casemate_collateral::Endpoints;
use casemate_collateral::Request;
use casemate_collateral::Response;
use casemate_collateral::Transport;
use casemate_collateral::TransportError;

/// The time of the tests: 2026-06-01.
pub(crate) const NOW: u64 = 1_780_272_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// Every service at once.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Part of a URL, and what is answered; the last that fits counts.
    answers: Vec<(String, Response)>,
    asked: Vec<String>,
    down: bool,
    stalled: bool,
}

impl Fake {
    /// Answers every URL with `part` in it so.
    pub(crate) fn answer(&self, part: &str, response: Response) {
        self.0.lock().unwrap().answers.push((part.to_owned(), response));
    }

    pub(crate) fn serve(&self, part: &str, body: &[u8]) {
        self.answer(part, ok(body, None));
    }

    /// Neither answers nor accepts connections.
    pub(crate) fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    /// Accepts connections and never answers.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.0.lock().unwrap().stalled = stalled;
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    pub(crate) fn client(&self, anchors: Anchors, dir: &Path) -> Client {
        self.client_at(Endpoints::default(), anchors, dir)
    }

    pub(crate) fn client_at(&self, endpoints: Endpoints, anchors: Anchors, dir: &Path) -> Client {
        Client::new(self.clone(), endpoints, anchors, Cache::open(dir).unwrap())
    }
}

#[async_trait]
impl Transport for Fake {
    async fn get(&self, request: &Request) -> Result<Response, TransportError> {
        let stalled = {
            let mut state = self.0.lock().unwrap();
            state.asked.push(request.url.clone());
            state.stalled
        };
        if stalled {
            std::future::pending::<()>().await;
        }
        let state = self.0.lock().unwrap();
        if state.down {
            return Err(TransportError::NoAnswer { source: "connection refused".into() });
        }
        let fitting = state.answers.iter().rev().find(|(part, _)| request.url.contains(part));
        let mut response = fitting.map_or_else(|| refusal(404, None), |(_, r)| r.clone());
        if request.issuer_chain.is_none() {
            response.issuer_chain = None;
        }
        Ok(response)
    }
}

pub(crate) fn ok(body: &[u8], issuer_chain: Option<&str>) -> Response {
    Response {
        status: 200,
        retry_after: None,
        issuer_chain: issuer_chain.map(url_encoded),
        body: body.to_vec(),
    }
}

pub(crate) fn refusal(status: u16, retry_after: Option<&str>) -> Response {
    Response {
        status,
        retry_after: retry_after.map(str::to_owned),
        issuer_chain: None,
        body: b"go away".to_vec(),
    }
}

/// As Intel's service encodes headers.
fn url_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Files in the folder of a cache, without state and lock.
pub(crate) fn kept(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".json")).collect();
    names.sort();
    names
}
