// SPDX-License-Identifier: Apache-2.0
//! A cpio archive in the "newc" form (kernel documentation, "initramfs buffer format").

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, 0o040_755, b"");
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, 0o100_000 | mode, content);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name) = (content.len(), path.len() + 1);
        // Magic, inode, mode, uid, gid, links, time, size, four device numbers, name, checksum.
        self.bytes.extend(
            format!(
                "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}\
                 {name:08x}{:08x}",
                self.entries, 0, 0, 1, 0, 0, 0, 0, 0, 0
            )
            .into_bytes(),
        );
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}
