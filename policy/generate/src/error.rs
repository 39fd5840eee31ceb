// SPDX-License-Identifier: Apache-2.0
//! Why no policy can be made, and what the reader should know of one that was.

use std::fmt;

use casemate_boot_formats::initdata::InitdataError;
use casemate_policy::DocumentError;

use crate::accounts::AccountError;

/// Why no policy can be made from a pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The user or group of a container cannot be told.
    #[error("{path}: {source}")]
    Account {
        /// Where the user is named.
        path: String,
        /// What is wrong with it.
        source: AccountError,
    },
    /// The pod sets something that this version does not carry out or that a hostile host would
    /// control.
    #[error("{path}: {reason}")]
    Refused {
        /// The field.
        path: String,
        /// Why it is refused.
        reason: &'static str,
        /// What to do in its place.
        advice: &'static str,
    },
    /// The image of a container was not resolved.
    #[error("{path}: the image {name} was not resolved")]
    ImageUnresolved {
        /// The field.
        path: String,
        /// The image as the pod names it.
        name: String,
    },
    /// The initdata cannot be written.
    #[error("initdata: {source}")]
    Initdata {
        /// What is wrong with it.
        source: InitdataError,
    },
    /// A field has a value that Kubernetes does not accept either.
    #[error("{path}: {problem}")]
    Invalid {
        /// The field.
        path: String,
        /// What is wrong with it.
        problem: Invalid,
    },
    /// The resulting policy breaks a rule of its own format.
    #[error("the policy: {source}")]
    Policy {
        /// The rule.
        source: DocumentError,
    },
    /// The text is over its cap.
    #[error("the YAML has {size} bytes, more than {max}")]
    TooLarge {
        /// Bytes in the text.
        size: usize,
        /// Most that are read.
        max: usize,
    },
    /// The document is of a kind that cannot be read yet.
    #[error("the document is {found}, not a Pod of v1")]
    UnsupportedKind {
        /// What it is.
        found: String,
    },
    /// The pod with its annotations cannot be written.
    #[error("the pod cannot be written with its annotations: {message}")]
    Write {
        /// What went wrong.
        message: String,
    },
    /// The text is no YAML.
    #[error("{message}")]
    Yaml {
        /// Where and what.
        message: String,
    },
}

impl GenerateError {
    /// What the reader can do, one sentence without a full stop.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Account { .. } => "set runAsUser and runAsGroup to numbers in the pod",
            Self::Refused { advice, .. } => advice,
            Self::ImageUnresolved { .. } => "make sure that the registry has the image",
            Self::Initdata { .. } => "shorten the pod: annotations hold 256 KiB in all",
            Self::Invalid { .. } | Self::Policy { .. } => "correct the field",
            Self::TooLarge { .. } => "give one pod in a file",
            Self::UnsupportedKind { .. } => {
                "write the template out as one Pod of apiVersion v1 in a file of its own"
            }
            Self::Write { .. } => "write metadata and spec as indented blocks",
            Self::Yaml { .. } => "correct the YAML",
        }
    }

    pub(crate) fn invalid(path: impl Into<String>, problem: Invalid) -> Self {
        Self::Invalid { path: path.into(), problem }
    }

    pub(crate) fn refused(
        path: impl Into<String>,
        reason: &'static str,
        advice: &'static str,
    ) -> Self {
        Self::Refused { path: path.into(), reason, advice }
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The capability is not one of Linux.
    #[error("unknown capability {name:?}")]
    Capability {
        /// The text.
        name: String,
    },
    /// The name occurs twice.
    #[error("{name:?} occurs twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Neither pod nor image say what to run.
    #[error("neither the pod nor the image says what to run")]
    NoCommand,
    /// The value is no amount of CPU or memory.
    #[error("is no quantity such as 250m or 64Mi")]
    Quantity,
    /// The text is no image name.
    #[error("{name:?} is no image name")]
    ImageName {
        /// The text.
        name: String,
    },
    /// The field must be there.
    #[error("is missing")]
    Missing,
    /// The container would run as root.
    #[error("the container would run as root although runAsNonRoot is set")]
    Root,
    /// The signal is not one of Linux.
    #[error("unknown signal {name:?}")]
    Signal {
        /// The text.
        name: String,
    },
    /// The value is of another type.
    #[error("is not {expected}")]
    Type {
        /// The type.
        expected: &'static str,
    },
    /// The value is none of those that are known.
    #[error("{value:?} is not known here")]
    Unknown {
        /// The value.
        value: String,
    },
    /// The text cannot be read as JSON.
    #[error("is not a JSON list of commands: {message}")]
    ExecList {
        /// What is wrong with it.
        message: String,
    },
}

/// Something that the reader of a policy should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The field.
    pub path: String,
    /// One line for a person.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}
