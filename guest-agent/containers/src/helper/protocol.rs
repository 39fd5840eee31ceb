// SPDX-License-Identifier: Apache-2.0
//! What agent and helper say to each other: one request and one reply, each one packet of JSON
//! with descriptors beside it.

use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::ReturnFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::Shutdown;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::request::WindowSize;

/// What the helper is to do. Standard streams that are pipes come as three descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a container from the bundle and leave it before its start.
    Create(Common),
    /// Run a command in a running container.
    Exec {
        /// What both have.
        common: Common,
        /// File with the OCI process.
        process: PathBuf,
    },
}

/// What both operations need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Common {
    /// The container.
    pub(crate) id: String,
    /// libcontainer's state directory of all containers.
    pub(crate) state: PathBuf,
    /// Directory with the container's `config.json`.
    pub(crate) bundle: PathBuf,
    /// The terminal, if the process has one.
    pub(crate) terminal: Option<Terminal>,
}

/// A terminal to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Terminal {
    /// Path for the socket on which libcontainer delivers the master side.
    pub(crate) socket: PathBuf,
    /// Characters in a line.
    pub(crate) columns: u16,
    /// Lines.
    pub(crate) rows: u16,
    /// Owner of the terminal's device.
    pub(crate) uid: u32,
}

impl Terminal {
    pub(crate) const fn size(&self) -> WindowSize {
        WindowSize { columns: self.columns, rows: self.rows }
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The process is there; with a terminal its master side comes as descriptor.
    Done {
        /// Its pid in the guest.
        pid: i32,
    },
    /// It is not, and nothing runs.
    Failed {
        /// Why.
        message: String,
    },
}

/// One end of the connection.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    pub(crate) const fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// A connected pair: the agent's end and, for the helper, its standard input.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), ChannelError> {
        let (agent, helper) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::sockopt::set_socket_timeout(
            &agent,
            rustix::net::sockopt::Timeout::Recv,
            Some(DEADLINE),
        )?;
        Ok((Self(agent), helper))
    }

    pub(crate) fn send_request(
        &self,
        request: &Request,
        streams: &[OwnedFd],
    ) -> Result<(), ChannelError> {
        let borrowed: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
        self.send(request, &borrowed)
    }

    pub(crate) fn receive_request(&self) -> Result<(Request, Vec<OwnedFd>), ChannelError> {
        self.receive()
    }

    pub(crate) fn send_reply(
        &self,
        reply: &Reply,
        terminal: Option<&OwnedFd>,
    ) -> Result<(), ChannelError> {
        let borrowed: Vec<BorrowedFd<'_>> = terminal.into_iter().map(AsFd::as_fd).collect();
        self.send(reply, &borrowed)
    }

    /// Waits for the reply, at most [`DEADLINE`].
    pub(crate) fn receive_reply(&self) -> Result<(Reply, Option<OwnedFd>), ChannelError> {
        self.receive().map(|(reply, mut descriptors)| (reply, descriptors.pop()))
    }

    /// Waits until the other end is closed.
    pub(crate) fn wait_closed(&self) -> Result<(), ChannelError> {
        match self.receive::<Reply>() {
            Err(ChannelError::Closed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ChannelError::Unexpected),
        }
    }

    /// Ends the wait for a reply. One that is there already is still received.
    pub(crate) fn hang_up(&self) {
        // Fails only if nothing is connected any more.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Read);
    }

    fn send(
        &self,
        message: &impl Serialize,
        streams: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MAX_MESSAGE {
            return Err(ChannelError::Size);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !streams.is_empty() && !control.push(SendAncillaryMessage::ScmRights(streams)) {
            return Err(ChannelError::Unexpected);
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let mut text = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut text)];
            match rustix::net::recvmsg(&self.0, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
            {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(ChannelError::Deadline),
                // A helper that died with our request unread.
                Err(Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(error.into()),
            }
        };
        if received.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::Size);
        }
        let descriptors = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let message = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())?;
        Ok((message, descriptors))
    }
}

/// The conversation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The other side has ended.
    #[error("the other side has ended")]
    Closed,
    /// No answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    /// A message over the cap.
    #[error(
        "a message is longer than {MAX_MESSAGE} bytes or has more than {MAX_DESCRIPTORS} descriptors"
    )]
    Size,
    /// A message where none belongs.
    #[error("unexpected message")]
    Unexpected,
    /// Text that is no message.
    #[error("malformed message")]
    Malformed(#[from] serde_json::Error),
    /// A system call failed.
    #[error("failed to talk to the other side")]
    System(#[from] Errno),
}

/// Longest message in bytes; requests hold ids and paths, replies a pid or a line of text.
const MAX_MESSAGE: usize = 16 * 1024;

/// Standard input, output and error.
const MAX_DESCRIPTORS: usize = 3;

/// A create takes well under a second; a machine under load gets a minute.
const DEADLINE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (agent, helper) = Channel::pair().unwrap();
        (agent, Channel::new(helper))
    }

    fn request() -> Request {
        Request::Create(Common {
            id: "web".to_owned(),
            state: PathBuf::from("/s"),
            bundle: PathBuf::from("/b"),
            terminal: None,
        })
    }

    #[test]
    fn request_and_descriptors_arrive() {
        let (agent, helper) = pair();
        let (read, write) = rustix::pipe::pipe().unwrap();
        agent.send_request(&request(), &[read, write]).unwrap();
        let (received, descriptors) = helper.receive_request().unwrap();
        assert!(matches!(received, Request::Create(common) if common.id == "web"));
        assert_eq!(descriptors.len(), 2);
        rustix::io::write(&descriptors[1], b"x").unwrap();
        assert_eq!(rustix::io::read(&descriptors[0], &mut [0; 4][..]).unwrap(), 1);
    }

    #[test]
    fn a_helper_that_ends_is_noticed() {
        let (agent, helper) = pair();
        drop(helper);
        assert!(matches!(agent.receive_reply(), Err(ChannelError::Closed)));
    }

    #[test]
    fn a_wait_is_ended_but_no_reply_lost() {
        // E22: the helper is killed while a process that it forked holds its end of the line.
        let (agent, helper) = pair();
        helper.send_reply(&Reply::Done { pid: 7 }, None).unwrap();
        agent.hang_up();
        assert!(matches!(agent.receive_reply(), Ok((Reply::Done { pid: 7 }, None))));
        assert!(matches!(agent.receive_reply(), Err(ChannelError::Closed)));
        drop(helper);
    }

    #[test]
    fn garbage_is_an_error() {
        let (agent, helper) = pair();
        rustix::net::send(&helper.0, b"{\"Done\":{\"pid\":\"x\"}}", SendFlags::empty()).unwrap();
        assert!(matches!(agent.receive_reply(), Err(ChannelError::Malformed(_))));
    }

    #[test]
    fn an_oversized_message_is_refused_on_both_sides() {
        let (agent, helper) = pair();
        let long = Reply::Failed { message: "x".repeat(MAX_MESSAGE) };
        assert!(matches!(helper.send_reply(&long, None), Err(ChannelError::Size)));
        rustix::net::send(&helper.0, &vec![b' '; MAX_MESSAGE + 1], SendFlags::empty()).unwrap();
        assert!(matches!(agent.receive_reply(), Err(ChannelError::Size)));
    }
}
