// SPDX-License-Identifier: Apache-2.0
//! Each rule for SNP evidence: kept, broken alone, and left unchecked when nothing is demanded.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;

use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::TcbVersion;
use casemate_tee_sim::authority;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::CHIP;
use casemate_tee_sim::authority::Names;
use casemate_verifier::Code;
use casemate_verifier::Expected;
use casemate_verifier::Measurement;
use casemate_verifier::Outcome;
use casemate_verifier::Requirements;
use casemate_verifier::Root;
use casemate_verifier::Verdict;
use casemate_verifier::verify;

const NOW: u64 = 1_780_272_000;
const DATA: [u8; 64] = [0xDA; 64];
const MEASUREMENT: [u8; 48] = [0x3E; 48];
const HOST_DATA: [u8; 32] = [0x40; 32];

/// A rule that is applied when it is demanded.
struct Case {
    claim: &'static str,
    code: Code,
    demand: fn(&mut Requirements),
    keep: fn(&mut [u8]),
    breach: fn(&mut [u8]),
}

const GENOA: TcbVersion = TcbVersion { fmc: None, bootloader: 10, tee: 0, snp: 25, microcode: 84 };

const CASES: &[Case] = &[
    Case {
        claim: "guest.smt",
        code: Code::Smt,
        demand: |r| r.guest.forbid_smt = true,
        keep: |b| b[0x0A] &= !1,
        breach: |b| b[0x0A] |= 1,
    },
    Case {
        claim: "guest.single-socket",
        code: Code::SingleSocket,
        demand: |r| r.guest.require_single_socket = true,
        keep: |b| b[0x0A] |= 1 << 4,
        breach: |b| b[0x0A] &= !(1 << 4),
    },
    Case {
        claim: "guest.cxl",
        code: Code::GuestPolicy,
        demand: |r| r.guest.forbid_cxl = true,
        keep: |_| {},
        breach: |b| b[0x0A] |= 1 << 5,
    },
    Case {
        claim: "guest.aes-256-xts",
        code: Code::GuestPolicy,
        demand: |r| r.guest.require_aes_256_xts = true,
        keep: |b| b[0x0A] |= 1 << 6,
        breach: |_| {},
    },
    Case {
        claim: "guest.rapl",
        code: Code::GuestPolicy,
        demand: |r| r.guest.require_rapl_disabled = true,
        keep: |b| b[0x0A] |= 1 << 7,
        breach: |_| {},
    },
    Case {
        claim: "guest.ciphertext-hiding",
        code: Code::CiphertextHiding,
        demand: |r| r.guest.require_ciphertext_hiding = true,
        keep: |b| b[0x0B] |= 1,
        breach: |_| {},
    },
    Case {
        claim: "guest.page-swap",
        code: Code::GuestPolicy,
        demand: |r| r.guest.require_page_swap_disabled = true,
        keep: |b| b[0x0B] |= 1 << 1,
        breach: |_| {},
    },
    Case {
        claim: "guest.abi",
        code: Code::Abi,
        demand: |r| r.guest.min_abi = Some((1, 31)),
        keep: |b| b[0x08..0x0A].copy_from_slice(&[31, 1]),
        breach: |b| b[0x08..0x0A].copy_from_slice(&[55, 0]),
    },
    Case {
        claim: "guest.svn",
        code: Code::Svn,
        demand: |r| r.guest.min_svn = Some(300),
        keep: |b| b[0x04..0x08].copy_from_slice(&300u32.to_le_bytes()),
        breach: |b| b[0x04..0x08].copy_from_slice(&299u32.to_le_bytes()),
    },
    Case {
        claim: "guest.family-id",
        code: Code::IdBlock,
        demand: |r| r.id_block.family_ids = Some(BTreeSet::from([[7; 16], [8; 16]])),
        keep: |b| b[0x10..0x20].fill(7),
        breach: |b| b[0x10..0x20].fill(9),
    },
    Case {
        claim: "guest.image-id",
        code: Code::IdBlock,
        demand: |r| r.id_block.image_ids = Some(BTreeSet::from([[7; 16]])),
        keep: |b| b[0x20..0x30].fill(7),
        breach: |_| {},
    },
    Case {
        claim: "guest.id-key",
        code: Code::IdBlock,
        demand: |r| r.id_block.id_keys = Some(BTreeSet::from([[7; 48]])),
        keep: |b| b[0xE0..0x110].fill(7),
        breach: |b| b[0xE0..0x110].fill(9),
    },
    // D4: no ID block; a list with the digest of no key does not accept it.
    Case {
        claim: "guest.id-key",
        code: Code::IdBlock,
        demand: |r| r.id_block.id_keys = Some(BTreeSet::from([[0; 48], [7; 48]])),
        keep: |b| b[0xE0..0x110].fill(7),
        breach: |_| {},
    },
    Case {
        claim: "guest.author-key",
        code: Code::IdBlock,
        demand: |r| r.id_block.author_keys = Some(BTreeSet::from([[7; 48]])),
        keep: |b| {
            b[0x110..0x140].fill(7);
            b[0x48] |= 1;
        },
        breach: |b| {
            b[0x110..0x140].fill(9);
            b[0x48] |= 1;
        },
    },
    // The right digest, and the report says that there is no author's key.
    Case {
        claim: "guest.author-key",
        code: Code::IdBlock,
        demand: |r| r.id_block.author_keys = Some(BTreeSet::from([[7; 48]])),
        keep: |b| {
            b[0x110..0x140].fill(7);
            b[0x48] |= 1;
        },
        breach: |b| b[0x110..0x140].fill(7),
    },
    Case {
        claim: "platform.ciphertext-hiding",
        code: Code::CiphertextHiding,
        demand: |r| r.platform.require_ciphertext_hiding = true,
        keep: |b| b[0x40] |= 1 << 4,
        breach: |_| {},
    },
    Case {
        claim: "platform.smt",
        code: Code::Smt,
        demand: |r| r.platform.forbid_smt = true,
        keep: |_| {},
        breach: |b| b[0x40] |= 1,
    },
    Case {
        claim: "platform.rapl",
        code: Code::PlatformInfo,
        demand: |r| r.platform.require_rapl_disabled = true,
        keep: |b| b[0x40] |= 1 << 3,
        breach: |_| {},
    },
    Case {
        claim: "platform.tsme",
        code: Code::PlatformInfo,
        demand: |r| r.platform.require_tsme = true,
        keep: |b| b[0x40] |= 1 << 1,
        breach: |_| {},
    },
    Case {
        claim: "platform.ecc",
        code: Code::PlatformInfo,
        demand: |r| r.platform.require_ecc = true,
        keep: |b| b[0x40] |= 1 << 2,
        breach: |_| {},
    },
    Case {
        claim: "platform.launch-mitigations",
        code: Code::Mitigation,
        demand: |r| r.platform.launch_mitigations = Some(0b101),
        keep: |b| {
            b[0] = 5;
            b[0x1F8] = 0b111;
        },
        breach: |b| {
            b[0] = 5;
            b[0x1F8] = 0b100;
        },
    },
    // A report without the vector does not show that a mitigation is there.
    Case {
        claim: "platform.current-mitigations",
        code: Code::Mitigation,
        demand: |r| r.platform.current_mitigations = Some(1),
        keep: |b| {
            b[0] = 5;
            b[0x200] = 1;
        },
        breach: |_| {},
    },
    // D5
    Case {
        claim: "platform.chip",
        code: Code::Chip,
        demand: |r| {
            r.allow_masked_chip = true;
            r.chips = Some(BTreeSet::from([CHIP]));
        },
        keep: |_| {},
        breach: |b| b[0x1A0..0x1E0].fill(0),
    },
    Case {
        claim: "platform.chip-denied",
        code: Code::Chip,
        demand: |r| {
            r.allow_masked_chip = true;
            r.deny_chips = BTreeSet::from([[1; 64]]);
        },
        keep: |_| {},
        breach: |b| b[0x1A0..0x1E0].fill(0),
    },
    // D3
    Case {
        claim: "tcb.committed",
        code: Code::Tcb,
        demand: |r| r.tcb.floor = Some(GENOA),
        keep: |_| {},
        breach: |b| b[0x1E6] = 24,
    },
    Case {
        claim: "tcb.launch",
        code: Code::Tcb,
        demand: |r| r.tcb.launch_floor = Some(GENOA),
        keep: |_| {},
        breach: |b| b[0x1F7] = 83,
    },
    Case {
        claim: "tcb.current",
        code: Code::Tcb,
        demand: |r| r.tcb.forbid_provisional = true,
        keep: |_| {},
        breach: |b| b[0x3F] = 85,
    },
    Case {
        claim: "tcb.current",
        code: Code::Tcb,
        demand: |r| r.tcb.forbid_provisional = true,
        keep: |b| b[0x1E8..0x1EF].copy_from_slice(&[43, 55, 1, 0, 43, 55, 1]),
        breach: |b| b[0x1E8..0x1EF].copy_from_slice(&[44, 55, 1, 0, 43, 55, 1]),
    },
];

fn signed(authority: &Authority, change: impl FnOnce(&mut [u8])) -> Evidence {
    let mut bytes = authority::report(&DATA, &MEASUREMENT, &HOST_DATA);
    change(&mut bytes);
    authority.sign(&mut bytes);
    authority.evidence(&bytes)
}

fn requirements() -> Requirements {
    Requirements {
        measurements: Some(BTreeSet::from([Measurement(MEASUREMENT)])),
        ..Requirements::default()
    }
}

fn judge(authority: &Authority, evidence: &Evidence, rules: &Requirements) -> Verdict {
    let roots = [Root::simulated("test", &authority.ark_pem()).unwrap()];
    let expected = Expected { report_data: Some(DATA), host_data: Some(HOST_DATA) };
    verify(evidence, &roots, &expected, rules, NOW)
}

fn refused(verdict: &Verdict) -> Vec<(&str, Code)> {
    verdict.reasons().map(|line| (line.claim, line.code)).collect()
}

fn outcome(verdict: &Verdict, claim: &str) -> Outcome {
    verdict.lines().iter().find(|line| line.claim == claim).unwrap().outcome
}

#[test]
fn each_demand_allows_refuses_alone_and_is_unchecked_without() {
    let authority = Authority::new();
    for Case { claim, code, demand, keep, breach } in CASES {
        let mut rules = requirements();
        demand(&mut rules);
        let kept = judge(&authority, &signed(&authority, keep), &rules);
        assert_eq!(refused(&kept), [], "{claim}");
        assert_eq!(outcome(&kept, claim), Outcome::Ok, "{claim}");
        assert!(kept.accepted().is_some(), "{claim}");

        let broken = signed(&authority, breach);
        let verdict = judge(&authority, &broken, &rules);
        assert_eq!(refused(&verdict), [(*claim, *code)], "{claim}");
        assert!(verdict.accepted().is_none(), "{claim}");

        let mut nothing = requirements();
        nothing.allow_masked_chip = true;
        let verdict = judge(&authority, &broken, &nothing);
        assert_eq!(refused(&verdict), [], "{claim}");
        assert_eq!(outcome(&verdict, claim), Outcome::NotChecked, "{claim}");
    }
}

#[test]
fn what_is_refused_without_being_demanded() {
    // D4, D5: and what waives it, where anything does.
    let authority = Authority::new();
    let judge = |change: fn(&mut [u8]), waive: fn(&mut Requirements)| {
        let mut rules = requirements();
        waive(&mut rules);
        let verdict = judge(&authority, &signed(&authority, change), &rules);
        verdict.reasons().map(|line| line.code).collect::<Vec<_>>()
    };
    let no_alias_check = |b: &mut [u8]| b[0x40] = 0;
    assert_eq!(judge(no_alias_check, |_| {}), [Code::AliasCheck]);
    assert_eq!(judge(no_alias_check, |r| r.platform.require_alias_check = false), []);
    let vmpl_2 = |b: &mut [u8]| b[0x30] = 2;
    assert_eq!(judge(vmpl_2, |_| {}), [Code::Vmpl]);
    assert_eq!(judge(vmpl_2, |r| r.vmpls = BTreeSet::from([2])), []);
    assert_eq!(judge(|_| {}, |r| r.vmpls = BTreeSet::from([2])), [Code::Vmpl]);
    let unknown_bit = |b: &mut [u8]| b[0x40] |= 1 << 6;
    assert_eq!(judge(unknown_bit, |_| {}), [Code::PlatformInfo]);
    assert_eq!(judge(unknown_bit, |r| r.platform.accept_bits = 1 << 6), []);
    assert_eq!(judge(|b| b[0x47] = 0x80, |_| {}), [Code::PlatformInfo]);
    let masked = |b: &mut [u8]| b[0x1A0..0x1E0].fill(0);
    assert_eq!(judge(masked, |_| {}), [Code::Hwid]);
    assert_eq!(judge(masked, |r| r.allow_masked_chip = true), []);
    assert_eq!(judge(|b| b[0x1A0] ^= 1, |r| r.allow_masked_chip = true), [Code::Hwid]);
    for at in [0x4C, 0x18B, 0x1EB, 0x1EF, 0x208, 0x29F, 0x3A, 0x1F3, 0x1F8, 0x4A] {
        let authority = Authority::new();
        let evidence = signed(&authority, |b| b[at] = 1);
        let verdict = self::judge(&authority, &evidence, &requirements());
        assert_eq!(refused(&verdict), [("report.reserved", Code::Reserved)], "{at:#x}");
    }
}

#[test]
fn a_list_of_chips_never_has_a_hidden_one() {
    // D5: zeros on the list are no chip.
    let authority = Authority::new();
    let mut rules = requirements();
    rules.allow_masked_chip = true;
    rules.chips = Some(BTreeSet::from([[0; 64]]));
    let evidence = signed(&authority, |b| b[0x1A0..0x1E0].fill(0));
    let verdict = judge(&authority, &evidence, &rules);
    assert_eq!(refused(&verdict), [("platform.chip", Code::Chip)]);
    // A chip that is named and refused.
    let mut rules = requirements();
    rules.deny_chips = BTreeSet::from([CHIP]);
    let verdict = judge(&authority, &signed(&authority, |_| {}), &rules);
    assert_eq!(refused(&verdict), [("platform.chip-denied", Code::Chip)]);
}

#[test]
fn products_are_refused_by_name() {
    // D5
    let milan = Authority::with(&Names { product: "Milan-B0", ..Names::default() }, 0);
    let evidence = signed(&milan, |b| b[0x189] = 1);
    let verdict = judge(&milan, &evidence, &requirements());
    assert_eq!(refused(&verdict), [("chain.product-allowed", Code::Product)]);
    let mut rules = requirements();
    rules.allow_products = BTreeSet::from([Product::Milan]);
    assert_eq!(refused(&judge(&milan, &evidence, &rules)), []);
    rules.deny_products = BTreeSet::from([Product::Milan]);
    assert_eq!(refused(&judge(&milan, &evidence, &rules)).len(), 1);
    let genoa = Authority::new();
    rules.deny_products = BTreeSet::from([Product::Genoa]);
    let verdict = judge(&genoa, &signed(&genoa, |_| {}), &rules);
    assert_eq!(refused(&verdict), [("chain.product-allowed", Code::Product)]);
}

#[test]
fn turin_has_an_order_and_a_part_of_its_own() {
    // D3: FMC is a part of the TCB; bit 6 of PLATFORM_INFO has a meaning.
    let chip = vec![0xC7; 8];
    let names = Names { product: "Turin", chip, fmc: Some(3), ..Names::default() };
    let authority = Authority::with(&names, 0);
    let turin = |b: &mut [u8]| {
        b[0x40] |= 1 << 6;
        b[0x188..0x18B].copy_from_slice(&[0x1A, 0x02, 1]);
        b[0x1A8..0x1E0].fill(0);
        for at in [0x38, 0x180, 0x1E0, 0x1F0] {
            b[at..at + 8].copy_from_slice(&[3, 10, 0, 25, 0, 0, 0, 84]);
        }
    };
    let evidence = signed(&authority, turin);
    let mut rules = requirements();
    rules.tcb.floor = Some(TcbVersion { fmc: Some(3), ..GENOA });
    assert_eq!(refused(&judge(&authority, &evidence, &rules)), []);
    rules.tcb.floor = Some(TcbVersion { fmc: Some(4), ..GENOA });
    let both = [("tcb.reported", Code::Tcb), ("tcb.committed", Code::Tcb)];
    assert_eq!(refused(&judge(&authority, &evidence, &rules)), both);
    // Running below what is committed, in this part alone.
    let below = |b: &mut [u8]| {
        turin(b);
        b[0x38] = 2;
    };
    let verdict = judge(&authority, &signed(&authority, below), &requirements());
    assert_eq!(refused(&verdict), [("tcb.order", Code::Tcb)]);
    // A certificate of another FMC level, and one without any.
    for fmc in [Some(2), None] {
        let chip = vec![0xC7; 8];
        let names = Names { product: "Turin", chip, fmc, ..Names::default() };
        let authority = Authority::with(&names, 0);
        let verdict = judge(&authority, &signed(&authority, turin), &requirements());
        assert_eq!(refused(&verdict), [("chain.tcb", Code::Tcb)]);
    }
}

#[test]
fn bits_of_the_platform_are_known_per_product() {
    // D4: 0 to 5 and 7 everywhere, 6 on Turin.
    let chip = vec![0xC7; 8];
    let turin =
        Names { product: "Turin", chip, tcb: [10, 0, 25, 84], fmc: Some(3), ..Names::default() };
    for (names, has_fmc, known) in [(Names::default(), false, 0xBF_u64), (turin, true, 0xFF)] {
        let authority = Authority::with(&names, 0);
        for bit in 0..64 {
            let evidence = signed(&authority, |b| {
                if has_fmc {
                    b[0x188..0x18B].copy_from_slice(&[0x1A, 0x02, 1]);
                    b[0x1A8..0x1E0].fill(0);
                    for at in [0x38, 0x180, 0x1E0, 0x1F0] {
                        b[at..at + 8].copy_from_slice(&[3, 10, 0, 25, 0, 0, 0, 84]);
                    }
                }
                b[0x40 + bit / 8] |= 1 << (bit % 8);
            });
            let unknown = [("platform.info", Code::PlatformInfo)];
            let expected = if known >> bit & 1 == 1 { &[][..] } else { &unknown[..] };
            assert_eq!(refused(&judge(&authority, &evidence, &requirements())), expected, "{bit}");
            let mut rules = requirements();
            rules.platform.accept_bits = 1 << bit;
            assert_eq!(refused(&judge(&authority, &evidence, &rules)), [], "{bit}");
        }
    }
}

#[test]
fn a_certificate_without_a_known_product_or_with_unknown_levels_is_refused() {
    for product in ["Venice", "Genoa-", "genoa", ""] {
        let authority = Authority::with(&Names { product, ..Names::default() }, 0);
        let verdict = judge(&authority, &signed(&authority, |_| {}), &requirements());
        assert_eq!(refused(&verdict), [("chain.product-name", Code::Product)], "{product}");
    }
    for arc in ["4", "5", "6", "7"] {
        for (level, expected) in [(0, None), (1, Some(("chain.reserved-levels", Code::Reserved)))] {
            let names = Names { reserved: Some((arc, level)), ..Names::default() };
            let authority = Authority::with(&names, 0);
            let verdict = judge(&authority, &signed(&authority, |_| {}), &requirements());
            assert_eq!(refused(&verdict).into_iter().next(), expected, "{arc} {level}");
            assert!(refused(&verdict).len() <= 1);
        }
    }
}

#[test]
fn firmware_below_what_is_committed_is_no_platforms() {
    // D3: whoever can make such a report can go back behind every floor.
    let authority = Authority::new();
    let refused_for = |change: fn(&mut [u8])| {
        let verdict = judge(&authority, &signed(&authority, change), &requirements());
        verdict.reasons().map(|line| (line.claim, line.code)).collect::<Vec<_>>()
    };
    let order = [("tcb.order", Code::Tcb)];
    for change in [
        |b: &mut [u8]| b[0x38] = 9,
        |b: &mut [u8]| b[0x3E] = 24,
        |b: &mut [u8]| b[0x3F] = 83,
        // A newer part does not make up for an older one.
        |b: &mut [u8]| b[0x38..0x40].copy_from_slice(&[11, 0, 0, 0, 0, 0, 24, 85]),
        |b: &mut [u8]| b[0x1E8..0x1EF].copy_from_slice(&[42, 55, 1, 0, 43, 55, 1]),
    ] {
        assert_eq!(refused_for(change), order);
    }
    assert_eq!(refused_for(|b| b[0x3F] = 85), []);
}

#[test]
fn host_data_must_be_both_of_the_session_and_accepted() {
    let authority = Authority::new();
    let evidence = signed(&authority, |_| {});
    let roots = [Root::simulated("test", &authority.ark_pem()).unwrap()];
    let refused = |session: Option<[u8; 32]>, accepted: Option<[u8; 32]>| {
        let expected = Expected { report_data: Some(DATA), host_data: session };
        let mut rules = requirements();
        rules.host_data = accepted.map(|one| BTreeSet::from([one]));
        let verdict = verify(&evidence, &roots, &expected, &rules, NOW);
        (outcome(&verdict, "guest.host-data"), verdict.reasons().count())
    };
    assert_eq!(refused(None, None), (Outcome::NotChecked, 0));
    assert_eq!(refused(Some(HOST_DATA), None), (Outcome::Ok, 0));
    assert_eq!(refused(None, Some(HOST_DATA)), (Outcome::Ok, 0));
    assert_eq!(refused(Some(HOST_DATA), Some(HOST_DATA)), (Outcome::Ok, 0));
    assert_eq!(refused(Some([1; 32]), None), (Outcome::Refused, 1));
    assert_eq!(refused(None, Some([1; 32])), (Outcome::Refused, 1));
    assert_eq!(refused(Some(HOST_DATA), Some([1; 32])), (Outcome::Refused, 1));
    assert_eq!(refused(Some([1; 32]), Some(HOST_DATA)), (Outcome::Refused, 1));
}

#[test]
fn an_empty_set_of_references_accepts_nothing() {
    let authority = Authority::new();
    let mut rules = requirements();
    rules.measurements = Some(BTreeSet::new());
    let verdict = judge(&authority, &signed(&authority, |_| {}), &rules);
    assert_eq!(refused(&verdict), [("guest.measurement", Code::Measurement)]);
}

#[test]
fn lines_say_what_was_compared_with_what() {
    let authority = Authority::new();
    let mut rules = requirements();
    rules.tcb.floor = Some(TcbVersion { snp: 26, ..GENOA });
    let verdict = judge(&authority, &signed(&authority, |_| {}), &rules);
    let line = verdict.reasons().next().unwrap();
    assert_eq!(line.value, "bootloader 10 tee 0 snp 25 microcode 84");
    assert_eq!(line.reference.as_deref(), Some(">= bootloader 10 tee 0 snp 26 microcode 84"));
    // The audit log and the command line print lines as JSON.
    let claims: Vec<&str> = verdict.lines().iter().map(|line| line.claim).collect();
    let distinct: BTreeSet<&str> = claims.iter().copied().collect();
    assert_eq!(claims.len(), distinct.len(), "each claim has one line");
}
