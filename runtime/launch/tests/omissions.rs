// SPDX-License-Identifier: Apache-2.0
//! A KVM that says yes to one call and does not do it: which omissions end the launch, which give a
//! guest with another digest, and which change nothing that is measured (E1).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use casemate_kvm_model::Fault;
use casemate_kvm_model::Faults;
use casemate_kvm_model::Host;
use casemate_kvm_model::Model;
use casemate_launch::Call;
use casemate_launch::launch_snp;
use casemate_launch::launch_tdx;
use casemate_launch_digest::tdx::MrtdForm;
use support::machine;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The launch ends with an error.
    Error,
    /// The launch says yes, and there is no guest that could run.
    NoGuest,
    /// There is a guest, and its measurement is not the predicted one.
    OtherMeasurement,
    /// There is a guest with the predicted measurement.
    Planned,
}

fn model(call: Call) -> Model {
    Model::with_faults(Host::default(), Faults::script([(call, Fault::Ignore)]))
}

fn compare(measured: Option<[u8; 48]>, predicted: &[u8; 48]) -> Outcome {
    match measured {
        None => Outcome::NoGuest,
        Some(measured) if measured == *predicted => Outcome::Planned,
        Some(_) => Outcome::OtherMeasurement,
    }
}

#[test]
fn snp() {
    for (call, expected) in [
        (Call::CheckExtension, Outcome::Error),
        (Call::CreateVm, Outcome::Error),
        (Call::SevInit2, Outcome::Error),
        (Call::MapShared, Outcome::Error),
        (Call::CreateGuestMemfd, Outcome::Error),
        (Call::SetUserMemoryRegion2, Outcome::Error),
        (Call::SetMemoryAttributes, Outcome::Error),
        (Call::CreateVcpu, Outcome::Error),
        (Call::SnpLaunchStart, Outcome::Error),
        (Call::SnpLaunchFinish, Outcome::NoGuest),
        (Call::SetSregs, Outcome::OtherMeasurement),
        (Call::SetRegs, Outcome::OtherMeasurement),
        (Call::SetFpu, Outcome::OtherMeasurement),
        // An update without progress is made again.
        (Call::SnpLaunchUpdate, Outcome::Planned),
        // What KVM sets at reset is what the plan wants.
        (Call::SetXcrs, Outcome::Planned),
        (Call::SetDebugRegs, Outcome::Planned),
        (Call::SetMsrs, Outcome::Planned),
        // Not measured: the guest runs badly or not at all.
        (Call::GetDeviceAttr, Outcome::Planned),
        (Call::EnableCap, Outcome::Planned),
        (Call::SetCpuid2, Outcome::Planned),
    ] {
        let plan = support::snp_plan();
        let mut kvm = model(call);
        let outcome = match launch_snp(&plan, &machine(), &mut kvm) {
            Err(_) => Outcome::Error,
            Ok(_) => compare(kvm.snp_guest().map(|guest| guest.digest), plan.digest().as_bytes()),
        };
        assert_eq!(outcome, expected, "{call}");
    }
}

#[test]
fn tdx() {
    for (call, expected) in [
        (Call::CheckExtension, Outcome::Error),
        (Call::CreateVm, Outcome::Error),
        (Call::TdxCapabilities, Outcome::Error),
        (Call::TdxInitVm, Outcome::Error),
        (Call::MapShared, Outcome::Error),
        (Call::CreateGuestMemfd, Outcome::Error),
        (Call::SetUserMemoryRegion2, Outcome::Error),
        (Call::SetMemoryAttributes, Outcome::Error),
        (Call::CreateVcpu, Outcome::Error),
        (Call::SetCpuid2, Outcome::Error),
        (Call::TdxInitVcpu, Outcome::Error),
        (Call::TdxFinalizeVm, Outcome::NoGuest),
        (Call::TdxInitMemRegion, Outcome::Planned),
        (Call::EnableCap, Outcome::Planned),
    ] {
        let plan = support::tdx_plan();
        let mut kvm = model(call);
        let outcome = match launch_tdx(&plan, &machine(), &mut kvm) {
            Err(_) => Outcome::Error,
            Ok(_) => {
                let predicted = plan.mrtd(MrtdForm::SinglePass);
                compare(kvm.tdx_guest().map(|guest| guest.mrtd), predicted.as_bytes())
            }
        };
        assert_eq!(outcome, expected, "{call}");
    }
}
