// SPDX-License-Identifier: Apache-2.0
//! ttrpc over a stream of the multiplexer.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::transport::Socket;

use crate::mux::Handle;
use crate::mux::MuxStream;
use crate::mux::OpenError;
use crate::mux::StreamKind;
use crate::service::Agent;
use crate::service::AgentClient;
use crate::service::create_agent;

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
    streams: mpsc::Sender<MuxStream>,
    /// Serves as long as it lives.
    _server: Server,
}

impl ApiServer {
    /// Starts to serve `agent` on the streams that [`Self::serve`] hands over.
    ///
    /// # Errors
    ///
    /// [`ttrpc::Error`] when the server does not start.
    pub async fn start(agent: Arc<dyn Agent + Send + Sync>) -> Result<Self, ttrpc::Error> {
        let (streams, incoming) = mpsc::channel::<MuxStream>(BACKLOG);
        let incoming = futures_util::stream::unfold(incoming, |mut incoming| async {
            let stream = incoming.recv().await?;
            Some((Ok::<_, io::Error>(stream), incoming))
        });
        let mut server = Server::new()
            .add_listener(Listener::new(incoming))
            .register_service(create_agent(agent));
        server.start().await?;
        Ok(Self { streams, _server: server })
    }

    /// Serves calls that come on `stream`, a stream of kind [`StreamKind::Rpc`].
    pub async fn serve(&mut self, stream: MuxStream) {
        // The server only ends with `self`.
        drop(self.streams.send(stream).await);
    }
}
