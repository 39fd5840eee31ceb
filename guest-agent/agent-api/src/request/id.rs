// SPDX-License-Identifier: Apache-2.0
//! Names of containers, processes and images.

use std::fmt;

use super::Problem;
use super::RequestError;
use super::text;
use crate::proto;

/// Most bytes of a container's or exec's id and of a container's name.
pub(crate) const MAX_ID: usize = 128;

/// Declares an id: one to 128 bytes of `[A-Za-z0-9][A-Za-z0-9._-]*`.
macro_rules! id {
    ($(#[doc = $doc:literal])+ $name:ident, $field:literal) => {
        $(#[doc = $doc])+
        ///
        /// One to 128 bytes of `[A-Za-z0-9][A-Za-z0-9._-]*`: usable as a file name.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            ///
            /// [`RequestError`] when it has another form.
            pub fn parse(text: &str) -> Result<Self, RequestError> {
                if text.len() > MAX_ID {
                    let max = text::cap(MAX_ID);
                    return Err(RequestError::new($field, Problem::TooLarge { max }));
                }
                let mut bytes = text.bytes();
                let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
                    && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
                if well_formed {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(RequestError::new($field, Problem::Form))
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of a container, given by the host and never used twice.
    ContainerId, "container_id"
);
id!(
    /// Id of an exec in a container, given by the host.
    ExecId, "exec_id"
);
id!(
    /// Name of a container in the pod; finds it in the policy.
    ContainerName, "name"
);

/// A process: a container's first one or an exec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    container: ContainerId,
    exec: Option<ExecId>,
}

impl ProcessId {
    /// The container's first process, or the exec of that id.
    #[must_use]
    pub const fn new(container: ContainerId, exec: Option<ExecId>) -> Self {
        Self { container, exec }
    }

    /// The container.
    #[must_use]
    pub const fn container(&self) -> &ContainerId {
        &self.container
    }

    /// The exec, or `None` for the container's first process.
    #[must_use]
    pub const fn exec(&self) -> Option<&ExecId> {
        self.exec.as_ref()
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec {
            None => self.container.fmt(f),
            Some(exec) => write!(f, "{}/{exec}", self.container),
        }
    }
}

impl TryFrom<proto::ProcessRef> for ProcessId {
    type Error = RequestError;

    fn try_from(message: proto::ProcessRef) -> Result<Self, Self::Error> {
        super::admit("process", &message)?;
        let container = ContainerId::parse(&message.container_id)?;
        let exec = match message.exec_id.as_str() {
            "" => None,
            id => Some(ExecId::parse(id)?),
        };
        Ok(Self { container, exec })
    }
}

impl From<ProcessId> for proto::ProcessRef {
    fn from(id: ProcessId) -> Self {
        Self {
            container_id: id.container.0,
            exec_id: id.exec.map_or_else(String::new, |exec| exec.0),
            ..Self::default()
        }
    }
}

impl TryFrom<proto::ContainerRef> for ContainerId {
    type Error = RequestError;

    fn try_from(message: proto::ContainerRef) -> Result<Self, Self::Error> {
        super::admit("container", &message)?;
        Self::parse(&message.container_id)
    }
}

impl From<ContainerId> for proto::ContainerRef {
    fn from(id: ContainerId) -> Self {
        Self { container_id: id.0, ..Self::default() }
    }
}

/// Digest of an image's manifest: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageDigest(String);

impl ImageDigest {
    /// Parses the text.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when it has another form or algorithm.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let well_formed = text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequestError::new("image_digest", Problem::Form))
        }
    }

    /// The digest as text, with its algorithm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
