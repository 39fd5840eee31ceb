// SPDX-License-Identifier: Apache-2.0
//! Applying a layer's archive to the layers below (OCI image specification, layer filesystem
//! changeset).

use std::collections::HashSet;
use std::fs::File;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::io;
use std::io::Read;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use ring::digest;
use rustix::fs;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::decompress::Compression;
use crate::decompress::decompress;
use crate::error::UnpackError;
use crate::metadata;
use crate::name;
use crate::name::Name;
use crate::quarantine::Limits;
use crate::tar::Chunk;
use crate::tar::Entry;
use crate::tar::Kind;
use crate::tar::TarError;
use crate::tar::TarReader;
use crate::tar::shown;
use crate::tree::Tree;

/// What a layer took.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) devices: u64,
}

/// Applies the archive in `layer` to `tree` and compares its digest with `diff_id`. `left` is what
/// the layer may take; errors speak of `limits`.
pub(crate) fn apply_archive(
    tree: &Tree,
    layer: &mut dyn Read,
    compression: Compression,
    diff_id: &[u8; 32],
    left: Limits,
    limits: Limits,
) -> Result<Used, UnpackError> {
    let mut archive = Archive::new(layer, compression, left, limits);
    let mut applier = Applier::new(tree);
    while let Some(entry) = archive.next_entry()? {
        applier.apply(&entry, &mut archive)?;
    }
    let (entries, bytes) = archive.finish(diff_id)?;
    Ok(Used { entries, bytes, devices: applier.devices })
}

/// An archive with its limits and its digest.
pub(crate) struct Archive<'a> {
    reader: TarReader<Meter<'a>>,
    entries: u64,
    left: Limits,
    limits: Limits,
}

impl<'a> Archive<'a> {
    pub(crate) fn new(
        layer: &'a mut dyn Read,
        compression: Compression,
        left: Limits,
        limits: Limits,
    ) -> Self {
        let meter = Meter {
            input: decompress(layer, compression),
            digest: digest::Context::new(&digest::SHA256),
            bytes: 0,
            max: left.bytes,
        };
        Self { reader: TarReader::new(meter), entries: 0, left, limits }
    }

    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let entry = self.reader.next_entry().map_err(|e| tar_error(e, &self.limits))?;
        let Some(entry) = entry else { return Ok(None) };
        self.entries = self.entries.saturating_add(1);
        // C5: millions of entries.
        if self.entries > self.left.entries {
            return Err(UnpackError::Entries { max: self.limits.entries });
        }
        if let Kind::File { size } = entry.kind
            && size > self.limits.file_bytes
        {
            let (path, max) = (shown(&entry.path), self.limits.file_bytes);
            return Err(UnpackError::File { path, size, max });
        }
        Ok(Some(entry))
    }

    pub(crate) fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, UnpackError> {
        let limits = self.limits;
        self.reader.next_chunk().map_err(|e| tar_error(e, &limits))
    }

    /// Reads what follows the archive, which counts in its digest, and compares that; returns
    /// entries and bytes read.
    pub(crate) fn finish(self, diff_id: &[u8; 32]) -> Result<(u64, u64), UnpackError> {
        let mut meter = self.reader.into_inner();
        io::copy(&mut meter, &mut io::sink())
            .map_err(|source| tar_error(TarError::Read { source }, &self.limits))?;
        check_diff_id(meter.digest.finish().as_ref(), diff_id)?;
        Ok((self.entries, meter.bytes))
    }
}

/// B3, C4: the archive is the one that the configuration names at this place.
fn check_diff_id(found: &[u8], expected: &[u8; 32]) -> Result<(), UnpackError> {
    if found == expected { Ok(()) } else { Err(UnpackError::DiffId) }
}

/// Counts and hashes an archive.
struct Meter<'a> {
    input: Box<dyn Read + 'a>,
    digest: digest::Context,
    bytes: u64,
    max: u64,
}

impl Read for Meter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.input.read(buffer)?;
        self.digest.update(buffer.get(..size).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        // C5: decompression bombs.
        if self.bytes > self.max {
            return Err(io::Error::other(OverLimit));
        }
        Ok(size)
    }
}

/// Marks the read error of an archive over its limit.
#[derive(Debug, thiserror::Error)]
#[error("archive is over its limit")]
struct OverLimit;

fn tar_error(error: TarError, limits: &Limits) -> UnpackError {
    match error {
        TarError::Read { source } if source.get_ref().is_some_and(|e| e.is::<OverLimit>()) => {
            UnpackError::Bytes { max: limits.bytes }
        }
        TarError::Read { source } => UnpackError::Read { source },
        TarError::Kind { kind, path } => UnpackError::Kind { path, kind },
        source => UnpackError::Tar { source },
    }
}

/// Applies the entries of one layer.
struct Applier<'a> {
    tree: &'a Tree,
    /// What this layer made, since its whiteouts speak of the layers below only.
    made: Made,
    /// The parent directory of the last entry: entries of one directory mostly come together.
    last_parent: Option<Vec<u8>>,
    devices: u64,
}

impl<'a> Applier<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self { tree, made: Made::default(), last_parent: None, devices: 0 }
    }

    fn apply(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), UnpackError> {
        let name = name::parse(&entry.path)?;
        let failed = |action| {
            let path = shown(&entry.path);
            move |source| UnpackError::Entry { path, action, source }
        };
        match name {
            Name::Root => self.apply_root(entry).map_err(failed("set")),
            Name::Ignored => Ok(()),
            Name::Whiteout { parent, name } => {
                self.whiteout(&parent, &name).map_err(failed("whiteout"))
            }
            Name::Opaque { directory } => {
                let directory = self.existing(&directory).map_err(failed("find"))?;
                let Some(directory) = directory else { return Ok(()) };
                self.remove_lower(directory).map_err(failed("clear"))
            }
            Name::Entry { parent, name } => {
                let directory = self.parent(&parent).map_err(failed("make the parent of"))?;
                let before = metadata::time(directory.as_fd()).map_err(failed("find"))?;
                self.make(entry, directory.as_fd(), &name, archive)?;
                metadata::set_time(directory.as_fd(), b".", before).map_err(failed("find"))?;
                self.made.add(directory.as_fd(), &name).map_err(failed("find"))?;
                self.last_parent = Some(parent);
                Ok(())
            }
        }
    }

    fn apply_root(&self, entry: &Entry) -> io::Result<()> {
        if entry.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let root = self.tree.directory(b"")?;
        metadata::set(open(root.as_fd(), b".", DIRECTORY)?.as_fd(), entry)?;
        metadata::set_time(root.as_fd(), b".", entry.mtime)
    }

    /// Makes what `entry` is as `name` in `directory`, in place of what is there.
    fn make(
        &mut self,
        entry: &Entry,
        directory: BorrowedFd<'_>,
        name: &[u8],
        archive: &mut Archive<'_>,
    ) -> Result<(), UnpackError> {
        let failed = |action| {
            let path = shown(&entry.path);
            move |source: io::Error| UnpackError::Entry { path, action, source }
        };
        let present = self.tree.kind(directory, name).map_err(failed("find"))?;
        let stays = entry.kind == Kind::Directory && present == Some(FileType::Directory);
        if present.is_some() && !stays {
            self.tree.remove(directory, name).map_err(failed("replace"))?;
        }
        match &entry.kind {
            Kind::File { size } => {
                let file = open(directory, name, NEW_FILE).map_err(failed("make"))?;
                let mut file = File::from(file);
                write(&mut file, *size, archive, entry)?;
                metadata::set(file.as_fd(), entry).map_err(failed("set the attributes of"))?;
            }
            Kind::Directory => {
                if !stays {
                    fs::mkdirat(directory, name, Mode::RWXU)
                        .map_err(|e| failed("make")(e.into()))?;
                }
                let made = open(directory, name, DIRECTORY).map_err(failed("open"))?;
                metadata::set(made.as_fd(), entry).map_err(failed("set the attributes of"))?;
            }
            Kind::Symlink { target } => {
                fs::symlinkat(target.as_slice(), directory, name)
                    .map_err(|e| failed("make")(e.into()))?;
                metadata::set_link_owner(directory, name, entry)
                    .map_err(failed("set the owner of"))?;
            }
            Kind::HardLink { target } => {
                // Attributes are those of the file that it links to.
                return self.hard_link(target, directory, name).map_err(failed("link"));
            }
            Kind::Fifo => {
                fs::mknodat(directory, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .map_err(|e| failed("make")(e.into()))?;
                let fifo = open(directory, name, FIFO).map_err(failed("open"))?;
                metadata::set(fifo.as_fd(), entry).map_err(failed("set the attributes of"))?;
            }
            // C5: the root is mounted nodev, and nodes in images serve nobody else.
            Kind::Device => {
                self.devices = self.devices.saturating_add(1);
                return Ok(());
            }
        }
        metadata::set_time(directory, name, entry.mtime).map_err(failed("set the time of"))
    }

    /// C5: the target is looked up inside the tree, and only a name of a layer can be meant.
    fn hard_link(&self, target: &[u8], directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let target = name::parse(target).map_err(|_| io::ErrorKind::InvalidInput)?;
        let Name::Entry { parent, name: target } = target else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let parent = self.tree.directory(&parent)?;
        fs::linkat(&parent, target.as_slice(), directory, name, AtFlags::empty())?;
        Ok(())
    }

    /// Removes what lower layers have as `name` in `parent`.
    fn whiteout(&self, parent: &[u8], name: &[u8]) -> io::Result<()> {
        let Some(parent) = self.existing(parent)? else { return Ok(()) };
        if !self.made.contains(parent.as_fd(), name)? {
            let remove = || self.tree.remove(parent.as_fd(), name);
            return metadata::keeping_time(parent.as_fd(), remove);
        }
        if self.tree.kind(parent.as_fd(), name)? == Some(FileType::Directory) {
            return self.remove_lower(open(parent.as_fd(), name, DIRECTORY)?);
        }
        Ok(())
    }

    /// Removes what lower layers have in `directory`; what this layer made stays, whatever the
    /// order of entries and whiteouts.
    fn remove_lower(&self, directory: OwnedFd) -> io::Result<()> {
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            for name in self.tree.children(directory.as_fd())? {
                if !self.made.contains(directory.as_fd(), &name)? {
                    let remove = || self.tree.remove(directory.as_fd(), &name);
                    metadata::keeping_time(directory.as_fd(), remove)?;
                } else if self.tree.kind(directory.as_fd(), &name)? == Some(FileType::Directory) {
                    // Each takes a file descriptor: the depth of honest trees is far below the
                    // system's limit, and an error at the limit is safe.
                    directories.push(open(directory.as_fd(), &name, DIRECTORY)?);
                }
            }
        }
        Ok(())
    }

    fn existing(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        match self.tree.directory(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The directory of an entry, made if missing; it and its parents count as made by this layer.
    fn parent(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let known = self.last_parent.as_deref() == Some(path);
        let directory = self.tree.make_directories(path)?;
        if !known {
            let mut parent = self.tree.directory(b"")?;
            let mut done = Vec::new();
            for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
                self.made.add(parent.as_fd(), part)?;
                if !done.is_empty() {
                    done.push(b'/');
                }
                done.extend_from_slice(part);
                parent = self.tree.directory(&done)?;
            }
        }
        Ok(directory)
    }
}

/// Which names a layer made: by directory and name, as a keyed hash of eight bytes each.
///
/// Two names with one hash would only make a whiteout leave a file of a lower layer; the key is
/// random, so that no image can bring that about.
#[derive(Default)]
struct Made {
    hasher: RandomState,
    names: HashSet<u64>,
}

impl Made {
    fn add(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.names.insert(self.key(directory, name)?);
        Ok(())
    }

    fn contains(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
        Ok(self.names.contains(&self.key(directory, name)?))
    }

    fn key(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<u64> {
        Ok(self.hasher.hash_one((fs::fstat(directory)?.st_ino, name)))
    }
}

/// Writes a file's content; holes stay holes.
fn write(
    file: &mut File,
    size: u64,
    archive: &mut Archive<'_>,
    entry: &Entry,
) -> Result<(), UnpackError> {
    let failed = |source| UnpackError::Entry { path: shown(&entry.path), action: "write", source };
    let mut has_holes = false;
    while let Some(chunk) = archive.next_chunk()? {
        match chunk {
            Chunk::Data(data) => file.write_all(data).map_err(failed)?,
            Chunk::Hole(size) => {
                has_holes = true;
                let size =
                    i64::try_from(size).map_err(|_| failed(io::ErrorKind::FileTooLarge.into()))?;
                file.seek(SeekFrom::Current(size)).map_err(failed)?;
            }
        }
    }
    if has_holes {
        file.set_len(size).map_err(failed)?;
    }
    Ok(())
}

/// Opens `name` in `directory`; a link is not followed.
fn open(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?)
}

const NEW_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const FIFO: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
