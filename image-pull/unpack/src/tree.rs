// SPDX-License-Identifier: Apache-2.0
//! The directory that layers are unpacked into, and the only code that touches it.
//!
//! The kernel resolves every path with this directory as its root, as `chroot` would: symbolic
//! links inside are followed as they will be in the container (an upper layer may well write to
//! `lib/x` where a lower one made `lib` a link), and none leads out. The last component of a path is
//! never followed. Nobody else writes here, so that nothing changes between two steps.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;

use crate::metadata::keeping_time;

/// A directory whose content is not verified yet, and a place to take it apart.
pub(crate) struct Tree {
    root: OwnedFd,
    trash: OwnedFd,
    /// Names used in the trash so far.
    trashed: Cell<u64>,
}

impl Tree {
    /// Opens the directories `root` and `trash`, which must be on one file system.
    pub(crate) fn open(root: &Path, trash: &Path) -> io::Result<Self> {
        let open = |path| fs::open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        Ok(Self { root: open(root)?, trash: open(trash)?, trashed: Cell::new(0) })
    }

    /// The directory at `path`, which has no leading slash and no `..`; empty is the root.
    pub(crate) fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        Ok(fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), confined())?)
    }

    /// The directory at `path`, made with its parents where missing.
    pub(crate) fn make_directories(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut path = path.to_vec();
        for _ in 0..MAX_LINKS {
            match self.make_until_link(&path)? {
                Made::All(directory) => return Ok(directory),
                Made::Until { rewritten } => path = rewritten,
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Makes missing directories along `path`, up to a link whose target does not exist: then the
    /// target takes the link's place in the path.
    fn make_until_link(&self, path: &[u8]) -> io::Result<Made> {
        match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(Made::All),
        }
        let mut done: Vec<u8> = Vec::new();
        let mut directory = self.directory(&done)?;
        let mut rest = path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."));
        while let Some(part) = rest.next() {
            let parent = done.clone();
            if !done.is_empty() {
                done.push(b'/');
            }
            done.extend_from_slice(part);
            match self.directory(&done) {
                Ok(found) => directory = found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match make_directory(directory.as_fd(), part) {
                        Ok(()) => directory = self.directory(&done)?,
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                            let target = fs::readlinkat(&directory, part, Vec::new())?;
                            let start =
                                if target.as_bytes().starts_with(b"/") { vec![] } else { parent };
                            let mut rewritten = [start.as_slice(), target.as_bytes()].join(&b'/');
                            for part in rest {
                                rewritten.push(b'/');
                                rewritten.extend_from_slice(part);
                            }
                            if rewritten.len() > MAX_PATH {
                                return Err(Errno::NAMETOOLONG.into());
                            }
                            return Ok(Made::Until { rewritten });
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Made::All(directory))
    }

    /// What `name` in `directory` is, if it exists; a link is not followed.
    pub(crate) fn kind(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> io::Result<Option<FileType>> {
        match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes `name` in `directory` with everything below, if it exists.
    ///
    /// Takes one file descriptor and no stack however deep the tree is: directories that are not
    /// empty are moved to the trash first.
    pub(crate) fn remove(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let first = self.trashed.get();
        self.remove_or_trash(directory, name)?;
        let mut next = first;
        while next < self.trashed.get() {
            let name = next.to_string();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let trash = fs::openat(&self.trash, name.as_str(), flags, Mode::empty())?;
            for child in children(trash.as_fd())? {
                self.remove_or_trash(trash.as_fd(), &child)?;
            }
            fs::unlinkat(&self.trash, name.as_str(), AtFlags::REMOVEDIR)?;
            next = next.saturating_add(1);
        }
        Ok(())
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let root = self.readable(self.root.as_fd())?;
        for child in children(root.as_fd())? {
            self.remove(root.as_fd(), &child)?;
        }
        Ok(())
    }

    /// The names in `directory`.
    pub(crate) fn children(&self, directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
        children(self.readable(directory)?.as_fd())
    }

    fn readable(&self, directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(directory, ".", flags, Mode::empty())?)
    }

    fn remove_or_trash(&self, directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let number = self.trashed.get();
        self.trashed.set(number.saturating_add(1));
        fs::renameat(directory, name, &self.trash, number.to_string())?;
        Ok(())
    }
}

enum Made {
    All(OwnedFd),
    Until { rewritten: Vec<u8> },
}

/// C5: traversal, absolute links, links written through: the kernel does not leave the root.
fn confined() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
}

/// Makes a directory that an archive implies but does not hold.
fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    keeping_time(parent, || Ok(fs::mkdirat(parent, name, mode)?))?;
    // Whatever the process's umask is.
    Ok(fs::chmodat(parent, name, mode, AtFlags::empty())?)
}

fn children(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// How directories are opened to make something in them.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Most links with a missing target on one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Longest path in bytes.
pub(crate) const MAX_PATH: usize = 4096;
