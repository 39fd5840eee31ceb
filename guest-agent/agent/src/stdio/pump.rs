// SPDX-License-Identifier: Apache-2.0
//! Copies between a process and the streams of the host.

use std::sync::Arc;

use casemate_agent_api::mux::MuxStream;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::sync::mpsc;

use super::AsyncDescriptor;

/// Bytes copied at once; nothing is read ahead of a stream that takes it.
const CHUNK: usize = 16 * 1024;

/// Copies a process's output to the host, over as many streams as it takes.
pub(super) async fn output(mut process: AsyncDescriptor, mut hosts: mpsc::Receiver<MuxStream>) {
    // Taken from the process and not read by any host.
    let mut kept = Vec::new();
    let mut has_ended = false;
    while let Some(mut host) = hosts.recv().await {
        let broke = !(send(&mut host, &mut kept).await
            && (has_ended || copy(&mut process, &mut host, &mut kept, &mut has_ended).await)
            && host.shutdown().await.is_ok()
            && host.delivered().await.is_ok());
        if !broke {
            return finish(hosts).await;
        }
        // In the order in which the process wrote: first what was on its way.
        let mut unread = host.into_unacknowledged();
        unread.append(&mut kept);
        kept = unread;
    }
}

/// Copies what the host writes to a process until the host closes the stream for good.
pub(super) async fn input(
    mut process: AsyncDescriptor,
    mut hosts: mpsc::Receiver<MuxStream>,
    close: Arc<Notify>,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut host = tokio::select! {
            biased;
            host = hosts.recv() => match host {
                Some(host) => host,
                None => return,
            },
            () = close.notified() => break,
        };
        loop {
            let count = tokio::select! {
                // What has come goes to the process before the end does.
                biased;
                count = host.read(&mut buffer) => count,
                () = close.notified() => Ok(0),
            };
            match count {
                Ok(0) => {
                    drop(process);
                    end(host).await;
                    return finish(hosts).await;
                }
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if process.write_all(bytes).await.is_err() {
                        // The process reads no more; resetting the stream tells the host.
                        return;
                    }
                }
                // The connection broke: the process waits for the next one.
                Err(_) => break,
            }
        }
    }
    drop(process);
    finish(hosts).await;
}

/// Reads a process's output and forgets it.
pub(super) async fn drain(mut process: AsyncDescriptor) {
    let mut buffer = vec![0; CHUNK];
    while matches!(process.read(&mut buffer).await, Ok(count) if count > 0) {}
}

/// Ends a stream that carries nothing.
pub(super) async fn end(mut stream: MuxStream) {
    // Fails only if the host is gone.
    drop(stream.shutdown().await);
}

/// Later streams of an ended process are empty.
async fn finish(mut hosts: mpsc::Receiver<MuxStream>) {
    while let Some(host) = hosts.recv().await {
        end(host).await;
    }
}

/// Writes `kept` and empties it; what was accepted is the stream's to return.
async fn send(host: &mut MuxStream, kept: &mut Vec<u8>) -> bool {
    while !kept.is_empty() {
        match host.write(kept).await {
            Ok(count) => drop(kept.drain(..count)),
            Err(_) => return false,
        }
    }
    true
}

/// Copies until the process has closed its end (true) or the host's stream breaks (false).
async fn copy(
    process: &mut AsyncDescriptor,
    host: &mut MuxStream,
    kept: &mut Vec<u8>,
    has_ended: &mut bool,
) -> bool {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = tokio::select! {
            count = process.read(&mut buffer) => count.unwrap_or(0),
            () = host.broken() => return false,
        };
        if count == 0 {
            *has_ended = true;
            return true;
        }
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if !send(host, kept).await {
            return false;
        }
    }
}
