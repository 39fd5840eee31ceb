// SPDX-License-Identifier: Apache-2.0
//! The body of every error reply.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// An error reply: `{"type":"https://…/errors/<Variant>","detail":"…"}`.
///
/// The ecosystem's servers answer nearly everything with status 401, so a client tells causes apart
/// by [`Problem::kind`], never by the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The type as a URI.
    #[serde(rename = "type")]
    pub uri: String,
    /// One line for a person.
    pub detail: String,
}

impl Problem {
    /// A problem of a known type.
    #[must_use]
    pub fn new(kind: ProblemType, detail: String) -> Self {
        Self { uri: format!("{TYPE_PREFIX}{kind}"), detail }
    }

    /// Its type, `None` for one that this version does not know.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemType> {
        let name = self.uri.strip_prefix(TYPE_PREFIX)?;
        ProblemType::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

macro_rules! problem_types {
    ($($(#[doc = $doc:literal])+ $variant:ident,)+) => {
        /// The types of errors that a broker names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemType {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ProblemType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, the last segment of the URI.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }
    };
}

problem_types! {
    /// The administrator's authentication is not set up.
    AdminAuthInitialization,
    /// The administrator is not who is needed.
    AdminAuthAccess,
    /// The evidence, its binding or its session is refused.
    AttestationError,
    /// The HTTP server failed.
    HTTPFailed,
    /// The HTTPS server failed.
    HTTPSFailed,
    /// The path names no endpoint or resource.
    InvalidRequestPath,
    /// The resource could not be sealed.
    JweError,
    /// A plugin could not be started.
    PluginManagerInitialization,
    /// No plugin of this name.
    PluginNotFound,
    /// A plugin failed; also: the resource does not exist.
    PluginInternalError,
    /// The policy denies the resource.
    PolicyDeny,
    /// A policy is malformed.
    ParsePolicyError,
    /// The policy engine failed.
    PolicyEngineError,
    /// The reference value service failed.
    RvpsError,
    /// The body is malformed.
    SerdeError,
    /// The storage failed.
    StorageBackendInitialization,
    /// There is neither a session nor a token, or the session is not attested.
    TokenNotFound,
    /// The token is forged or has expired.
    TokenVerifierError,
    /// Metrics failed.
    PrometheusError,
}

impl fmt::Display for ProblemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const TYPE_PREFIX: &str = "https://github.com/confidential-containers/kbs/errors/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_ecosystems_shape() {
        let problem = Problem::new(ProblemType::PolicyDeny, "no".into());
        let text = r#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"no"}"#;
        assert_eq!(serde_json::to_string(&problem).unwrap(), text);
        let read: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(read.kind(), Some(ProblemType::PolicyDeny));
    }

    #[test]
    fn every_type_round_trips_and_others_are_unknown() {
        for kind in ProblemType::ALL {
            assert_eq!(Problem::new(*kind, String::new()).kind(), Some(*kind));
        }
        for uri in ["", "PolicyDeny", "https://example.com/errors/PolicyDeny"] {
            let problem = Problem { uri: uri.into(), detail: String::new() };
            assert_eq!(problem.kind(), None, "{uri}");
        }
    }
}
