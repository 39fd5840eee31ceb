// SPDX-License-Identifier: Apache-2.0
//! The guest configuration format.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use casemate_policy::DocumentError;
use casemate_policy::GuestConfig;
use casemate_policy::Problem;
use proptest::prelude::*;

const FULL: &str = r#"version = 1

[broker]
url = "https://broker.example:8443"
ca = """
-----BEGIN CERTIFICATE-----
AAAA+/==
-----END CERTIFICATE-----
"""

[audit]
key = """
-----BEGIN PUBLIC KEY-----
MFkw/+==
-----END PUBLIC KEY-----
"""

[[registries]]
host = "registry.example"
location = "10.0.0.1:5000"
ca = """
-----BEGIN CERTIFICATE-----
BBBB
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
CCCC
-----END CERTIFICATE-----
"""
"#;

#[test]
fn writes_what_it_reads() {
    let config = GuestConfig::parse(FULL.as_bytes()).unwrap();
    assert_eq!(config.registries[0].location.as_deref(), Some("10.0.0.1:5000"));
    assert_eq!(config.to_toml(), FULL);
}

fn check(from: &str, to: &str, path: &str, problem: Problem) {
    assert!(FULL.contains(from), "{from} does not occur");
    match GuestConfig::parse(FULL.replacen(from, to, 1).as_bytes()) {
        Err(DocumentError::Field { path: found, problem: why }) => {
            assert_eq!((found.as_str(), why), (path, problem), "{to}");
        }
        other => panic!("{to}: {other:?}"),
    }
}

#[test]
fn refuses_each_broken_rule() {
    check("version = 1", "version = 0", "version", Problem::Version);
    // D15, C11: never http, no credentials, no query in the broker's address
    for url in [
        "http://broker.example",
        "HTTPS://broker.example",
        "https://",
        "https://user:pw@broker.example",
        "https://broker.example:0",
        "https://broker.example:+1",
        "https://broker.example:",
        "https://broker.example?x",
        "https://broker.example/#x",
        "https://broker.example/%2e",
        "https://bro ker.example",
        "https://[::1",
        "https://[g::1]",
        "",
    ] {
        check("https://broker.example:8443", url, "broker.url", Problem::NotHttps);
    }
    let long = format!("https://broker.example/{}", "x".repeat(2048));
    check("https://broker.example:8443", &long, "broker.url", Problem::TooLong);
    for pem in ["", "AAAA", "-----BEGIN CERTIFICATE-----\nAAAA", "-----END CERTIFICATE-----"] {
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA+/==\n-----END CERTIFICATE-----\n",
            pem,
            "broker.ca",
            Problem::NotPem,
        );
    }
    check("AAAA+/==\n", "", "broker.ca", Problem::NotPem);
    check("AAAA+/==", "AAAA;", "broker.ca", Problem::NotPem);
    check("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY", "broker.ca", Problem::NotPem);
    // A private key or two keys are no key to seal to.
    check("BEGIN PUBLIC KEY", "BEGIN PRIVATE KEY", "audit.key", Problem::NotPublicKey);
    check("MFkw/+==\n", "", "audit.key", Problem::NotPublicKey);
    let block = "-----BEGIN PUBLIC KEY-----\nMFkw/+==\n-----END PUBLIC KEY-----\n";
    check(block, "", "audit.key", Problem::NotPublicKey);
    check(block, &block.repeat(2), "audit.key", Problem::NotPublicKey);
    check("MFkw/+==", &"A".repeat(1024), "audit.key", Problem::TooLong);
    check("\"registry.example\"", "\"registry\"", "registries[0].host", Problem::NotRegistry);
    check("\"registry.example\"", "\"a.b/c\"", "registries[0].host", Problem::NotRegistry);
    let location = "registries[0].location";
    check("\"10.0.0.1:5000\"", "\"http://x.y\"", location, Problem::NotRegistry);
    check("BBBB", "-----", "registries[0].ca", Problem::NotPem);
    let again = &FULL[FULL.find("[[registries]]").unwrap()..];
    let twice = format!("{again}\n{again}");
    check(again, &twice, "registries[1].host", Problem::Duplicate);
}

#[test]
fn accepts_addresses_and_paths() {
    for url in [
        "https://broker",
        "https://10.0.0.1",
        "https://[fd00::1]",
        "https://[fd00::1]:8443",
        "https://broker.example/tenant-1/",
    ] {
        let text = FULL.replacen("https://broker.example:8443", url, 1);
        assert!(GuestConfig::parse(text.as_bytes()).is_ok(), "{url}");
    }
}

#[test]
fn refuses_what_it_does_not_know() {
    for (from, to) in [
        ("[broker]", "[broker]\ninsecure = true"),
        ("version = 1", "version = 1\nproxy = \"http://x\""),
        ("[broker]", "[Broker]"),
        ("[audit]", "[audit]\nlevel = 1"),
    ] {
        let error = GuestConfig::parse(FULL.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Syntax { .. }), "{to}: {error}");
    }
}

#[test]
fn every_truncation_is_refused_or_shorter() {
    let full = GuestConfig::parse(FULL.as_bytes()).unwrap();
    for length in 0..FULL.len() {
        if let Ok(config) = GuestConfig::parse(&FULL.as_bytes()[..length]) {
            assert!(config != full || length == FULL.len() - 1, "at {length}");
        }
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = GuestConfig::parse(&bytes);
    }
}
