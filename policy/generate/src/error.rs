// SPDX-License-Identifier: Apache-2.0
//! Why no policy can be made, and what the reader should know of one that was.

use std::borrow::Cow;
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
    /// Something is wrong with one object of several.
    #[error("{object}: {source}")]
    Object {
        /// Kind and name, with the file if there are several.
        object: String,
        /// What is wrong.
        source: Box<GenerateError>,
    },
    /// The pod sets something that this version does not carry out or that a hostile host would
    /// control.
    #[error("{path}: {reason}")]
    Refused {
        /// The field.
        path: String,
        /// Why it is refused.
        reason: Cow<'static, str>,
        /// What to do in its place.
        advice: Cow<'static, str>,
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
    /// The document has no kind, or one that runs containers and cannot be read.
    #[error("the document is {found}, which is not read here")]
    UnsupportedKind {
        /// What it is.
        found: String,
    },
    /// An option names something that the YAML does not have.
    #[error("the option {option} names {name}, which the YAML does not have")]
    UnusedOption {
        /// The option.
        option: &'static str,
        /// What it names.
        name: String,
    },
    /// No document runs anything.
    #[error("the YAML holds nothing that runs containers")]
    NoWorkload,
    /// The pod with its annotations cannot be written.
    #[error("the pod cannot be written with its annotations: {message}")]
    Write {
        /// What went wrong.
        message: &'static str,
    },
    /// The text is no YAML that Kubernetes takes.
    #[error("{place}{problem}", place = Place(*.line, *.column))]
    Yaml {
        /// The line, from 1; 0 if it is not known.
        line: u64,
        /// The column, from 1; 0 if it is not known.
        column: u64,
        /// What is wrong there.
        problem: YamlProblem,
    },
}

/// `line 3, column 7: `, as far as it is known.
struct Place(u64, u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (0, _) => Ok(()),
            (line, 0) => write!(f, "line {line}: "),
            (line, column) => write!(f, "line {line}, column {column}: "),
        }
    }
}

/// What is wrong with a text that should be YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum YamlProblem {
    /// `*name` without an earlier `&name`, or one that stands inside itself.
    #[error("an alias (*name) has no anchor (&name) before it")]
    Alias,
    /// A key that stands twice in one object.
    #[error("the key {key:?} stands twice in the same object")]
    DuplicateKey {
        /// The key; empty if it is no text.
        key: String,
    },
    /// A second document where one is expected.
    #[error("a second document begins where one was expected")]
    SecondDocument,
    /// Not well-formed.
    #[error(
        "the text is no well-formed YAML (look for wrong indentation, an open quote or bracket)"
    )]
    Syntax,
    /// Nested or repeated beyond all measure.
    #[error("the YAML is nested too deep or repeats itself too often")]
    TooComplex,
    /// A value that JSON, and so Kubernetes, does not have.
    #[error("a value has no form in JSON, which is what Kubernetes reads")]
    Value,
}

impl GenerateError {
    /// What the reader can do, one sentence without a full stop.
    #[must_use]
    pub fn next_step(&self) -> &str {
        match self {
            Self::Account { .. } => "set runAsUser and runAsGroup to numbers in the pod",
            Self::Refused { advice, .. } => advice,
            Self::ImageUnresolved { .. } => "make sure that the registry has the image",
            Self::Initdata { .. } => "shorten the pod: annotations hold 256 KiB in all",
            Self::Invalid { .. } | Self::Policy { .. } => "correct the field",
            Self::Object { source, .. } => source.next_step(),
            Self::TooLarge { .. } => "give fewer objects at a time",
            Self::UnsupportedKind { .. } | Self::NoWorkload => {
                "give a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, \
                 Job or CronJob of a current apiVersion"
            }
            Self::UnusedOption { .. } => "write the name as it stands in the YAML",
            Self::Write { .. } => "write metadata and spec as indented blocks",
            Self::Yaml { .. } => "correct the YAML",
        }
    }

    /// The error itself, without the object that it happened to.
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Object { source, .. } => source.innermost(),
            other => other,
        }
    }

    pub(crate) fn of_object(self, object: impl Into<String>) -> Self {
        Self::Object { object: object.into(), source: Box::new(self) }
    }

    pub(crate) fn invalid(path: impl Into<String>, problem: Invalid) -> Self {
        Self::Invalid { path: path.into(), problem }
    }

    pub(crate) fn refused(
        path: impl Into<String>,
        reason: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Refused { path: path.into(), reason: reason.into(), advice: advice.into() }
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
    /// A command names no program.
    #[error("the command names no program")]
    NoProgram,
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
    /// The field is not known, and stands where every field changes what runs.
    #[error("is no field that is known here, and everything in this object changes what runs")]
    UnknownField,
    /// The field is written almost like one that is known.
    #[error("is unknown; {meant} is meant, it seems")]
    Misspelt {
        /// The name as it stands.
        name: String,
        /// The name that is known.
        meant: String,
    },
    /// The text is no base64.
    #[error("is no base64")]
    Base64,
    /// The name cannot be one of a file in a volume.
    #[error("{name:?} is no name of a file in a volume")]
    FileName {
        /// The name.
        name: String,
    },
    /// The pattern of a derived value is too long.
    #[error("is too long for a pattern")]
    LongPattern,
    /// The text is no resource of a key broker.
    #[error("{text:?} is no resource written as kbs:///repository/type/tag")]
    Resource {
        /// The text.
        text: String,
    },
    /// The text is no mode.
    #[error("is no file mode written in octal, such as \"0400\"")]
    Mode,
    /// The kernel setting does not belong to the pod.
    #[error("{name:?} is no kernel setting of a pod's own (docs/policy.md says which are)")]
    Sysctl {
        /// The name.
        name: String,
    },
    /// The kernel setting would open the pod to the network.
    #[error("{name} = {value:?} would let the network add addresses and routes of its own")]
    SysctlValue {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// The text is no address.
    #[error("{text:?} is no IP address")]
    Address {
        /// The text.
        text: String,
    },
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
    /// The pod has no such volume.
    #[error("the pod has no volume {name:?}")]
    Volume {
        /// The name.
        name: String,
    },
    /// The annotation cannot be read as JSON.
    #[error("is no JSON (line {line}, column {column})")]
    Json {
        /// The line in the annotation's text, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

/// Something that the reader of a policy should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Kind and name of the object, if there are several.
    pub object: Option<String>,
    /// The field; empty for the object as a whole.
    pub path: String,
    /// One line for a person.
    pub text: String,
}

impl Warning {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { object: None, path: path.into(), text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}
