// SPDX-License-Identifier: Apache-2.0
//! As much of the GDB remote protocol as reading and writing one byte takes.
//!
//! Addresses are those of the first vCPU, which has no paging yet. A debugger's write reaches ROM.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) struct Gdb(UnixStream);

impl Gdb {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self(UnixStream::connect(socket).await.unwrap())
    }

    pub(crate) async fn read(&mut self, address: u64) -> u8 {
        let answer = self.command(&format!("m{address:x},1")).await;
        u8::from_str_radix(&answer, 16).unwrap()
    }

    pub(crate) async fn write(&mut self, address: u64, byte: u8) {
        assert_eq!(self.command(&format!("M{address:x},1:{byte:02x}")).await, "OK");
    }

    pub(crate) async fn detach(mut self) {
        self.command("D").await;
    }

    async fn command(&mut self, text: &str) -> String {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        self.0.write_all(format!("${text}#{sum:02x}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // "+$answer#cs"
        while answer.iter().rev().nth(2).is_none_or(|byte| *byte != b'#') {
            answer.push(self.0.read_u8().await.unwrap());
        }
        self.0.write_all(b"+").await.unwrap();
        let start = answer.iter().position(|byte| *byte == b'$').unwrap();
        String::from_utf8(answer[start + 1..answer.len() - 3].to_vec()).unwrap()
    }
}
