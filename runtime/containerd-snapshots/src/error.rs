// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, and the gRPC status that containerd acts on.

use std::io;
use std::path::PathBuf;

use containerd_snapshots::tonic::Code;
use containerd_snapshots::tonic::Status;

/// An error of the snapshotter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The key or name is taken. containerd takes it as success for a target that exists.
    #[error("snapshot {key} exists already")]
    AlreadyExists { key: String },
    /// There is no such snapshot.
    #[error("snapshot {key} does not exist")]
    NotFound { key: String },
    /// The operation does not fit the snapshot's kind.
    #[error("snapshot {key} is not {wanted}")]
    WrongKind { key: String, wanted: &'static str },
    /// A snapshot with children cannot be removed.
    #[error("snapshot {key} has children")]
    InUse { key: String },
    /// A plain image shares a layer with an encrypted one whose pods still run.
    #[error(
        "the layer {chain} is stubbed for an encrypted image that is in use; next: stop the pods of \
         the encrypted image, or give each runtime a snapshotter of its own (containerd 1.7)"
    )]
    StubInUse { chain: String },
    /// An encrypted layer would have to be unpacked on the host.
    #[error(
        "the layer {chain} is encrypted and cannot be unpacked on the host; next: pull the image with \
         the pod annotation io.containerd.cri.runtime-handler, as `casemate policy generate` writes it"
    )]
    Encrypted { chain: String },
    /// A field that cannot be changed.
    #[error("the field {field} of a snapshot cannot be changed")]
    Immutable { field: String },
    /// A file operation failed.
    #[error("{what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// A record on disk cannot be read.
    #[error("the record {} is damaged", path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    /// containerd does not answer.
    #[error("containerd's {what} failed: {message}")]
    Containerd { what: &'static str, message: String },
    /// A blob of containerd's content store is over a cap or malformed.
    #[error("the blob {digest} is {why}")]
    Blob { digest: String, why: &'static str },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::AlreadyExists { .. } => Code::AlreadyExists,
            Error::NotFound { .. } => Code::NotFound,
            Error::WrongKind { .. }
            | Error::InUse { .. }
            | Error::StubInUse { .. }
            | Error::Encrypted { .. } => Code::FailedPrecondition,
            Error::Immutable { .. } => Code::InvalidArgument,
            Error::Containerd { .. } => Code::Unavailable,
            Error::Io { .. } | Error::Record { .. } | Error::Blob { .. } => Code::Internal,
        };
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(code, text)
    }
}
