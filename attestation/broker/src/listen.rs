// SPDX-License-Identifier: Apache-2.0
//! Accepts TLS connections and serves HTTP on them, within bounds.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::api::Broker;
use crate::api::Peer;
use crate::api::REQUEST_TIMEOUT;
use crate::api::router;
use crate::error::BrokerError;

/// Serves until `shutdown` resolves, then lets running requests end within their own deadline.
///
/// # Errors
///
/// [`BrokerError`] when the folder's certificate or key cannot be used.
pub async fn serve(
    listener: TcpListener,
    broker: Broker,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
    let acceptor = TlsAcceptor::from(Arc::new(broker.tls_config()?));
    let broker = Arc::new(broker);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let (closing, close) = watch::channel(());
    tokio::pin!(shutdown);
    loop {
        let slot = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                connections.spawn(connection(
                    stream,
                    address,
                    acceptor.clone(),
                    Arc::clone(&broker),
                    close.clone(),
                    slot,
                ));
            }
            Err(error) => {
                // Out of descriptors or a connection that was reset: others can still be served.
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, closing));
    let rest = async { while connections.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_TIMEOUT, rest).await.is_err() {
        connections.abort_all();
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    broker: Arc<Broker>,
    mut close: watch::Receiver<()>,
    _slot: OwnedSemaphorePermit,
) {
    let tls = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let service = TowerToHyperService::new(router(broker, Peer(address.ip())));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(tls), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = sleep(CONNECTION_LIFETIME) => None,
        // An error: the sender is gone, the server shuts down.
        _ = close.changed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            timeout(REQUEST_TIMEOUT, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// Most connections at a time; the next ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 512;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is closed after this time, also an idle one, so that nobody can hold all of them.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Size of the buffer that request line and headers must fit in, bytes.
const MAX_HEADER_BYTES: usize = 32 << 10;
