// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeSet;

use casemate_evidence::collateral::Collateral;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::tdx::{Evidence, Quote};
use casemate_tee_sim::mint::tdx::{Form, Options, TdxFault};
use casemate_tee_sim::mint::{Minted, Role};
use casemate_verifier::tdx::{Expected, Requirements, Root, verify};
use casemate_verifier::{Measurement, Policy, ReferenceValues, Status, Verdict};

use super::{AT, By, codes, complaint, keys, missed_without_policy};

const FORMS: [Form; 3] = [Form::V4, Form::V5Td10, Form::V5Td15];

fn judge(minted: &Minted, by: By) -> Result<Verdict, String> {
    let file = |role| minted.bytes(role).unwrap();
    let quote = Quote::parse(file(Role::Quote)).map_err(|error| error.to_string())?;
    let event_log = minted.bytes(Role::EventLog).map(EventLog::parse).transpose();
    let event_log = event_log.map_err(|error| error.to_string())?;
    let collateral = minted.bytes(Role::Collateral).map(|json| {
        Collateral::from_json(std::str::from_utf8(json).unwrap()).map_err(|error| error.to_string())
    });
    let collateral = collateral.transpose()?;
    let evidence = Evidence { quote, event_log: None };
    let roots = [Root::simulated("minted", file(Role::Root)).unwrap()];
    let mut report_data = [0; 64];
    hex::decode_to_slice(&minted.told.report_data, &mut report_data).unwrap();
    let mut mr_config_id = [0; 48];
    hex::decode_to_slice(&minted.told.host_data, &mut mr_config_id).unwrap();
    let expected = Expected { report_data: Some(report_data), mr_config_id: Some(mr_config_id) };
    let requirements = match by {
        By::Policy => {
            let policy = std::str::from_utf8(file(Role::Policy)).unwrap();
            Policy::parse(policy).unwrap().tdx(&ReferenceValues::new()).unwrap()
        }
        By::Default => {
            let mut mr_td = [0; 48];
            hex::decode_to_slice(&minted.told.measurement, &mut mr_td).unwrap();
            Requirements {
                measurements: Some(BTreeSet::from([Measurement(mr_td)])),
                ..Requirements::default()
            }
        }
    };
    let log = event_log.as_ref();
    Ok(verify(&evidence, &roots, collateral.as_ref(), log, &expected, &requirements, AT))
}

#[test]
fn good_evidence_of_every_form_is_affirmed() {
    for form in FORMS {
        let verdict =
            judge(&Options::new(form, AT).mint(keys(), &[]).unwrap(), By::Policy).unwrap();
        assert_eq!(codes(&verdict), [""; 0], "{form:?}");
        assert_eq!(verdict.status(), Status::Affirming);
        assert_eq!(verdict.root(), Some("simulated:minted"));
    }
}

#[test]
fn fields_are_read_as_they_were_written() {
    for form in FORMS {
        let options = Options::new(form, AT);
        let minted = options.mint(keys(), &[]).unwrap();
        let quote = Quote::parse(minted.bytes(Role::Quote).unwrap()).unwrap();
        let body = quote.body();
        assert_eq!(quote.used_bytes(), minted.bytes(Role::Quote).unwrap().len());
        assert_eq!(body.tee_tcb_svn(), &options.tee_tcb_svn);
        assert_eq!(body.td_attributes().0, options.attributes);
        assert_eq!(body.xfam(), options.xfam);
        assert_eq!(body.mr_td(), &options.mr_td);
        assert_eq!(body.mr_config_id(), &options.mr_config_id);
        assert_eq!(body.report_data(), &options.report_data);
        assert_eq!(body.mr_service_td().is_some(), form == Form::V5Td15);
        let log = EventLog::parse(minted.bytes(Role::EventLog).unwrap()).unwrap();
        assert_eq!(log.events().len(), 7);
    }
}

/// D1, D2, D6 to D8, D17, D20: one fault, one reason, in every form of the quote.
#[test]
fn each_fault_is_found_for_its_own_reason() {
    let mut complaints = Vec::new();
    for form in FORMS {
        for fault in TdxFault::ALL {
            let minted = Options::new(form, AT).mint(keys(), &[*fault]).unwrap();
            let complaint = complaint(fault.fault(), &judge(&minted, By::Policy));
            complaints.extend(complaint.map(|complaint| format!("{form:?} {complaint}")));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A fault is a matter of policy only if it says so.
#[test]
fn what_needs_no_policy_is_refused_without_one() {
    let base = Options::new(Form::V5Td15, AT);
    let good = judge(&base.mint(keys(), &[]).unwrap(), By::Default).unwrap();
    assert_eq!(good.status(), Status::Affirming);
    let missed: Vec<&str> = TdxFault::ALL
        .iter()
        .filter_map(|fault| {
            let minted = base.mint(keys(), &[*fault]).unwrap();
            missed_without_policy(fault.fault(), &judge(&minted, By::Default))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
