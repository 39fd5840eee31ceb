// SPDX-License-Identifier: Apache-2.0
//! Connections of the host, one after the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::mux;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::rpc::ApiServer;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::pace::Answers;
use crate::service::Guest;

/// Where connections of the host come from: a virtio-serial port, later vsock.
#[async_trait]
pub trait Transport: Send {
    /// One connection.
    type Io: AsyncRead + AsyncWrite + Send + 'static;

    /// Waits for the host.
    ///
    /// # Errors
    ///
    /// When there will be no connection any more.
    async fn accept(&mut self) -> io::Result<Self::Io>;
}

/// Serves the API until the transport fails. Containers outlive a connection, and output that
/// nobody has read waits for the next one.
///
/// # Errors
///
/// What the transport says, or when the server does not start.
pub async fn serve(mut transport: impl Transport, guest: Guest) -> io::Result<()> {
    let answers = Arc::new(Answers::new(guest.audit()));
    let mut api = ApiServer::start_witnessed(Arc::new(guest.clone()), answers)
        .await
        .map_err(io::Error::other)?;
    loop {
        let io = transport.accept().await?;
        let (handle, mut incoming, driver) = mux::connect(io, Role::Guest);
        let driver = tokio::spawn(driver);
        while let Some((kind, stream)) = incoming.accept().await {
            match kind {
                StreamKind::Rpc => api.serve(stream).await,
                kind => guest.attach(kind, stream),
            }
        }
        let reason = handle.ended().await;
        tracing::info!(%reason, "connection of the host has ended");
        driver.abort();
        // A host that connects and breaks off at once shall not keep the guest busy.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells the host why the guest does not start, once it connects; then returns.
pub(crate) async fn refuse(transport: &mut impl Transport, error: &ApiError) {
    for _ in 0..REFUSALS {
        let Ok(Ok(io)) = tokio::time::timeout(HOST_PATIENCE, transport.accept()).await else {
            return;
        };
        let (handle, _incoming, driver) = mux::connect(io, Role::Guest);
        handle.fatal(error.code(), error.detail());
        let end = tokio::time::timeout(HOST_PATIENCE, driver).await;
        if matches!(end, Ok(mux::End::Closed)) {
            // What was written lies in the host's queue; it ends the VM when it has read it.
            tokio::time::sleep(READ_TIME).await;
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(20);
/// Broken connections after which a refusing guest gives up telling.
const REFUSALS: u32 = 100;
/// How long a refusing guest waits for a host.
const HOST_PATIENCE: Duration = Duration::from_secs(60);
/// How long a refusing guest stays for the host to read its reason.
const READ_TIME: Duration = Duration::from_secs(1);
