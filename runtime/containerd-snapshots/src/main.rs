// SPDX-License-Identifier: Apache-2.0
//! `casemate-snapshotter`: a containerd proxy snapshotter that stubs encrypted layers.
//!
//! The host can neither unpack an encrypted layer nor has it any use for one: the guest pulls the
//! image itself. So a layer whose media type ends in `+encrypted` is answered with a committed stub,
//! which spares containerd the download. Every other layer takes the complete path of an overlay
//! snapshotter, so that ordinary containers run beside ours.
//!
//! Nobody trusts this program: it runs on the host, and the guest uses nothing that it makes.

mod chain;
mod content;
mod error;
mod overlay;
mod record;
mod service;
mod store;
mod stub;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use containerd_snapshots::server;
use containerd_snapshots::tonic::transport::Server;
use tokio::net::UnixListener;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_stream::wrappers::UnixListenerStream;

use crate::content::Containerd;
use crate::service::Service;
use crate::store::Store;

/// A containerd proxy snapshotter that stubs encrypted layers.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Directory of the snapshots, on a file system that overlayfs takes as upper directory.
    #[arg(long, default_value = "/var/lib/casemate/snapshots")]
    root: PathBuf,
    /// Socket to listen on; containerd's `proxy_plugins` names it.
    #[arg(long, default_value = "/run/casemate/snapshotter.sock")]
    socket: PathBuf,
    /// containerd's own socket: media types are read from its content store.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    containerd: PathBuf,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    let store = Store::open(&args.root)
        .with_context(|| format!("open the snapshots in {}", args.root.display()))?;
    let service = Service::new(store, Containerd::new(args.containerd));
    if let Some(parent) = args.socket.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    // A socket of an earlier run: nobody can listen on it any more if we may bind there.
    match std::fs::remove_file(&args.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", args.socket.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&args.socket)
        .with_context(|| format!("listen on {}", args.socket.display()))?;
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    Server::builder()
        .add_service(server(Arc::new(service)))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
            terminate.recv().await;
        })
        .await
        .context("serve")?;
    Ok(())
}
