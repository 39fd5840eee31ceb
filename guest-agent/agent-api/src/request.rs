// SPDX-License-Identifier: Apache-2.0
//! Requests of the host, parsed once from their messages into types that cannot hold a bad state.
//!
//! Parsing says that a request is well-formed and within the caps of this module; whether it is
//! allowed is the policy's business. Unknown fields are refused: the shim that sends them expects
//! something that this agent does not do.

mod container;
mod id;
mod network;
mod process;
mod text;
mod update;
mod volume;

use protobuf::Message;

use crate::code::Code;

pub use container::CreateContainer;
pub use container::Mount;
pub use container::MountKind;
pub use id::ContainerId;
pub use id::ContainerName;
pub use id::ExecId;
pub use id::ImageDigest;
pub use id::ProcessId;
pub use network::Cidr;
pub use network::Dns;
pub use network::Hostname;
pub use network::Interface;
pub use network::InterfaceName;
pub use network::MacAddress;
pub use network::Network;
pub use network::Route;
pub use process::EnvEntry;
pub use process::Exec;
pub use process::ResizePty;
pub use process::Signal;
pub use process::Stdio;
pub use process::Target;
pub use process::TerminalSize;
pub use update::Update;
pub use volume::FileName;
pub use volume::MAX_VOLUME_BYTES;
pub use volume::MAX_VOLUME_FILES;
pub use volume::PutVolume;
pub use volume::VolumeFile;
pub use volume::VolumeName;

/// Most bytes of one request, other than one with the content of a volume.
pub const MAX_REQUEST: u64 = 1024 * 1024;

/// A request is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RequestError {
    field: &'static str,
    problem: Problem,
}

impl RequestError {
    pub(crate) const fn new(field: &'static str, problem: Problem) -> Self {
        Self { field, problem }
    }

    /// Name of the field of the message, as in the proto file.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with the field.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The stable code for the host.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self.problem {
            Problem::Network(_) => Code::NetworkRefused,
            _ => Code::RequestInvalid,
        }
    }
}

/// What is wrong with a field of a request. Values of the host are not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The field is not set.
    #[error("missing")]
    Missing,
    /// The message has a field that this version does not know.
    #[error("unknown field")]
    UnknownField,
    /// An enum has a value that this version does not know.
    #[error("unknown value")]
    UnknownValue,
    /// More entries or bytes than the cap.
    #[error("over the cap of {max}")]
    TooLarge {
        /// The cap, in entries or bytes.
        max: u64,
    },
    /// The text has a NUL or another control character.
    #[error("forbidden character")]
    Character,
    /// The text does not have the form of this field.
    #[error("malformed")]
    Form,
    /// Two entries of a list have one name.
    #[error("given twice")]
    Twice,
    /// Two fields contradict each other.
    #[error("contradicts another field")]
    Contradiction,
    /// A network value that this guest never accepts.
    #[error("{0}")]
    Network(NetworkProblem),
}

/// Why a well-formed network value is refused (E14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkProblem {
    /// The interface's name belongs to the loopback device.
    #[error("names the loopback interface")]
    LoopbackName,
    /// The address or route lies in or covers the loopback range.
    #[error("captures loopback")]
    Loopback,
    /// The address is unspecified, multicast, broadcast or otherwise no host's.
    #[error("no unicast address")]
    NotUnicast,
    /// The hardware address is zero or multicast.
    #[error("no unicast hardware address")]
    Mac,
    /// The MTU is out of range.
    #[error("MTU out of range")]
    Mtu,
    /// Two interfaces have one name or hardware address, or an address comes twice.
    #[error("given twice")]
    Twice,
    /// The route names no interface of the request.
    #[error("names no interface of the request")]
    UnknownInterface,
    /// Address families of one route differ.
    #[error("address families differ")]
    Family,
}

/// Refuses a message that is too large or has fields of another version at its top level.
fn admit<M: Message>(field: &'static str, message: &M) -> Result<(), RequestError> {
    admit_within(field, message, MAX_REQUEST)
}

fn admit_within<M: Message>(
    field: &'static str,
    message: &M,
    max: u64,
) -> Result<(), RequestError> {
    if message.compute_size() > max {
        return Err(RequestError::new(field, Problem::TooLarge { max }));
    }
    if message.special_fields().unknown_fields().iter().next().is_some() {
        return Err(RequestError::new(field, Problem::UnknownField));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
