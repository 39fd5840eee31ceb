// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::tdx::testing::text;

const UP_TO_DATE: &str = "tdx/dcap-qvl/tdx_quote_collateral.json";

fn member(json: &str, name: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap();
    value[name].as_str().unwrap().to_owned()
}

#[test]
fn reads_the_files_of_dcap_qvl() {
    for (name, fmspc, number) in [
        (UP_TO_DATE, "b0c06f000000", 17),
        ("tdx/dcap-qvl/tdx_quote_outdated_collateral.json", "90c06f000000", 18),
        ("tdx/dcap-qvl/near-quote_collateral.json", "20a06f000000", 17),
    ] {
        let file = text(name);
        let collateral =
            Collateral::from_json(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let info = &collateral.tcb_info.document;
        assert_eq!(hex::encode(info.fmspc), fmspc, "{name}");
        assert_eq!(info.evaluation_number, number, "{name}");
        assert_eq!(collateral.qe_identity.document.evaluation_number, number, "{name}");
        assert_eq!(collateral.tcb_info.text, member(&file, "tcb_info"), "{name}");
        assert_eq!(collateral.qe_identity.text, member(&file, "qe_identity"), "{name}");
        assert_eq!(collateral.tcb_info_chain.len(), 2, "{name}");
        assert_eq!(collateral.pck_crl_chain[0].common_name(), "Intel SGX PCK Platform CA");
        assert_eq!(collateral.pck_crl.issuer(), collateral.pck_crl_chain[0].subject());
    }
}

#[test]
fn reads_levels_and_identities() {
    let collateral = Collateral::from_json(&text(UP_TO_DATE)).unwrap();
    let info = &collateral.tcb_info.document;
    // 2025-06-19T10:16:03Z to a month later
    assert_eq!((info.issue_date, info.next_update), (1_750_328_163, 1_752_920_163));
    assert_eq!(info.pce_id, [0, 0]);
    assert_eq!((info.module.version, info.module.mr_signer), (0, [0; 48]));
    assert_eq!(info.module.attributes_mask, u64::MAX);
    let versions: Vec<u8> = info.modules.iter().map(|module| module.version).collect();
    assert_eq!(versions, [3, 1]);
    let levels: Vec<(u8, TcbStatus)> =
        info.modules[1].levels.iter().map(|l| (l.security_version, l.status)).collect();
    assert_eq!(levels, [(4, TcbStatus::UpToDate), (2, TcbStatus::OutOfDate)]);
    assert_eq!(info.levels.len(), 2);
    assert_eq!(info.levels[0].status, TcbStatus::UpToDate);
    assert_eq!(info.levels[0].pce_svn, 11);
    assert_eq!(info.levels[0].sgx[..8], [2, 2, 2, 2, 3, 1, 0, 5]);
    assert_eq!(info.levels[0].tdx[..3], [5, 0, 2]);
    assert_eq!(info.levels[1].status, TcbStatus::OutOfDate);
    assert_eq!(info.levels[1].advisories.len(), 14);
    let identity = &collateral.qe_identity.document;
    assert_eq!((identity.product_id, identity.misc_select_mask), (2, u32::MAX));
    assert_eq!(identity.attributes[0], 0x11);
    assert_eq!(identity.attributes_mask[0], 0xFB);
    assert_eq!(identity.levels[0].security_version, 4);
    assert_eq!(hex::encode(&identity.mr_signer[..4]), "dc9e2a7c");
}

#[test]
fn reads_the_services_answers_byte_for_byte() {
    let file = text(UP_TO_DATE);
    let collateral = Collateral::from_json(&file).unwrap();
    let (info, identity) = (member(&file, "tcb_info"), member(&file, "qe_identity"));
    let (chain, pck_chain) =
        (member(&file, "tcb_info_issuer_chain"), member(&file, "pck_crl_issuer_chain"));
    let tcb_info =
        format!("{{\"tcbInfo\":{info},\"signature\":\"{}\"}}", member(&file, "tcb_info_signature"));
    let qe_identity = format!(
        "{{ \"enclaveIdentity\":{identity}, \"signature\":\"{}\" }}\n",
        member(&file, "qe_identity_signature")
    );
    let pck_crl = hex::decode(member(&file, "pck_crl")).unwrap();
    let root_crl = hex::decode(member(&file, "root_ca_crl")).unwrap();
    let parts = Parts {
        tcb_info: &tcb_info,
        tcb_info_chain: chain.as_bytes(),
        qe_identity: &qe_identity,
        qe_identity_chain: chain.as_bytes(),
        pck_crl: &pck_crl,
        pck_crl_chain: pck_chain.as_bytes(),
        root_crl: &root_crl,
    };
    assert_eq!(Collateral::from_parts(&parts).unwrap(), collateral);
    // Spaces inside the signed object belong to it.
    let spaced = tcb_info.replacen("{\"id\"", "{ \"id\"", 1);
    let parts = Parts { tcb_info: &spaced, ..parts };
    let read = Collateral::from_parts(&parts).unwrap();
    assert_eq!(read.tcb_info.document, collateral.tcb_info.document);
    assert_eq!(read.tcb_info.text, info.replacen('{', "{ ", 1));
}

#[test]
fn reads_answers_of_several_years() {
    for name in [
        "tdx/go-tdx-guest/sample_tcbInfo_response",
        "tdx/go-tdx-guest/sample_tcbinfo_response_v5",
        "tdx/trustee/tcbInfo.json",
    ] {
        let answer = Signed::<TcbInfo>::from_answer(&text(name));
        let info = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!info.document.levels.is_empty(), "{name}");
    }
    for name in ["tdx/go-tdx-guest/sample_qeIdentity_response", "tdx/trustee/enclaveIdentity.json"]
    {
        let identity = Signed::<QeIdentity>::from_answer(&text(name)).unwrap();
        assert_eq!(identity.document.product_id, 2, "{name}");
    }
}

#[test]
fn what_is_for_enclaves_is_refused() {
    let sgx = Collateral::from_json(&text("tdx/dcap-qvl/sgx_quote_collateral.json"));
    assert!(sgx.is_err());
    let file = text(UP_TO_DATE);
    let info = member(&file, "tcb_info");
    assert!(matches!(
        TcbInfo::parse(&info.replacen("\"TDX\"", "\"SGX\"", 1)),
        Err(CollateralError::NotTdx { .. })
    ));
    assert!(matches!(
        TcbInfo::parse(&info.replacen("\"version\":3", "\"version\":4", 1)),
        Err(CollateralError::Version { version: 4, .. })
    ));
    let identity = member(&file, "qe_identity");
    assert!(matches!(
        QeIdentity::parse(&identity.replacen("TD_QE", "QE", 1)),
        Err(CollateralError::NotTdx { .. })
    ));
    assert!(matches!(
        QeIdentity::parse(&identity.replacen("\"version\":2", "\"version\":1", 1)),
        Err(CollateralError::Version { version: 1, .. })
    ));
}

#[test]
fn a_member_twice_is_refused_at_any_depth() {
    // D7
    let info = member(&text(UP_TO_DATE), "tcb_info");
    for (from, to) in [
        ("\"version\":3", "\"version\":3,\"version\":3"),
        ("\"version\":3", "\"new\":1,\"version\":3,\"new\":2"),
        ("\"version\":3", "\"new\":{\"a\":[{\"b\":1,\"b\":1}]},\"version\":3"),
        ("{\"svn\":2,", "{\"svn\":9,\"svn\":2,"),
        ("{\"svn\":2,", "{\"type\":\"x\",\"svn\":2,"),
        ("\"tcbStatus\"", "\"tcbStat\\u0075s\":\"UpToDate\",\"tcbStatus\""),
    ] {
        let bad = info.replacen(from, to, 1);
        assert_ne!(bad, info);
        assert!(matches!(TcbInfo::parse(&bad), Err(CollateralError::Json { .. })), "{to}");
    }
    let more = info.replacen("\"version\":3", "\"new\":{\"a\":[1,-1,1.5,null]},\"version\":3", 1);
    assert!(TcbInfo::parse(&more).is_ok(), "members of later versions are left alone");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(TcbInfo::parse(&deep).is_err());
    let file = text(UP_TO_DATE);
    let twice = file.replacen("\"tcb_info\":", "\"tcb_info\":\"\",\"tcb_info\":", 1);
    assert_ne!(twice, file);
    assert!(matches!(Collateral::from_json(&twice), Err(CollateralError::Json { .. })));
}

#[test]
fn members_are_read_strictly() {
    let info = member(&text(UP_TO_DATE), "tcb_info");
    for (from, to) in [
        ("B0C06F000000", "B0C06F0000"),
        ("B0C06F000000", "B0C06F00000G"),
        ("2025-06-19T10:16:03Z", "2025-06-19 10:16:03"),
        ("2025-07-19T10:16:03Z", "tomorrow"),
        ("\"TDX_03\"", "\"TDX_3\""),
        ("\"TDX_03\"", "\"XXX_03\""),
        ("\"TDX_03\"", "\"TDX_01\""),
        ("2024-03-13T00:00:00Z", "2024-13-13T00:00:00Z"),
    ] {
        let bad = info.replacen(from, to, 1);
        assert_ne!(bad, info);
        assert!(matches!(TcbInfo::parse(&bad), Err(CollateralError::Member { .. })), "{to}");
    }
    for (from, to) in [
        ("\"UpToDate\"", "\"Fine\""),
        ("\"UpToDate\"", "\"TdRelaunchAdvised\""),
        ("{\"svn\":0}]", "{\"svn\":0},{\"svn\":0}]"),
        ("{\"svn\":2,", "{\"svn\":256,"),
        ("\"fmspc\"", "\"fmspd\""),
    ] {
        let bad = info.replacen(from, to, 1);
        assert_ne!(bad, info);
        assert!(matches!(TcbInfo::parse(&bad), Err(CollateralError::Json { .. })), "{to}");
    }
    let file: Value = serde_json::from_str(&text(UP_TO_DATE)).unwrap();
    for (name, value) in [
        ("pck_crl", json!("00")),
        ("pck_crl", json!("0")),
        ("root_ca_crl", json!("xx")),
        ("tcb_info_signature", json!("00")),
        ("tcb_info_issuer_chain", json!("")),
        ("qe_identity_issuer_chain", json!("text")),
        ("more", json!(1)),
    ] {
        let mut bad = file.clone();
        bad[name] = value;
        assert!(Collateral::from_json(&bad.to_string()).is_err(), "{name}");
    }
    let large = " ".repeat(MAX_COLLATERAL_BYTES + 1);
    assert!(matches!(Collateral::from_json(&large), Err(CollateralError::TooLarge)));
}

#[test]
fn the_order_of_levels_is_theirs_not_the_texts() {
    let info = member(&text(UP_TO_DATE), "tcb_info");
    let mut value: Value = serde_json::from_str(&info).unwrap();
    value["tcbLevels"].as_array_mut().unwrap().reverse();
    for module in value["tdxModuleIdentities"].as_array_mut().unwrap() {
        module["tcbLevels"].as_array_mut().unwrap().reverse();
    }
    let reversed = TcbInfo::parse(&value.to_string()).unwrap();
    assert_eq!(reversed.levels, TcbInfo::parse(&info).unwrap().levels);
    assert_eq!(reversed.modules, TcbInfo::parse(&info).unwrap().modules);
}

#[test]
fn every_truncation_and_change_is_an_error_or_another_document() {
    let info = member(&text(UP_TO_DATE), "tcb_info");
    let good = TcbInfo::parse(&info).unwrap();
    for end in 0..info.len() {
        assert!(TcbInfo::parse(&info[..end]).is_err(), "{end}");
    }
    let mut ignored = 0;
    for at in 0..info.len() {
        let mut bad = info.clone().into_bytes();
        bad[at] ^= 0x01;
        let Ok(bad) = String::from_utf8(bad) else { continue };
        ignored += usize::from(TcbInfo::parse(&bad).is_ok_and(|read| read == good));
    }
    // Only the words for people inside a level, and the case of digits, may change unseen.
    assert!(ignored < info.len() / 3, "{ignored} of {}", info.len());
}

#[test]
fn statuses_have_intels_names() {
    for status in TcbStatus::ALL {
        assert_eq!(status.to_string().parse(), Ok(status));
    }
    assert!("Uptodate".parse::<TcbStatus>().is_err());
}

proptest! {
    #[test]
    fn documents_say_what_was_written(
        fmspc: [u8; 6],
        pce_id: [u8; 2],
        number: u32,
        parts: [u8; 16],
        pce_svn: u16,
    ) {
        let known: Value = serde_json::from_str(&member(&text(UP_TO_DATE), "tcb_info")).unwrap();
        let mut changed = known;
        changed["fmspc"] = hex::encode_upper(fmspc).into();
        changed["pceId"] = hex::encode(pce_id).into();
        changed["tcbEvaluationDataNumber"] = number.into();
        let level = &mut changed["tcbLevels"][0]["tcb"];
        level["pcesvn"] = pce_svn.into();
        for (index, part) in parts.iter().enumerate() {
            level["sgxtcbcomponents"][index]["svn"] = (*part).into();
        }
        let read = TcbInfo::parse(&changed.to_string()).unwrap();
        prop_assert_eq!((read.fmspc, read.pce_id, read.evaluation_number), (fmspc, pce_id, number));
        prop_assert!(read.levels.iter().any(|l| l.sgx == parts && l.pce_svn == pce_svn));
        prop_assert!(read.levels.is_sorted_by_key(|l| std::cmp::Reverse((l.sgx, l.pce_svn, l.tdx))));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        prop_assert!(Collateral::from_json(&text).is_err());
        prop_assert!(TcbInfo::parse(&text).is_err());
        prop_assert!(QeIdentity::parse(&text).is_err());
    }
}
