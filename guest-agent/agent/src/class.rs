// SPDX-License-Identifier: Apache-2.0
//! In which phase each call is allowed. A18: a call without a class is refused, and fails a test;
//! who decides about its fields is in [`casemate_agent_api::class`].

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;

/// How far the guest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The self-check has passed; the network is not set.
    Bound,
    /// The network is set; attestation goes on.
    NetworkSet,
    /// The broker accepts the guest.
    Attested,
    /// The guest will never be attested.
    Failed(ApiError),
}

impl Phase {
    pub(crate) fn to_proto(&self) -> proto::Phase {
        match self {
            Self::Bound => proto::Phase::BOUND,
            Self::NetworkSet => proto::Phase::NETWORK_SET,
            Self::Attested => proto::Phase::ATTESTED,
            Self::Failed(_) => proto::Phase::FAILED,
        }
    }
}

/// When a call is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Always: it tells nothing of the workload that the host may not know, or only ends it.
    Always,
    /// Before the network is set.
    Bound,
    /// After attestation.
    Attested,
}

/// The class of a call, by its name in the proto file.
pub(crate) fn class(call: &str) -> Option<Class> {
    match call {
        "Hello" | "AwaitReady" | "ReadAudit" | "Shutdown" => Some(Class::Always),
        "SetNetwork" => Some(Class::Bound),
        "CreateContainer" | "ExecProcess" | "Start" | "Signal" | "Wait" | "State" | "Delete"
        | "CloseStdin" | "ResizePty" | "Pids" | "Stats" | "TerminationMessage" | "Update"
        | "PutVolume" | "NextEvent" => Some(Class::Attested),
        _ => None,
    }
}

/// A1: refuses a call before or after its phase.
pub(crate) fn admit(call: &'static str, phase: &Phase) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(ApiError::new(Code::RequestPhase, format_args!("{call}: {why}")));
    match (class(call), phase) {
        (Some(Class::Always), _)
        | (Some(Class::Bound), Phase::Bound)
        | (Some(Class::Attested), Phase::Attested) => Ok(()),
        (Some(Class::Bound), _) => refuse("the network is set already"),
        // The cause is of more use than the phase.
        (Some(Class::Attested), Phase::Failed(error)) => Err(error.clone()),
        (Some(Class::Attested), _) => refuse("the guest is not attested yet"),
        (None, _) => refuse("has no class"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> Vec<String> {
        let service = proto::file_descriptor().proto().service.first().unwrap().clone();
        service.method.iter().map(|m| m.name().to_owned()).collect()
    }

    #[test]
    fn every_call_of_the_service_has_a_class() {
        // A18: walks the whole service descriptor.
        let calls = calls();
        assert_eq!(calls.len(), casemate_agent_api::class::CALLS.len());
        for call in calls {
            assert!(class(&call).is_some(), "{call} has no class");
        }
        for call in casemate_agent_api::class::NEVER {
            assert_eq!(class(call), None, "{call}");
        }
    }

    #[test]
    fn each_class_has_its_phases() {
        let failed = Phase::Failed(ApiError::new(Code::AttestRefused, "no"));
        let phases = [Phase::Bound, Phase::NetworkSet, Phase::Attested, failed];
        let allowed = |call| phases.each_ref().map(|phase| admit(call, phase).is_ok());
        assert_eq!(allowed("Hello"), [true; 4]);
        assert_eq!(allowed("SetNetwork"), [true, false, false, false]);
        assert_eq!(allowed("CreateContainer"), [false, false, true, false]);
        assert_eq!(allowed("CopyFile"), [false; 4]);
    }

    #[test]
    fn a_failed_guest_names_the_cause() {
        let cause = ApiError::new(Code::AttestRefused, "no");
        assert_eq!(admit("Start", &Phase::Failed(cause.clone())), Err(cause));
        assert_eq!(admit("Start", &Phase::Bound).unwrap_err().code(), Code::RequestPhase);
    }
}
