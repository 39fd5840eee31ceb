// SPDX-License-Identifier: Apache-2.0
//! ttrpc over a stream of the multiplexer.

mod calls;
mod frames;
mod witness;

use std::io;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::transport::Socket;

use crate::mux::Handle;
use crate::mux::OpenError;
use crate::mux::StreamKind;
use crate::service::Agent;
use crate::service::AgentClient;
use crate::service::create_agent;

pub use frames::MAX_FRAME;
pub use witness::Call;
pub use witness::Outcome;
pub use witness::Witness;

use frames::Watched;

/// RPC streams that wait for the server.
const BACKLOG: usize = 4;

/// The host's client of the agent API. Call it inside a tokio runtime.
///
/// # Errors
///
/// [`OpenError`] when the connection takes no further stream.
pub fn client(connection: &Handle) -> Result<AgentClient, OpenError> {
    raw_client(connection).map(AgentClient::new)
}

/// A client that sends any message under any name; for tests of the guest.
///
/// # Errors
///
/// [`OpenError`] when the connection takes no further stream.
pub fn raw_client(connection: &Handle) -> Result<Client, OpenError> {
    let stream = connection.open(StreamKind::Rpc)?;
    Ok(Client::new(Socket::new(stream)))
}

/// The guest's server of the agent API: it outlives connections.
pub struct ApiServer {
    streams: mpsc::Sender<Box<dyn Io>>,
    witness: Arc<dyn Witness>,
    methods: Arc<frames::Methods>,
    /// Serves as long as it lives.
    _server: Server,
}

/// A stream that the server takes.
trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Io for S {}

impl ApiServer {
    /// Starts to serve `agent` on the streams that [`Self::serve`] hands over; nobody hears of the
    /// calls. For doubles of the guest.
    ///
    /// # Errors
    ///
    /// [`ttrpc::Error`] when the server does not start.
    pub async fn start(agent: Arc<dyn Agent + Send + Sync>) -> Result<Self, ttrpc::Error> {
        Self::start_witnessed(agent, Arc::new(witness::Nobody)).await
    }

    /// The same; `witness` hears of every call, also of those that no method of `agent` sees.
    ///
    /// # Errors
    ///
    /// [`ttrpc::Error`] when the server does not start.
    pub async fn start_witnessed(
        agent: Arc<dyn Agent + Send + Sync>,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, ttrpc::Error> {
        let (streams, incoming) = mpsc::channel::<Box<dyn Io>>(BACKLOG);
        let incoming = futures_util::stream::unfold(incoming, |mut incoming| async {
            let stream = incoming.recv().await?;
            Some((Ok::<_, io::Error>(stream), incoming))
        });
        let services = calls::watch(create_agent(agent), &witness);
        let methods = Arc::new(frames::Methods::of(&services));
        let mut server =
            Server::new().add_listener(Listener::new(incoming)).register_service(services);
        server.start().await?;
        Ok(Self { streams, witness, methods, _server: server })
    }

    /// Serves calls that come on `stream`, a stream of kind [`StreamKind::Rpc`].
    pub async fn serve(
        &mut self,
        stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
    ) {
        let watched = Watched::new(stream, Arc::clone(&self.methods), Arc::clone(&self.witness));
        // The server only ends with `self`.
        drop(self.streams.send(Box::new(watched)).await);
    }
}
