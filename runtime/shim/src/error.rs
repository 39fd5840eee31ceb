// SPDX-License-Identifier: Apache-2.0
//! What a request of containerd can fail with, and the ttrpc status it becomes.

use std::io;
use std::path::PathBuf;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_sandbox::BadId;
use casemate_sandbox::Refusal;
use ttrpc::Code as RpcCode;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// The error has a stable code: the guest's, or one of the shim's own.
    #[error("{0}")]
    Api(#[from] ApiError),
    /// The sandbox is in another state than the request needs.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The request names something that is no identifier.
    #[error("{0}")]
    Id(#[from] BadId),
    /// A request that this shim never fulfils.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A message in the request cannot be read.
    #[error("the request's {field} is malformed: {reason}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A stream of containerd cannot be opened.
    #[error("failed to open the {stream} {uri:?}: {source}")]
    Stdio {
        /// Which stream.
        stream: &'static str,
        /// As containerd named it.
        uri: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the host cannot be used.
    #[error("failed to {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ShimError {
    /// An error with one of the stable codes.
    pub fn coded(code: Code, detail: impl std::fmt::Display) -> Self {
        Self::Api(ApiError::new(code, detail))
    }

    /// The status that containerd gets. The text of a coded error crosses unchanged.
    #[must_use]
    pub fn to_rpc(&self) -> ttrpc::Error {
        let code = match self {
            Self::Api(error) => return error.to_rpc(),
            Self::Refused(refusal) => refusal_code(refusal),
            Self::Id(_) | Self::Malformed { .. } => RpcCode::INVALID_ARGUMENT,
            Self::Unsupported { .. } => RpcCode::UNIMPLEMENTED,
            Self::Stdio { .. } | Self::File { .. } => RpcCode::INTERNAL,
        };
        ttrpc::Error::RpcStatus(ttrpc::get_status(code, self))
    }
}

/// containerd takes NOT_FOUND for "has ended already" when it kills, and FAILED_PRECONDITION for
/// "not now".
fn refusal_code(refusal: &Refusal) -> RpcCode {
    match refusal {
        Refusal::NotFound { .. } | Refusal::Finished { .. } => RpcCode::NOT_FOUND,
        Refusal::AlreadyExists { .. } => RpcCode::ALREADY_EXISTS,
        Refusal::SandboxHasNoProcess => RpcCode::UNIMPLEMENTED,
        _ => RpcCode::FAILED_PRECONDITION,
    }
}

#[cfg(test)]
mod tests {
    use casemate_sandbox::Id;
    use casemate_sandbox::Process;

    use super::*;

    fn status(error: &ShimError) -> (RpcCode, String) {
        match error.to_rpc() {
            ttrpc::Error::RpcStatus(status) => (status.code(), status.message().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn coded_errors_keep_their_text() {
        let error = ShimError::coded(Code::PolicyArgv, "argument 1 differs");
        let (code, text) = status(&error);
        assert_eq!(code, RpcCode::PERMISSION_DENIED);
        assert_eq!(
            text,
            "policy.argv: argument 1 differs; next: generate the policy again if the new command \
             is wanted"
        );
    }

    #[test]
    fn refusals_have_the_status_that_containerd_acts_on() {
        let process = Process::init(Id::new("web").unwrap());
        let refused = |refusal| status(&ShimError::Refused(refusal)).0;
        assert_eq!(refused(Refusal::NotFound { process: process.clone() }), RpcCode::NOT_FOUND);
        assert_eq!(refused(Refusal::Finished { process: process.clone() }), RpcCode::NOT_FOUND);
        let exists = Refusal::AlreadyExists { process: process.clone() };
        assert_eq!(refused(exists), RpcCode::ALREADY_EXISTS);
        let wrong = Refusal::WrongState { process, found: "running", needed: "created" };
        assert_eq!(refused(wrong), RpcCode::FAILED_PRECONDITION);
        assert_eq!(refused(Refusal::SandboxHasNoProcess), RpcCode::UNIMPLEMENTED);
    }
}
