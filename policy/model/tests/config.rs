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
use casemate_policy::Policy;
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

[[registry_credentials]]
host = "10.0.0.1:5000"
resource = "kbs:///default/credential/registries"
token_host = "auth.example"

[image_signatures.owner]
key = """
-----BEGIN PUBLIC KEY-----
DDDD
-----END PUBLIC KEY-----
"""

[audit]
key = """
-----BEGIN PUBLIC KEY-----
EEEE
-----END PUBLIC KEY-----
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
    check("\"registry.example\"", "\"registry\"", "registries[0].host", Problem::NotRegistry);
    check("\"registry.example\"", "\"a.b/c\"", "registries[0].host", Problem::NotRegistry);
    let location = "registries[0].location";
    check("\"10.0.0.1:5000\"", "\"http://x.y\"", location, Problem::NotRegistry);
    check("BBBB", "-----", "registries[0].ca", Problem::NotPem);
    let registry = FULL.find("[[registries]]").unwrap();
    let again = &FULL[registry..FULL.find("[[registry_credentials").unwrap()];
    let twice = format!("{again}\n{again}");
    check(again, &twice, "registries[1].host", Problem::Duplicate);
}

#[test]
fn credentials_are_resources_for_one_host_each() {
    let entry = &FULL[FULL.find("[[registry_credentials").unwrap()..];
    let entry = &entry[..entry.find("[image_signatures").unwrap()];
    for (field, text) in
        [("host", "\"10.0.0.1:5000\"\nresource"), ("token_host", "\"auth.example\"")]
    {
        let path = format!("registry_credentials[0].{field}");
        for bad in ["\"\"", "\"a.b/c\"", "\"https://a.b\"", "\"a b\""] {
            let bad = text.replacen(text.split('\n').next().unwrap(), bad, 1);
            check(text, &bad, &path, Problem::NotRegistry);
        }
    }
    let token_host = "registry_credentials[0].token_host";
    check("\"auth.example\"", "\"auth.example:443\"", token_host, Problem::NotRegistry);
    let twice = format!("{entry}\n{entry}");
    check(entry, &twice, "registry_credentials[1].host", Problem::Duplicate);
    // The resource is a name and nothing else: no password can stand there.
    for bad in ["https://broker.example/x", "owner:secret", "kbs:///default/credential"] {
        let text = FULL.replace("kbs:///default/credential/registries", bad);
        assert!(GuestConfig::parse(text.as_bytes()).is_err(), "{bad}");
    }
    let text = FULL.replace("token_host", "password");
    assert!(GuestConfig::parse(text.as_bytes()).is_err());
}

#[test]
fn keys_are_one_public_key_each() {
    let name = "image_signatures.Owner";
    check("image_signatures.owner", "image_signatures.Owner", name, Problem::NotName);
    for (key, path) in [("DDDD", "image_signatures.owner.key"), ("EEEE", "audit.key")] {
        check(key, "", path, Problem::NotPublicKey);
        check(key, "x y", path, Problem::NotPublicKey);
        check(key, &"A".repeat(65536), path, Problem::TooLong);
        let two = "AAAA\n-----END PUBLIC KEY-----\n-----BEGIN PUBLIC KEY-----\nBBBB";
        check(key, two, path, Problem::NotPublicKey);
        // A secret does not belong into a public document.
        let block = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----");
        check(&block, &block.replace("PUBLIC", "PRIVATE"), path, Problem::NotPublicKey);
        check(&block, &block.replace("PUBLIC KEY", "CERTIFICATE"), path, Problem::NotPublicKey);
        check(&block, "", path, Problem::NotPublicKey);
    }
    let keys: String = (0..64)
        .map(|n| format!("[image_signatures.k{n}]\nkey = \"x\"\n"))
        .chain(["[audit]".to_owned()])
        .collect();
    check("[audit]", &keys, "image_signatures", Problem::TooMany);
}

// C6: a policy that names a key that is not there would be one without a key.
#[test]
fn the_policys_keys_must_be_there() {
    let text = r#"
        version = 1
        [containers.web]
        image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        signature = "owner"
        encryption = "optional"
        argv = ["/bin/web"]
        cwd = "/"
        user = { uid = 0, gid = 0 }
        logs = "none"
        no_new_privileges = true
        seccomp = "default"
        signals = []
    "#;
    let config = GuestConfig::parse(FULL.as_bytes()).unwrap();
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert!(config.check_policy(&policy).is_ok());
    let unsigned = Policy::parse(text.replace("signature = \"owner\"", "").as_bytes()).unwrap();
    assert!(config.check_policy(&unsigned).is_ok());
    let other = Policy::parse(text.replace("\"owner\"", "\"other\"").as_bytes()).unwrap();
    let error = config.check_policy(&other).unwrap_err();
    assert!(error.to_string().starts_with("containers.web.signature: "), "{error}");
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
        ("[audit]", "[audit]\nurl = \"https://x\""),
        ("[image_signatures.owner]", "[image_signatures.owner]\nkind = \"x\""),
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
