// SPDX-License-Identifier: Apache-2.0
//! Why a document is refused.

use std::fmt;

/// Why a policy, a guest configuration or an initdata document is refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A field holds what it must not hold.
    #[error("{path}: {problem}")]
    Field {
        /// The field, for example `containers.web.argv[2]`.
        path: FieldPath,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The bytes are not UTF-8.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// The text is no TOML, or has a field that this version does not know or that has another type.
    #[error("{message}")]
    Syntax {
        /// Line and column with what was expected there.
        message: String,
    },
    /// The document is over its cap.
    #[error("the document has {size} bytes, more than {max}")]
    TooLarge {
        /// Bytes in the document.
        size: usize,
        /// Most that are read.
        max: usize,
    },
}

/// Where a field stands in its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    pub(crate) fn root(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(crate) fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(crate) fn error(self, problem: Problem) -> DocumentError {
        DocumentError::Field { path: self, problem }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The same entry occurs twice.
    #[error("occurs twice")]
    Duplicate,
    /// There is nothing where something must be.
    #[error("is empty")]
    Empty,
    /// A byte that is not allowed here, such as NUL.
    #[error("holds a character that is not allowed here")]
    ForbiddenCharacter,
    /// No environment variable can have this name.
    #[error("is no name of an environment variable")]
    NotEnvName,
    /// No file of a volume can have this name.
    #[error("is no name of a file: one component, not '.', and no '..' in front")]
    NotFileName,
    /// The URL is not https.
    #[error("is no https URL of a host and at most a port and a path")]
    NotHttps,
    /// Kubernetes allows no such name.
    #[error("is no name of lower-case letters, digits and '-'")]
    NotName,
    /// The path is not relative and free of `.`, `..` and doubled slashes.
    #[error("is no relative path without '.', '..' and doubled slashes")]
    NotNormalSubPath,
    /// The path is not absolute and free of `.`, `..` and doubled slashes.
    #[error("is no absolute path without '.', '..' and doubled slashes")]
    NotNormalPath,
    /// The registry is not written as it stands in image names.
    #[error("is no registry written as host[:port]")]
    NotRegistry,
    /// The text is no PEM certificate.
    #[error("is not one PEM certificate or more")]
    NotPem,
    /// The text is no PEM public key.
    #[error("is not one public key in PEM")]
    NotPublicKey,
    /// The host gives the content of the volume, so containers only read it.
    #[error("must be true, since the host gives the content of this volume")]
    NotReadonly,
    /// A list of values stands in place of a table.
    #[error("is a list, where fields with their names belong")]
    NotTable,
    /// With this value the network would add to what the policy admits.
    #[error("would let the network add addresses and routes of its own")]
    OpensNetwork,
    /// The number is outside its range.
    #[error("is out of range")]
    OutOfRange,
    /// The mount would hide what the guest itself puts there.
    #[error("covers a path that belongs to the guest")]
    ReservedPath,
    /// There are more entries than the cap.
    #[error("has more entries than allowed")]
    TooMany,
    /// The text is over its cap.
    #[error("is too long")]
    TooLong,
    /// The field does not go with the others beside it.
    #[error("does not go with the fields beside it")]
    Unfitting,
    /// The name is not declared in this document.
    #[error("names nothing in this document, or comes back to itself")]
    Unknown,
    /// This version of the format is not known here.
    #[error("is a version that is not known here")]
    Version,
}
