// SPDX-License-Identifier: Apache-2.0
//! The multiplexer's wire format by hand, for frames that no honest end would write.

use std::time::Duration;

use anyhow::ensure;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// A host's end of a connection after the preface.
pub(crate) struct Raw {
    io: UnixStream,
    read: Vec<u8>,
}

impl Raw {
    /// Says hello as a host and reads the guest's answer.
    pub(crate) async fn connect(mut io: UnixStream) -> anyhow::Result<Self> {
        let hello = [b"CASEMUX\n".as_slice(), &[1, 0, 1, 0], &[0; 8]].concat();
        io.write_all(&hello).await?;
        let mut answer = [0; 20];
        io.read_exact(&mut answer).await?;
        ensure!(answer[..8] == hello[..8], "the guest does not say hello: {answer:?}");
        Ok(Self { io, read: Vec::new() })
    }

    /// Sends bytes. A connection that the guest has ended is no error here.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let _ = self.io.write_all(bytes).await;
        Ok(())
    }

    /// Waits until the guest ends the connection.
    pub(crate) async fn until_end(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(1..) = self.io.read(&mut buffer).await {}
    }

    /// Counts the streams that the guest refuses until it is silent for `patience`.
    pub(crate) async fn resets(&mut self, patience: Duration) -> anyhow::Result<u32> {
        let mut buffer = [0; 4096];
        while let Ok(read) = tokio::time::timeout(patience, self.io.read(&mut buffer)).await {
            let read = read?;
            ensure!(read > 0, "the guest ended the connection");
            self.read.extend_from_slice(&buffer[..read]);
        }
        let mut resets = 0;
        while let Some(header) = self.read.first_chunk::<12>() {
            let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
            let end = 12 + length as usize;
            if self.read.len() < end {
                break;
            }
            resets += u32::from(header[0] == 5);
            self.read.drain(..end);
        }
        Ok(resets)
    }
}

/// A frame of a connection whose epoch is zero; `length` may lie.
pub(crate) fn frame(kind: u8, stream: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let numbers = [stream.to_le_bytes(), length.to_le_bytes()].concat();
    [[kind, 0, 0, 0].as_slice(), &numbers, payload].concat()
}
