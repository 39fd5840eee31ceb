// SPDX-License-Identifier: Apache-2.0
//! The shim itself: serves one pod until containerd has no use for it any more.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use casemate_vmm::QemuVmm;
use containerd_shim::Flags;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;

use super::ActionError;
use super::start::TTRPC_ADDRESS;
use crate::containerd::ContainerdImages;
use crate::error::ShimError;
use crate::events::Publisher;
use crate::logging;
use crate::logging::Verbosity;
use crate::outside::KernelNetworking;
use crate::outside::Outside;
use crate::pod::Pod;
use crate::service::TaskService;

/// Serves the pod whose sandbox is on the command line.
pub(super) async fn serve(flags: &Flags) -> Result<(), ActionError> {
    let id = super::id(flags)?;
    let verbosity = if flags.debug { Verbosity::Debug } else { Verbosity::Normal };
    logging::start(Path::new("log"), verbosity);
    let ttrpc_address = std::env::var(TTRPC_ADDRESS)
        .map_err(|_| ActionError::Environment { name: TTRPC_ADDRESS })?;
    ignore_signals().map_err(ActionError::Runtime)?;
    let socket = flags.socket.strip_prefix("unix://").unwrap_or(&flags.socket);
    let listener = bind(Path::new(socket))?;
    let publisher = Publisher::start(ttrpc_address, flags.namespace.clone());
    let outside = Outside {
        vmm: Box::new(QemuVmm::new()),
        network: Box::new(KernelNetworking),
        images: Box::new(ContainerdImages {
            address: flags.address.clone(),
            namespace: flags.namespace.clone(),
        }),
        events: Box::new(publisher.clone()),
    };
    let pod = Pod::new(id, flags.namespace.clone(), outside);
    let mut server = Server::new()
        .add_listener(Listener::try_from(listener).map_err(ActionError::Runtime)?)
        .register_service(TaskService::new(Arc::clone(&pod)).into_services());
    server.start().await.map_err(ActionError::Serve)?;
    release_starter()?;
    tracing::info!(sandbox = %flags.id, "shim serves");
    pod.wait_quit().await;
    // The answer to the shutdown request is still on its way.
    tokio::time::sleep(LAST_ANSWERS).await;
    if let Err(error) = server.shutdown().await {
        tracing::warn!(%error, "server not shut down");
    }
    pod.end().await;
    publisher.flush(LAST_EVENTS).await;
    let _ = std::fs::remove_file(socket);
    tracing::info!(sandbox = %flags.id, "shim ends");
    Ok(())
}

/// Binds the socket. One that a shim of the same pod left behind is replaced; one that is served is
/// not.
fn bind(path: &Path) -> Result<UnixListener, ActionError> {
    let failed = |source| ShimError::File { action: "bind", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(failed(error).into());
            }
            std::fs::remove_file(path).map_err(failed)?;
            Ok(UnixListener::bind(path).map_err(failed)?)
        }
        other => Ok(other.map_err(failed)?),
    }
}

/// `start` waits until this end of its pipe closes.
fn release_starter() -> Result<(), ActionError> {
    let null =
        std::fs::File::options().write(true).open("/dev/null").map_err(ActionError::Output)?;
    rustix::stdio::dup2_stdout(&null).map_err(|errno| ActionError::Output(errno.into()))
}

/// The pod ends by containerd's word alone; a stray signal must not take it down.
fn ignore_signals() -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut stream = signal(kind)?;
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                tracing::info!(signal = kind.as_raw_value(), "signal ignored");
            }
        });
    }
    Ok(())
}

const LAST_ANSWERS: Duration = Duration::from_millis(50);
const LAST_EVENTS: Duration = Duration::from_secs(5);
