// SPDX-License-Identifier: Apache-2.0
//! Errors of the agent API, and the one place that maps them to ttrpc statuses and back.

use std::fmt;

use ttrpc::Code as RpcCode;

use crate::code::Code;
use crate::request::RequestError;

/// Most bytes of an error's own text; more is cut.
const MAX_DETAIL: usize = 512;

/// An error as it crosses the API: a stable code and one line.
///
/// It displays as `<code>: <one line>; next: <next step>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: Code,
    detail: String,
}

impl ApiError {
    /// An error of this code. Control characters in `detail` become spaces and it is cut after
    /// 512 bytes.
    ///
    /// # Security
    ///
    /// The host reads `detail`: it names rule and field, never a secret or an expected value.
    #[must_use]
    pub fn new(code: Code, detail: impl fmt::Display) -> Self {
        Self { code, detail: one_line(&detail.to_string()) }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The line without code and next step.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Reads the guest's answer to a call; anything that is no error of this API is
    /// [`Code::VmDied`] (the connection broke) or [`Code::Internal`].
    ///
    /// # Security
    ///
    /// The guest may be hostile to the host (E19): the text is one printable line of bounded
    /// length, the code is one of ours.
    #[must_use]
    pub fn from_rpc(error: &ttrpc::Error) -> Self {
        let ttrpc::Error::RpcStatus(status) = error else {
            return Self::new(Code::VmDied, format_args!("no answer from the guest: {error}"));
        };
        let parsed = status.message().split_once(": ").and_then(|(code, rest)| {
            let code: Code = code.parse().ok()?;
            let next = format!("; next: {}", code.next_step());
            Some(Self::new(code, rest.strip_suffix(&next).unwrap_or(rest)))
        });
        parsed.unwrap_or_else(|| Self::new(Code::Internal, status.message()))
    }

    /// The error as a ttrpc status.
    #[must_use]
    pub fn to_rpc(&self) -> ttrpc::Error {
        ttrpc::Error::RpcStatus(ttrpc::get_status(rpc_code(self.code), self))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; next: {}", self.code, self.detail, self.code.next_step())
    }
}

impl std::error::Error for ApiError {}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::new(error.code(), &error)
    }
}

/// Status of a code: the caller of the API learns from it whether asking again makes sense.
const fn rpc_code(code: Code) -> RpcCode {
    match code {
        Code::RequestInvalid | Code::NetworkRefused => RpcCode::INVALID_ARGUMENT,
        Code::RequestPhase | Code::RequestId | Code::GuestPoisoned | Code::VolumeContent => {
            RpcCode::FAILED_PRECONDITION
        }
        Code::PolicyContainer
        | Code::PolicyImage
        | Code::PolicyArgv
        | Code::PolicyEnv
        | Code::PolicyCwd
        | Code::PolicyStdio
        | Code::PolicyMount
        | Code::PolicyRootfs
        | Code::PolicyExec
        | Code::PolicySignal
        | Code::PolicyCount
        | Code::PolicyNetwork
        | Code::PolicyOrder
        | Code::PolicyVolume
        | Code::PolicyResources
        | Code::PolicyMetrics
        | Code::PolicyRules
        | Code::PolicyTerminationMessage
        | Code::AttestRefused
        | Code::ResourceDenied
        | Code::ImageDenied
        | Code::ImageNotEncrypted
        | Code::ImageSignature => RpcCode::PERMISSION_DENIED,
        Code::PullInProgress
        | Code::BrokerUnreachable
        | Code::BrokerBusy
        | Code::ImageUnreachable => RpcCode::UNAVAILABLE,
        Code::GuestFull => RpcCode::RESOURCE_EXHAUSTED,
        Code::ResourceMissing => RpcCode::NOT_FOUND,
        _ => RpcCode::INTERNAL,
    }
}

fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_DETAIL));
    for c in text.chars() {
        if out.len() + c.len_utf8() > MAX_DETAIL {
            break;
        }
        out.push(if c.is_control() || is_format(c) { ' ' } else { c });
    }
    out
}

/// Characters that change how a terminal shows the text around them.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_over_ttrpc() {
        for code in Code::ALL {
            let error = ApiError::new(*code, "field `x`: is wrong; next: nothing");
            assert_eq!(ApiError::from_rpc(&error.to_rpc()), error, "{code}");
        }
    }

    #[test]
    fn kinds_of_codes_have_their_statuses() {
        let status = |code| match ApiError::new(code, "").to_rpc() {
            ttrpc::Error::RpcStatus(status) => status.code(),
            other => panic!("{other:?}"),
        };
        assert_eq!(status(Code::PolicyArgv), RpcCode::PERMISSION_DENIED);
        assert_eq!(status(Code::RequestInvalid), RpcCode::INVALID_ARGUMENT);
        assert_eq!(status(Code::RequestPhase), RpcCode::FAILED_PRECONDITION);
        assert_eq!(status(Code::PullInProgress), RpcCode::UNAVAILABLE);
        assert_eq!(status(Code::Internal), RpcCode::INTERNAL);
        for code in Code::ALL {
            let denied = status(*code) == RpcCode::PERMISSION_DENIED;
            assert!(denied || !code.as_str().starts_with("policy."), "{code}");
        }
    }

    #[test]
    fn text_of_the_guest_is_one_short_printable_line() {
        // E19: a hostile guest's text reaches a terminal and a log.
        let hostile = format!("image.digest: a\nb\u{1b}[2J\u{202e}c{}", "x".repeat(100_000));
        let status = ttrpc::get_status(RpcCode::INTERNAL, hostile);
        let error = ApiError::from_rpc(&ttrpc::Error::RpcStatus(status));
        assert_eq!(error.code(), Code::ImageDigest);
        assert!(error.detail().starts_with("a b [2J c"));
        assert_eq!(error.detail().len(), MAX_DETAIL);
    }

    #[test]
    fn answers_that_are_not_ours_are_told_apart() {
        let unknown = ttrpc::get_status(RpcCode::UNKNOWN, "no.such.code: text");
        let error = ApiError::from_rpc(&ttrpc::Error::RpcStatus(unknown));
        assert_eq!((error.code(), error.detail()), (Code::Internal, "no.such.code: text"));
        assert_eq!(ApiError::from_rpc(&ttrpc::Error::Eof).code(), Code::VmDied);
    }
}
