// SPDX-License-Identifier: Apache-2.0
//! Makes tar archives for tests, honest and hostile ones.

#![allow(dead_code, unreachable_pub, reason = "shared by several test binaries")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::as_conversions, reason = "small numbers, trait objects")]
#![allow(clippy::allow_attributes, reason = "not every lint speaks up in every binary")]

/// An archive being made. Owner is whoever runs the test, so that no privilege is needed.
#[derive(Default, Clone)]
pub struct Archive {
    bytes: Vec<u8>,
}

/// A header whose fields a test may choose.
#[derive(Clone)]
pub struct Header {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub size: u64,
    pub magic: [u8; 8],
}

impl Header {
    pub fn new(kind: u8, path: impl AsRef<[u8]>) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            link: Vec::new(),
            kind,
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: 1_700_000_000,
            size: 0,
            magic: *b"ustar\x0000",
        }
    }

    pub fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        put(0, &self.path[..self.path.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.uid).as_bytes());
        put(116, format!("{:07o}\0", self.gid).as_bytes());
        if self.size < 1 << 33 {
            put(124, format!("{:011o}\0", self.size).as_bytes());
        } else {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &self.size.to_be_bytes());
        }
        put(136, format!("{:011o}\0", self.mtime).as_bytes());
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, &self.magic);
        seal(&mut block);
        block
    }
}

/// Puts the right checksum into a header.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Archive {
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.add(Header::new(b'0', path), content)
    }

    pub fn dir(self, path: &str) -> Self {
        self.add(Header::new(b'5', path), "")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.add(Header { link: target.into(), ..Header::new(b'2', path) }, "")
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.add(Header { link: target.into(), ..Header::new(b'1', path) }, "")
    }

    /// A header with its content; the size is the content's.
    pub fn add(self, header: Header, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        let size = content.len() as u64;
        self.raw(&Header { size, ..header }.block()).content(content)
    }

    /// An extended header with PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v)).collect();
        self.add(Header::new(b'x', "pax"), content)
    }

    /// Content with its padding.
    pub fn content(self, content: &[u8]) -> Self {
        let padding = content.len().next_multiple_of(512) - content.len();
        self.raw(content).raw(&vec![0; padding])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The archive with its two blocks of zeros.
    pub fn finish(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }
}

/// A PAX record; its length counts its own digits.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..=8).map(|d| rest + d).find(|l| l.to_string().len() + rest == *l).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
