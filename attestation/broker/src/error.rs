// SPDX-License-Identifier: Apache-2.0
//! Why the broker cannot be set up, opened or changed.

use std::io;
use std::path::PathBuf;

use casemate_agent_api::Code;
use casemate_kbs_protocol::MAX_RESOURCE_BYTES;
use casemate_verifier::PolicyError;
use casemate_verifier::RootError;

use crate::collateral::CollateralError;

/// Why the broker cannot be set up, opened or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A file cannot be read or written.
    #[error("failed to {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder holds a broker already.
    #[error("{} holds a broker already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no broker.
    #[error("{} holds no broker: run `casemate-broker init`", path.display())]
    NotInitialised {
        /// The folder.
        path: PathBuf,
    },
    /// A host name for the certificate is malformed, or there is none.
    #[error("no usable host name or address for the broker's certificate")]
    HostName,
    /// A certificate could not be made.
    #[error("failed to make the broker's certificate")]
    Certificate {
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate or key of the folder cannot be used.
    #[error("failed to use the certificate and key of {}", path.display())]
    Tls {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A file of the folder is not PEM.
    #[error("{} is malformed", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The key that signs tokens cannot be made or used.
    #[error("failed to make or use the key that signs tokens")]
    TokenKey,
    /// The database cannot be read or written.
    #[error("failed to {action} in the broker's database")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Another version wrote the database.
    #[error("the broker's database has layout {found}, this version reads {expected}")]
    Layout {
        /// In the file.
        found: i64,
        /// Of this version.
        expected: i64,
    },
    /// Something in the database is not what this version writes.
    #[error("the broker's database holds a malformed {what}")]
    Corrupt {
        /// What.
        what: &'static str,
    },
    /// A root cannot be used.
    #[error("failed to use root {name}")]
    Root {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: RootError,
    },
    /// A root for TDX cannot be used.
    #[error("failed to use root {name}")]
    TdxRoot {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: casemate_verifier::tdx::RootError,
    },
    /// The name is taken or unknown.
    #[error("{what} {name} {problem}")]
    Name {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// `exists already` or `does not exist`.
        problem: &'static str,
    },
    /// A resource is empty or too large.
    #[error("a resource has 1 to {MAX_RESOURCE_BYTES} bytes, not {actual}")]
    ResourceSize {
        /// Bytes given.
        actual: usize,
    },
    /// `rules.toml` is no policy, or one that cannot be applied.
    #[error("{} cannot be used", path.display())]
    Requirements {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<PolicyError>,
    },
    /// `rules.toml` is of a kind that the broker does not use.
    #[error("{} {problem}", path.display())]
    RequirementValue {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// `rules.rego` is no policy, or gives no claims.
    #[cfg(feature = "rego")]
    #[error("{} cannot be used", path.display())]
    Rego {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<casemate_rego::RegoError>,
    },
    /// `collateral.toml` is not usable.
    #[error("failed to use {}", path.display())]
    Collateral {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CollateralError,
    },
    /// A worker task ended before its work was done.
    #[error("an internal task of the broker failed")]
    Task,
    /// The system gives no randomness.
    #[error("failed to draw random numbers")]
    Randomness,
    /// The listener failed.
    #[error("failed to listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BrokerError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Exists { .. }
            | Self::NotInitialised { .. }
            | Self::HostName
            | Self::Root { .. }
            | Self::TdxRoot { .. }
            | Self::Name { .. }
            | Self::ResourceSize { .. }
            | Self::Listen { .. }
            | Self::Requirements { .. }
            | Self::RequirementValue { .. }
            | Self::Collateral { .. } => Code::BrokerCommand,
            #[cfg(feature = "rego")]
            Self::Rego { .. } => Code::BrokerCommand,
            Self::Task | Self::Randomness | Self::Certificate { .. } => Code::Internal,
            _ => Code::BrokerStore,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn database(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { action, source }
    }
}
