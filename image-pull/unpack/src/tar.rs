// SPDX-License-Identifier: Apache-2.0
//! A reader of tar archives for hostile input.
//!
//! Reads what Go's `archive/tar` reads, since images are made for it: POSIX ustar, PAX, GNU and
//! STAR headers, base-256 numbers, long names, and sparse files of the old GNU and all PAX forms.
//! Published tar crates read long names and PAX headers into memory whatever their size, and leave
//! PAX sparse files to the caller.

mod header;
mod pax;
mod sparse;

use std::io;
use std::io::Read;

use header::Block;
use header::RawHeader;
use pax::PaxRecords;
use sparse::SparseMap;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Name, as it stands in the archive.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// Extended attributes by name.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file of `size` bytes, holes included.
    File {
        size: u64,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
    Fifo,
    /// A character or block device.
    Device,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub(crate) seconds: i64,
    /// Nanoseconds, added.
    pub(crate) nanoseconds: u32,
}

/// A part of a file's content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// So many zeros that are not in the archive.
    Hole(u64),
}

/// Reads an archive from start to end.
pub(crate) struct TarReader<R> {
    input: R,
    /// Bytes of the present entry that are still to come.
    remaining: u64,
    /// Padding after them.
    padding: u64,
    /// Where the present entry's data goes, if it is sparse.
    sparse: Option<SparseMap>,
    buffer: Vec<u8>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, remaining: 0, padding: 0, sparse: None, buffer: vec![0; BUFFER_SIZE] }
    }

    /// The input, where the archive ended.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// Moves to the next entry; `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.read_header_block()? else {
                return if extensions.any() { Err(TarError::Truncated) } else { Ok(None) };
            };
            let header = block.parse()?;
            match header.kind {
                b'x' => extensions.pax = PaxRecords::parse(&self.read_special(&header)?)?,
                b'L' => extensions.path = Some(until_nul(self.read_special(&header)?)),
                b'K' => extensions.link = Some(until_nul(self.read_special(&header)?)),
                // Records for the whole archive: neither Go nor containerd applies them.
                b'g' if !extensions.any() => {
                    PaxRecords::parse(&self.read_special(&header)?)?;
                }
                b'g' => return Err(TarError::Header { what: "order of extended headers" }),
                _ => return self.finish_entry(&block, header, extensions).map(Some),
            }
        }
    }

    /// The next part of the present entry's content; `None` at its end.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, TarError> {
        let mut wanted = self.remaining;
        if let Some(sparse) = &mut self.sparse {
            match sparse.next_part()? {
                Some(sparse::Part::Hole(size)) => return Ok(Some(Chunk::Hole(size))),
                Some(sparse::Part::Data(size)) => wanted = size,
                None => wanted = 0,
            }
        }
        if wanted == 0 {
            return Ok(None);
        }
        let size = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.buffer.len());
        let buffer = self.buffer.get_mut(..size).unwrap_or_default();
        let read = read_some(&mut self.input, buffer)?;
        let count = u64::try_from(read).unwrap_or(u64::MAX);
        self.remaining = self.remaining.saturating_sub(count);
        if let Some(sparse) = &mut self.sparse {
            sparse.consume(count);
        }
        Ok(Some(Chunk::Data(self.buffer.get(..read).unwrap_or_default())))
    }

    fn finish_entry(
        &mut self,
        block: &Block,
        mut header: RawHeader,
        mut extensions: Extensions,
    ) -> Result<Entry, TarError> {
        extensions.pax.apply(&mut header)?;
        if let Some(path) = extensions.path.filter(|p| !p.is_empty()) {
            header.path = path;
        }
        if let Some(link) = extensions.link.filter(|l| !l.is_empty()) {
            header.link = link;
        }
        if header.kind == 0 {
            // The old type of regular files; a slash at the end makes it a directory.
            header.kind = if header.path.ends_with(b"/") { b'5' } else { b'0' };
        }
        let has_data = !matches!(header.kind, b'1'..=b'6');
        self.remaining = if has_data { header.size } else { 0 };
        self.padding = self.remaining.wrapping_neg() % BLOCK_SIZE_U64;
        let mut size = self.remaining;
        self.sparse = self.sparse_map(block, &mut header, &mut extensions.pax)?;
        if let Some(sparse) = &self.sparse {
            size = sparse.real_size();
        }
        let kind = match header.kind {
            b'0' | b'7' | b'S' => Kind::File { size },
            b'1' => Kind::HardLink { target: header.link },
            b'2' => Kind::Symlink { target: header.link },
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            kind => return Err(TarError::Kind { kind, path: shown(&header.path) }),
        };
        Ok(Entry {
            path: header.path,
            kind,
            mode: header.mode & 0o7777,
            uid: header.uid,
            gid: header.gid,
            mtime: header.mtime,
            xattrs: extensions.pax.into_xattrs(),
        })
    }

    /// The map of a sparse file, from wherever its form keeps it.
    fn sparse_map(
        &mut self,
        block: &Block,
        header: &mut RawHeader,
        pax: &mut PaxRecords,
    ) -> Result<Option<SparseMap>, TarError> {
        if header.kind == b'S' {
            let mut map = sparse::Builder::default();
            let mut more = map.add_block(block.sparse_entries())? && block.sparse_extended();
            let mut extended = block.sparse_extended();
            while extended {
                let Some(block) = self.read_block()? else { return Err(TarError::Truncated) };
                more = more && map.add_block(block.extension_entries())?;
                extended = block.extension_extended();
            }
            return map.finish(block.sparse_real_size()?, self.remaining).map(Some);
        }
        let Some(form) = pax.sparse_form(&mut header.path)? else { return Ok(None) };
        if !matches!(header.kind, b'0' | b'7') {
            return Err(TarError::Sparse);
        }
        match form {
            pax::SparseForm::InHeader { map, real_size } => {
                map.finish(real_size, self.remaining).map(Some)
            }
            pax::SparseForm::InData { real_size } => {
                let map = self.read_sparse_data()?;
                map.finish(real_size, self.remaining).map(Some)
            }
        }
    }

    /// The map of a sparse file in the PAX 1.0 form: decimal lines at the start of its data, filled
    /// up to a whole block.
    fn read_sparse_data(&mut self) -> Result<sparse::Builder, TarError> {
        let mut lines = sparse::Lines::default();
        while !lines.complete()? {
            if self.remaining < BLOCK_SIZE_U64 {
                return Err(TarError::Sparse);
            }
            let Some(block) = self.read_block()? else { return Err(TarError::Truncated) };
            self.remaining = self.remaining.saturating_sub(BLOCK_SIZE_U64);
            lines.add(block.bytes())?;
        }
        lines.into_builder()
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        self.sparse = None;
        let skip = self.remaining.saturating_add(self.padding);
        let skipped = io::copy(&mut self.input.by_ref().take(skip), &mut io::sink())
            .map_err(|source| TarError::Read { source })?;
        if skipped != skip {
            // The padding of the very last entry may be missing.
            if skipped < self.remaining {
                return Err(TarError::Truncated);
            }
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads the content of an extended header.
    fn read_special(&mut self, header: &RawHeader) -> Result<Vec<u8>, TarError> {
        if header.size > MAX_SPECIAL {
            return Err(TarError::Special { size: header.size });
        }
        let mut content = Vec::new();
        self.input
            .by_ref()
            .take(header.size)
            .read_to_end(&mut content)
            .map_err(|source| TarError::Read { source })?;
        if u64::try_from(content.len()) != Ok(header.size) {
            return Err(TarError::Truncated);
        }
        self.padding = header.size.wrapping_neg() % BLOCK_SIZE_U64;
        self.skip_data()?;
        Ok(content)
    }

    /// The next header; `None` at the end: two blocks of zeros, or the end of the input.
    fn read_header_block(&mut self) -> Result<Option<Block>, TarError> {
        let Some(block) = self.read_block()? else { return Ok(None) };
        if !block.is_zero() {
            return Ok(Some(block));
        }
        match self.read_block()? {
            Some(second) if !second.is_zero() => Err(TarError::Header { what: "end of archive" }),
            _ => Ok(None),
        }
    }

    fn read_block(&mut self) -> Result<Option<Block>, TarError> {
        let mut bytes = [0; BLOCK_SIZE];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|r| !r.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { source }),
            }
        }
        Ok(Some(Block::new(bytes)))
    }
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The archive cannot be read or decompressed.
    #[error("failed to read or decompress the archive")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive ends inside an entry.
    #[error("archive is truncated")]
    Truncated,
    /// A header is malformed.
    #[error("archive header has a malformed {what}")]
    Header {
        /// Which part.
        what: &'static str,
    },
    /// A header's checksum is wrong.
    #[error("archive header has a wrong checksum")]
    Checksum,
    /// An extended header is malformed.
    #[error("archive has a malformed PAX record")]
    Pax,
    /// An extended header is over the cap.
    #[error("extended header has {size} bytes, more than {MAX_SPECIAL}")]
    Special {
        /// Its size in bytes.
        size: u64,
    },
    /// A sparse file's map is malformed.
    #[error("archive has a malformed sparse file")]
    Sparse,
    /// An entry is of a type that has no place in a layer.
    #[error("entry {path:?} is of unknown type {kind:#04x}")]
    Kind {
        /// The entry's name.
        path: String,
        /// The type byte of its header.
        kind: u8,
    },
}

/// Names in errors: at most this many characters, and nothing that acts on a terminal.
pub(crate) fn shown(path: &[u8]) -> String {
    const MAX_SHOWN: usize = 200;
    String::from_utf8_lossy(path).chars().take(MAX_SHOWN).collect()
}

/// What extended headers say of the entry after them.
#[derive(Default)]
struct Extensions {
    pax: PaxRecords,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn any(&self) -> bool {
        !self.pax.is_empty() || self.path.is_some() || self.link.is_some()
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, TarError> {
    loop {
        match input.read(buffer) {
            Ok(0) => return Err(TarError::Truncated),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(TarError::Read { source }),
        }
    }
}

pub(crate) const BLOCK_SIZE: usize = 512;
const BLOCK_SIZE_U64: u64 = 512;
/// Unit of reading content in bytes.
const BUFFER_SIZE: usize = 64 << 10;
/// Largest extended header in bytes, as in Go's reader.
const MAX_SPECIAL: u64 = 1 << 20;

#[cfg(test)]
mod tests;
