// SPDX-License-Identifier: Apache-2.0
//! Evidence of guests behind a vTPM.

use super::*;

/// Values of registers of a vTPM as evidence has them, for `--pcr`.
fn registers(file: &str, indices: &[usize]) -> Vec<String> {
    let evidence: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let value = |index: &usize| evidence["tpm_quote"]["pcrs"][index].as_str().unwrap().to_owned();
    indices.iter().map(|index| format!("{index}={}", value(index))).collect()
}

#[test]
fn behind_a_vtpm_the_customers_system_is_compared_or_the_verdict_is_unbound() {
    let file = vector("az-snp-vtpm/evidence-v2.json");
    let evidence: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let message = hex::decode(evidence["tpm_quote"]["message"].as_str().unwrap()).unwrap();
    // TPMS_ATTEST: magic, type, size and name of the signer, size and nonce.
    let size = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let nonce = 8 + size(6);
    let nonce = hex::encode(&message[nonce + 2..nonce + 2 + size(nonce)]);
    let base = ["evidence", "--tee", "az-snp-vtpm", "--file", &file, "--allow-product", "milan"];
    let (_, object) = json(&[&base[..], &["--at", AT]].concat());
    let measurement = object["claims"]["guest.measurement"]["value"].as_str().unwrap().to_owned();
    let bound = ["--report-data", &nonce, "--measurement", &measurement, "--at", AT];
    let judge = |pcrs: &[String], more: &[&str]| {
        let pcrs = pcrs.iter().flat_map(|pcr| ["--pcr", pcr.as_str()]);
        json(&[&base[..], &bound, &pcrs.collect::<Vec<_>>(), more].concat())
    };
    let (exit, object) = judge(&[], &[]);
    assert_eq!((exit, &object["verdict"]), (UNBOUND, &"unbound".into()), "{object:#}");
    let warning = object["warnings"].to_string();
    assert!(warning.contains("--pcr 4=HEX"), "{warning}");
    // Register 11 of this guest is zero: nothing was measured into it.
    for indices in [&[4][..], &[9], &[4, 11]] {
        assert_eq!(judge(&registers(&file, indices), &[]).0, UNBOUND, "{indices:?}");
    }
    let system = registers(&file, &[4, 9]);
    let (exit, object) = judge(&system, &[]);
    assert_eq!(exit, AFFIRMING, "{object:#}");
    let other = format!("4={}", "77".repeat(32));
    assert_eq!(judge(&[&system[..], std::slice::from_ref(&other)].concat(), &[]).0, AFFIRMING);
    let (exit, object) = judge(&[other, system[1].clone()], &[]);
    assert_eq!((exit, codes(&object)), (REFUSED, set(&["pcr"])));

    // With a policy: its registers, narrowed by options; HOST_DATA is what register 8 holds.
    let dir = tempfile::tempdir().unwrap();
    let policy = |host_data: &str, tpm: &str| {
        let text = format!(
            "[snp]\nwhere = \"any-genuine-chip\"\nmeasurement = \"{measurement}\"\n\
             host-data = {host_data}\nallow-products = [\"milan\"]\n{tpm}"
        );
        let path = dir.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let lines = system.iter().map(|pcr| {
        let (index, value) = pcr.split_once('=').unwrap();
        format!("{index} = [\"{value}\", \"{}\"]\n", "77".repeat(32))
    });
    let tpm = format!("[az-vtpm.pcr]\n{}", lines.collect::<String>());
    let digest = format!("[\"{}\"]", "09".repeat(32));
    let (exit, object) = judge(&[], &["--policy", &policy(&digest, &tpm)]);
    assert_eq!((exit, codes(&object)), (REFUSED, set(&["host-data"])), "{object:#}");
    // SHA-256 of 32 zeros and the digest.
    let extended = "20a7d6f6e88f212bd7a6d6098a6dcc93b83def3ea1f696fd81e72bae0edcc3cd";
    assert_eq!(object["claims"]["tpm.init-data"]["reference"], extended);
    assert_eq!(object["claims"]["guest.host-data"]["outcome"], "not checked");
    assert_eq!(object["claims"]["tpm.pcr"]["outcome"], "ok");
    let zero = vec![format!("4={}", "00".repeat(32))];
    let (_, object) = judge(&zero, &["--policy", &policy(&digest, &tpm)]);
    assert_eq!(codes(&object), set(&["host-data", "pcr"]));
    let without =
        unusable(&[&base[..], &["--policy", &policy("\"initdata\"", &tpm), "--at", AT]].concat());
    assert!(without.contains("give --host-data"), "{without}");
    // An option that would not be looked at is refused.
    let snp = vector("snp/trustee/e2e-evidence.json");
    let wrong = unusable(&["evidence", "--tee", "snp", "--file", &snp, "--pcr", &zero[0]]);
    assert!(wrong.starts_with("input: --pcr is not for this kind"), "{wrong}");
    let td = vector("az-tdx-vtpm/evidence-v1.json");
    let args = ["evidence", "--tee", "az-tdx-vtpm", "--file", &td, "--mr-config-id", "01"];
    assert!(unusable(&args).starts_with("input: --mr-config-id is not for this kind"));
}

#[test]
fn a_log_beside_evidence_that_holds_one_is_a_wrong_call() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (quote, log) = (vector("tdx/dcap-qvl/tdx_quote"), vector("tdx/cc-api/ccel_data.bin"));
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, log: Option<&[u8]>| {
        let quote = STANDARD.encode(fs::read(&quote).unwrap());
        let log = log.map(|log| STANDARD.encode(log));
        let path = dir.path().join(name);
        let text = serde_json::json!({ "quote": quote, "cc_eventlog": log }).to_string();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let own = fs::read(&log).unwrap();
    let (with, without) = (write("with.json", Some(&own)), write("without.json", None));
    let args = |file: &str| {
        ["evidence", "--tee", "tdx", "--file", file, "--event-log", &log].map(str::to_owned)
    };
    let line = unusable(&args(&with).each_ref().map(String::as_str));
    assert!(line.starts_with("usage: --event-log"), "{line}");
    let (exit, object) = json(&args(&without).each_ref().map(String::as_str));
    assert_eq!(exit, REFUSED);
    assert!(object["claims"].get("event-log.rtmr0").is_some(), "{object:#}");
}
