// SPDX-License-Identifier: Apache-2.0

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::snp::TcbVersion;
use proptest::prelude::*;

use super::*;
use crate::Requirements;

const BASE: &str = "[snp]\nwhere = \"any-genuine-chip\"\nhost-data = \"initdata\"\nmeasurement = { reference = \"r\" }\n";

fn with(rules: &str) -> String {
    format!("{BASE}{rules}")
}

/// A Genoa report of version 3, signed by a VCEK, or by a VLEK.
fn evidence(vlek: bool) -> Evidence {
    let mut bytes = [0; 1184];
    bytes[0] = 3;
    bytes[0x0A] = 3; // policy: bits 16 and 17
    bytes[0x34] = 1;
    bytes[0x48] = if vlek { 0x04 } else { 0 };
    bytes[0x188] = 0x19;
    bytes[0x189] = 0x11;
    Evidence { report: Report::parse(&bytes).unwrap(), certificates: Vec::new() }
}

fn compile_at(text: &str, evidence: &Evidence, now: u64) -> Requirements {
    let references = BTreeMap::from([("r".to_owned(), BTreeSet::from([Measurement([1; 48])]))]);
    Policy::parse(text).unwrap().snp(evidence, &references, now).unwrap()
}

fn compile(text: &str) -> Requirements {
    compile_at(text, &evidence(false), 0)
}

#[test]
fn the_least_policy_demands_the_defaults_and_its_measurements() {
    let expected = Requirements {
        measurements: Some(BTreeSet::from([Measurement([1; 48])])),
        ..Requirements::default()
    };
    assert_eq!(compile(BASE), expected);
    assert!(Policy::parse(BASE).unwrap().snp.unwrap().needs_initdata());
}

#[test]
fn every_rule_reaches_the_requirements() {
    let found = compile(&with(&format!(
        r#"
        allow-products = ["milan"]
        deny-products = ["turin"]
        deny-chips = ["{chip}"]
        allow-masked-chip = true
        require-crl = true
        vmpl = [0, 1]
        guest-svn = ">= 3"
        abi = ">= 1.55"
        forbid-provisional = true
        [snp.guest]
        forbid-smt = true
        require-single-socket = true
        forbid-cxl = true
        require-aes-256-xts = true
        require-rapl-disabled = true
        require-ciphertext-hiding = true
        require-page-swap-disabled = true
        [snp.platform]
        require-alias-check = false
        require-ciphertext-hiding = true
        forbid-smt = true
        require-rapl-disabled = true
        require-tsme = true
        require-ecc = true
        accept-bits = 0x40
        launch-mitigations = 1
        current-mitigations = 3
        [snp.id-block]
        family-id = "{id}"
        image-id = ["{id}"]
        id-key = "{key}"
        author-key = ["{key}", "{other}"]
        [snp.tcb.genoa]
        floor = {{ bootloader = ">= 10", tee = ">=1", snp = ">= 23", microcode = ">= 84" }}
        launch-floor = {{ snp = ">= 20" }}
        "#,
        chip = "0c".repeat(64),
        id = "0d".repeat(16),
        key = "0e".repeat(48),
        other = "0f".repeat(48),
    )));
    let expected = Requirements {
        measurements: Some(BTreeSet::from([Measurement([1; 48])])),
        host_data: None,
        allow_products: BTreeSet::from([Product::Milan]),
        deny_products: BTreeSet::from([Product::Turin]),
        chips: None,
        deny_chips: BTreeSet::from([[0x0C; 64]]),
        allow_masked_chip: true,
        vlek_providers: BTreeSet::new(),
        require_crl: true,
        vmpls: BTreeSet::from([0, 1]),
        guest: crate::GuestRequirements {
            forbid_smt: true,
            require_single_socket: true,
            forbid_cxl: true,
            require_aes_256_xts: true,
            require_rapl_disabled: true,
            require_ciphertext_hiding: true,
            require_page_swap_disabled: true,
            min_abi: Some((1, 55)),
            min_svn: Some(3),
        },
        platform: crate::PlatformRequirements {
            require_alias_check: false,
            require_ciphertext_hiding: true,
            forbid_smt: true,
            require_rapl_disabled: true,
            require_tsme: true,
            require_ecc: true,
            accept_bits: 0x40,
            launch_mitigations: Some(1),
            current_mitigations: Some(3),
        },
        tcb: crate::TcbRequirements {
            other_products_only: false,
            floor: Some(TcbVersion { fmc: None, bootloader: 10, tee: 1, snp: 23, microcode: 84 }),
            launch_floor: Some(TcbVersion { snp: 20, ..TcbVersion::default() }),
            forbid_provisional: true,
        },
        id_block: crate::IdBlockRequirements {
            family_ids: Some(BTreeSet::from([[0x0D; 16]])),
            image_ids: Some(BTreeSet::from([[0x0D; 16]])),
            id_keys: Some(BTreeSet::from([[0x0E; 48]])),
            author_keys: Some(BTreeSet::from([[0x0E; 48], [0x0F; 48]])),
        },
    };
    assert_eq!(found, expected);
}

#[test]
fn where_is_needed_and_compared_by_what_signed() {
    let place = |place: &str| {
        format!("[snp]\n{place}\nhost-data = \"initdata\"\nmeasurement = {{ reference = \"r\" }}\n")
    };
    assert!(matches!(Policy::parse(&place("")), Err(PolicyError::Toml { .. })));
    for bad in [
        "where = \"anywhere\"",
        "where = 1",
        "where = { chips = [\"ab\"] }",
        "where = { chip = [] }",
    ] {
        assert!(matches!(Policy::parse(&place(bad)), Err(PolicyError::Toml { .. })), "{bad}");
    }
    let chip = "0c".repeat(64);
    let both = format!("where = {{ chips = [\"{chip}\"], any-genuine-chip = true }}");
    assert!(matches!(Policy::parse(&place(&both)), Err(PolicyError::Toml { .. })));
    for nowhere in ["where = {}", "where = { chips = [] }", "where = { providers = [] }"] {
        let found = Policy::parse(&place(nowhere));
        let finding = Finding::Where { table: "snp" };
        assert!(
            matches!(found, Err(PolicyError::Lint { finding: f }) if f == finding),
            "{nowhere}"
        );
    }
    let listed = place(&format!("where = {{ chips = [\"{chip}\"], providers = [\"P\"] }}"));
    let (vcek, vlek) = (evidence(false), evidence(true));
    let requirements = compile_at(&listed, &vcek, 0);
    assert_eq!(requirements.chips, Some(BTreeSet::from([[0x0C; 64]])));
    let requirements = compile_at(&listed, &vlek, 0);
    assert_eq!(requirements.chips, None);
    assert_eq!(requirements.vlek_providers, BTreeSet::from(["P".to_owned()]));
    // A provider alone admits no chip's own key, and any genuine chip no leased key.
    let provider = place("where = { providers = [\"P\"] }");
    assert_eq!(compile_at(&provider, &vcek, 0).chips, Some(BTreeSet::new()));
    assert!(compile_at(BASE, &vlek, 0).vlek_providers.is_empty());
    let either = place("where = { any-genuine-chip = true, providers = [\"P\"] }");
    assert_eq!(compile_at(&either, &vcek, 0).chips, None);
    assert_eq!(compile_at(&either, &vlek, 0).vlek_providers.len(), 1);
}

#[test]
fn floors_are_those_of_the_product_line_and_of_the_time() {
    // D3, D18
    let text = with(
        r#"
        [snp.tcb.genoa]
        floor = { snp = ">= 26" }
        grace = { until = 2026-03-01T00:00:00Z, floor = { snp = ">= 23" } }
        [snp.tcb.turin]
        floor = { fmc = ">= 1" }
        "#,
    );
    let genoa = evidence(false);
    let until = 1_772_323_200;
    let snp = |now| compile_at(&text, &genoa, now).tcb.floor.unwrap().snp;
    assert_eq!((snp(0), snp(until - 1), snp(until), snp(u64::MAX)), (23, 23, 26, 26));
    // A product line that the owner did not think of has no version that is good enough.
    let only_turin = with("[snp.tcb.turin]\nfloor = { fmc = \">= 1\" }\n");
    assert!(compile_at(&only_turin, &genoa, 0).tcb.other_products_only);
    assert!(!compile_at(&text, &genoa, 0).tcb.other_products_only);
    // The certificate names the line where the report is too old to.
    let mut old = [0; 1184];
    old[0] = 2;
    old[0x0A] = 3;
    old[0x34] = 1;
    let mut old = Evidence { report: Report::parse(&old).unwrap(), certificates: Vec::new() };
    assert!(compile_at(&text, &old, until).tcb.other_products_only);
    let garbage = TableEntry { kind: CertificateKind::Vcek, data: vec![0x30, 0] };
    old.certificates.push(garbage);
    assert!(compile_at(&text, &old, until).tcb.other_products_only);
    assert_eq!(compile(BASE).tcb, crate::TcbRequirements::default());
}

#[test]
fn a_policy_that_names_nobody_is_refused() {
    let parse =
        |rules: &str| match Policy::parse(&format!("[snp]\nwhere = \"any-genuine-chip\"\n{rules}"))
        {
            Err(PolicyError::Lint { finding }) => Some(finding),
            other => {
                assert!(other.is_ok(), "{other:?}");
                None
            }
        };
    let measurement = format!("measurement = \"{}\"\n", "01".repeat(48));
    let host_data = format!("host-data = [\"{}\"]\n", "02".repeat(32));
    assert_eq!(parse(&format!("{measurement}{host_data}")), None);
    assert_eq!(parse(&host_data), Some(Finding::Measurement { table: "snp", rule: "measurement" }));
    assert_eq!(parse(&measurement), Some(Finding::Initdata { table: "snp", rule: "host-data" }));
    let empty = |rule| Some(Finding::EmptySet { table: "snp", rule });
    assert_eq!(parse(&format!("measurement = []\n{host_data}")), empty("measurement"));
    assert_eq!(parse(&format!("{measurement}host-data = []\n")), empty("host-data"));
    for text in ["", "# nothing\n"] {
        let found = Policy::parse(text);
        assert!(matches!(found, Err(PolicyError::Lint { finding: Finding::Empty })), "{text}");
    }
    for finding in lint(&Policy { snp: None, tdx: None, az_vtpm: None, reference_values: None }) {
        assert!(finding.to_string().len() > 20);
    }
}

#[test]
fn what_is_not_understood_is_an_error_and_no_missing_rule() {
    for bad in [
        "requires-crl = true",
        "require-crl = \"yes\"",
        "require-crl = true\nrequire-crl = false",
        "guest-svn = 3",
        "guest-svn = \"> 3\"",
        "guest-svn = \">= -1\"",
        "guest-svn = \">= 4294967296\"",
        "abi = \">= 1\"",
        "abi = \">= 1.256\"",
        "vmpl = [0, 0]",
        "vmpl = \"0\"",
        "allow-products = [\"Milan\"]",
        "allow-products = [\"rome\"]",
        "deny-chips = [\"ab\"]",
        "[snp.tcb.genoa]\nfloor = { ucode = \">= 1\" }",
        "[snp.tcb.genoa]\nfloor = { snp = 23 }",
        "[snp.tcb.genoa]\nfloor = { snp = \">= 256\" }",
        "[snp.tcb.genoa]\ngrace = { floor = { snp = \">= 1\" } }",
        "[snp.tcb.genoa]\ngrace = { until = 2026-03-01, floor = { snp = \">= 1\" } }",
        "[snp.tcb.rome]\nfloor = { snp = \">= 1\" }",
        "[snp.guest]\nforbid_smt = true",
        "[snp.platform]\nrequire-alias = true",
        "[sev]\n",
        "[reference-values]\nbundle = \"b\"\n",
    ] {
        let found = Policy::parse(&with(bad));
        assert!(matches!(found, Err(PolicyError::Toml { .. })), "{bad}");
    }
    let huge = format!("{BASE}#{}", " ".repeat(MAX_POLICY_BYTES));
    assert!(matches!(Policy::parse(&huge), Err(PolicyError::TooLarge)));
}

#[test]
fn what_is_not_there_is_an_error_and_not_an_empty_set() {
    let policy = Policy::parse(BASE).unwrap();
    let missing = policy.snp(&evidence(false), &BTreeMap::new(), 0);
    assert!(matches!(missing, Err(PolicyError::NoReference { name }) if name == "r"));
    let none = Policy { snp: None, tdx: None, az_vtpm: None, reference_values: None };
    let refused = none.snp(&evidence(false), &BTreeMap::new(), 0);
    assert!(matches!(refused, Err(PolicyError::NoTable { tee: "snp" })));
}

#[test]
fn a_list_is_not_taken_for_a_table() {
    let place = "where = \"any-genuine-chip\"\nhost-data = \"initdata\"\n";
    let one = format!("[snp]\n{place}measurement = [\"{}\"]\n", "01".repeat(48));
    let policy = Policy::parse(&one).unwrap();
    let listed = Values::Listed(BTreeSet::from([Measurement([1; 48])]));
    assert_eq!(policy.snp.unwrap().measurement, Some(listed));
    for bad in [
        format!("[snp]\n{place}measurement = [\"r\"]\n"),
        BASE.replace("\"any-genuine-chip\"", "[[], true, []]"),
        TDX.replace("\"any-genuine-chip\"", "[[]]"),
    ] {
        assert!(matches!(Policy::parse(&bad), Err(PolicyError::Toml { .. })), "{bad}");
    }
}

#[test]
fn thresholds_can_be_met_and_are_not_met_by_nobody() {
    let source = |keys: &str, signatures: &str, threshold: usize| {
        Policy::parse(&with(&format!(
            "[reference-values]\nbundle = \"b\"\nkeys = {keys}\nsignatures = {signatures}\nthreshold = {threshold}\n"
        )))
    };
    assert!(source("[\"k\", \"l\"]", "[\"s\", \"t\"]", 2).is_ok());
    for (keys, signatures, threshold) in [
        ("[\"k\"]", "[\"s\"]", 0),
        ("[\"k\"]", "[\"s\", \"t\"]", 2),
        ("[\"k\", \"l\"]", "[\"s\"]", 2),
        ("[]", "[]", 0),
    ] {
        let found = source(keys, signatures, threshold);
        assert!(matches!(found, Err(PolicyError::Lint { finding: Finding::Threshold })));
    }
}

const TDX: &str = "[tdx]\nwhere = \"any-genuine-chip\"\nmr-config-id = \"initdata\"\nmrtd = { reference = \"r\" }\n";

fn tdx(rules: &str) -> crate::tdx::Requirements {
    let references = BTreeMap::from([("r".to_owned(), BTreeSet::from([Measurement([1; 48])]))]);
    Policy::parse(&format!("{TDX}{rules}")).unwrap().tdx(&references).unwrap()
}

#[test]
fn the_least_policy_on_tds_demands_the_defaults_and_its_mrtd() {
    let expected = crate::tdx::Requirements {
        measurements: Some(BTreeSet::from([Measurement([1; 48])])),
        ..crate::tdx::Requirements::default()
    };
    assert_eq!(tdx(""), expected);
    assert!(Policy::parse(TDX).unwrap().tdx.unwrap().needs_initdata());
    let refused = Policy::parse(BASE).unwrap().tdx(&BTreeMap::new());
    assert!(matches!(refused, Err(PolicyError::NoTable { tee: "tdx" })));
}

#[test]
fn every_rule_on_tds_reaches_the_requirements() {
    use casemate_evidence::collateral::TcbStatus;
    use casemate_evidence::tdx::TdAttributes;

    let value = |byte: &str| byte.repeat(48);
    let text = format!(
        r#"
        [tdx]
        where = {{ platforms = ["{platform}"] }}
        mrtd = "{a}"
        mr-config-id = ["{b}", "{c}"]
        rtmr0 = "{a}"
        rtmr1 = ["{b}"]
        rtmr2 = {{ reference = "r" }}
        rtmr3 = ["{c}", "{a}"]
        require-event-log = true
        runtime-events = ["one", "two"]
        last-event = "two"
        tcb-status = ["UpToDate", "SWHardeningNeeded"]
        grace = {{ until = "2026-03-01T00:00:00Z", tcb-status = "OutOfDate" }}
        refuse-advisories = ["INTEL-SA-00837"]
        tcb-evaluation-number = ">= 18"
        mrseam = "{a}"
        require-sept-ve-disable = false
        allow-perfmon = true
        allow-migration = true
        allow-attributes = "0x10"
        allow-xfam = "0xe7"
        mr-owner = "{a}"
        mr-owner-config = "{b}"
        service-td = "{c}"
        "#,
        platform = "0d".repeat(16),
        a = value("0a"),
        b = value("0b"),
        c = value("0c"),
    );
    let [a, b, c] = [[0x0A; 48], [0x0B; 48], [0x0C; 48]];
    let set = |values: &[[u8; 48]]| Some(values.iter().copied().map(Measurement).collect());
    let references = BTreeMap::from([("r".to_owned(), BTreeSet::from([Measurement([1; 48])]))]);
    let found = Policy::parse(&text).unwrap().tdx(&references).unwrap();
    let expected = crate::tdx::Requirements {
        measurements: set(&[a]),
        mr_config_ids: Some(BTreeSet::from([b, c])),
        rtmrs: [set(&[a]), set(&[b]), set(&[[1; 48]]), set(&[a, c])],
        require_event_log: true,
        runtime_events: Some(BTreeSet::from(["one".to_owned(), "two".to_owned()])),
        last_event: Some("two".to_owned()),
        statuses: BTreeSet::from([TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded]),
        grace: Some(crate::tdx::Grace {
            statuses: BTreeSet::from([TcbStatus::OutOfDate]),
            until: 1_772_323_199,
        }),
        refused_advisories: BTreeSet::from(["INTEL-SA-00837".to_owned()]),
        min_evaluation_number: Some(18),
        platforms: Some(BTreeSet::from([[0x0D; 16]])),
        modules: set(&[a]),
        require_sept_ve_disable: false,
        allow_perfmon: true,
        allow_migration: true,
        allowed_attributes: TdAttributes(0x10),
        allowed_xfam: 0xE7,
        mr_owner: Some(a),
        mr_owner_config: Some(b),
        service_td: Some(c),
    };
    assert_eq!(found, expected);
}

#[test]
fn policies_on_tds_are_as_strict() {
    for bad in [
        "tcb-status = [\"Revoked\"]",
        "tcb-status = \"uptodate\"",
        "allow-xfam = 231",
        "allow-xfam = \"0x10000000000000000\"",
        "rtmr4 = []",
        "mrtd = []",
    ] {
        let found = Policy::parse(&format!("{TDX}{bad}"));
        assert!(matches!(found, Err(PolicyError::Toml { .. })), "{bad}");
    }
    let lacks = |text: &str| match Policy::parse(text) {
        Err(PolicyError::Lint { finding }) => finding,
        other => panic!("{other:?}"),
    };
    let mrtd = format!("mrtd = \"{}\"\n", "01".repeat(48));
    let any = "[tdx]\nwhere = \"any-genuine-chip\"\n";
    assert_eq!(
        lacks(&format!("{any}mr-config-id = \"initdata\"\n")),
        Finding::Measurement { table: "tdx", rule: "mrtd" }
    );
    assert_eq!(
        lacks(&format!("{any}{mrtd}")),
        Finding::Initdata { table: "tdx", rule: "mr-config-id" }
    );
    let nowhere =
        format!("[tdx]\nwhere = {{ platforms = [] }}\nmr-config-id = \"initdata\"\n{mrtd}");
    assert_eq!(lacks(&nowhere), Finding::Where { table: "tdx" });
}

#[test]
fn registers_of_a_tpm_are_read_and_hold_the_whole_system() {
    let registers = |rules: &str| Policy::parse(&format!("{BASE}[az-vtpm.pcr]\n{rules}"));
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let good = registers(&format!("4 = \"{one}\"\n11 = [\"{one}\", \"{two}\"]\n")).unwrap();
    let expected =
        BTreeMap::from([(4, BTreeSet::from([[1; 32]])), (11, BTreeSet::from([[1; 32], [2; 32]]))]);
    assert_eq!(good.az_vtpm().pcrs, expected);
    assert!(Policy::parse(BASE).unwrap().az_vtpm().pcrs.is_empty());
    assert!(registers(&format!("4 = \"{one}\"\n9 = \"{two}\"\n")).is_ok());
    // Any program that 4 does not name can put any value into the others.
    let incomplete = |found: Result<Policy, PolicyError>| {
        matches!(
            found,
            Err(PolicyError::Lint { finding: Finding::Measurement { table: "az-vtpm", .. } })
        )
    };
    let zero = "00".repeat(32);
    for rules in [
        String::new(),
        format!("4 = \"{one}\"\n"),
        format!("11 = \"{one}\"\n"),
        // Nothing was measured into it.
        format!("4 = \"{one}\"\n11 = \"{zero}\"\n"),
        format!("4 = [\"{one}\", \"{zero}\"]\n11 = \"{one}\"\n"),
    ] {
        assert!(incomplete(registers(&rules)), "{rules}");
    }
    let empty = registers(&format!("4 = []\n11 = \"{one}\"\n"));
    let finding = Finding::EmptySet { table: "az-vtpm", rule: "pcr" };
    assert!(matches!(empty, Err(PolicyError::Lint { finding: f }) if f == finding));
    for bad in ["24", "04", "x", "-1"] {
        let found = registers(&format!("{bad} = \"{one}\"\n4 = \"{one}\"\n11 = \"{one}\"\n"));
        assert!(matches!(found, Err(PolicyError::Toml { .. })), "{bad}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_short_line() {
    let message = |rules: &str| Policy::parse(&with(rules)).unwrap_err().to_string();
    for (rules, words) in [
        ("requires-crl = true", "unknown field `requires-crl`"),
        ("id-block = 3", "id-block"),
        ("vmpl = \"0\"", "expected a value of this rule's form"),
        ("abi = \">= 1\"", "is not of the form \">= N\""),
    ] {
        let message = message(rules);
        let line = with(rules).lines().position(|line| line == rules).unwrap() + 1;
        assert!(message.contains(&format!("in line {line}: ")), "{message}");
        assert!(message.contains(words) || words == "id-block", "{message}");
        assert!(message.len() < 220 && !message.contains('\n'), "{message}");
    }
    let measurement = Policy::parse(&BASE.replace("{ reference = \"r\" }", "\"ab\"")).unwrap_err();
    assert!(measurement.to_string().contains("96 hexadecimal digits"), "{measurement}");
    let place = Policy::parse(&BASE.replace("any-genuine-chip", "anywhere")).unwrap_err();
    assert!(place.to_string().contains("any-genuine-chip"), "{place}");
}

#[test]
fn a_changed_or_missing_byte_is_an_error_or_a_policy_that_names_somebody() {
    let text = with(
        "guest-svn = \">= 3\"\nvmpl = [0, 1]\n[snp.tcb.genoa]\nfloor = { snp = \">= 9\" }\n\
         [snp.tcb.genoa.grace]\nuntil = 2027-01-01T00:00:00Z\n[tdx]\nmrtd = { reference = \"r\" }\n\
         where = \"any-genuine-chip\"\nmr-config-id = \"initdata\"\n",
    );
    assert!(Policy::parse(&text).is_ok());
    for at in 0..text.len() {
        for bit in [0x01, 0x20] {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= bit;
            let Ok(bad) = String::from_utf8(bad) else { continue };
            if let Ok(policy) = Policy::parse(&bad) {
                assert_eq!(lint(&policy), [], "{at}");
            }
        }
        if let Ok(policy) = Policy::parse(&text[..at]) {
            assert_eq!(lint(&policy), []);
        }
    }
}

proptest! {
    #[test]
    fn rules_are_read_as_they_are_written(
        chips in proptest::collection::btree_set(any::<[u8; 32]>(), 1..4),
        svn: u32,
        levels in proptest::collection::btree_set(0..4_u32, 1..4),
        floor: [u8; 4],
        fmc: u8,
        is_list: bool,
    ) {
        let chips: BTreeSet<[u8; 64]> =
            chips.iter().map(|half| [*half, *half].concat().try_into().unwrap()).collect();
        let digits: Vec<String> = chips.iter().map(|id| format!("{:?}", hex::encode(id))).collect();
        let one = *levels.first().unwrap();
        let levels = if is_list { levels } else { BTreeSet::from([one]) };
        let vmpl = if is_list { format!("{levels:?}").replace(['{', '}'], "") } else { one.to_string() };
        let vmpl = if is_list { format!("[{vmpl}]") } else { vmpl };
        let [bootloader, tee, snp, microcode] = floor;
        let text = with(&format!(
            "vmpl = {vmpl}\nguest-svn = \">= {svn}\"\n[snp.tcb.genoa]\nfloor = {{ bootloader = \">={bootloader}\", \
             tee = \">= {tee}\", snp = \">=  {snp}\", microcode = \">= {microcode}\" }}\n\
             [snp.tcb.turin]\nfloor = {{ fmc = \">= {fmc}\" }}\n"
        ))
        .replace("\"any-genuine-chip\"", &format!("{{ chips = [{}] }}", digits.join(", ")));
        let demands = compile(&text);
        prop_assert_eq!(demands.chips, Some(chips));
        prop_assert_eq!(demands.vmpls, levels);
        prop_assert_eq!(demands.guest.min_svn, Some(svn));
        let expected = TcbVersion { fmc: None, bootloader, tee, snp, microcode };
        prop_assert_eq!(demands.tcb.floor, Some(expected));
    }

    #[test]
    fn any_text_is_refused(text in ".{0,200}") {
        prop_assert!(Policy::parse(&text).is_err());
        if let Ok(policy) = Policy::parse(&with(&text)) {
            prop_assert_eq!(lint(&policy), []);
        }
    }
}
