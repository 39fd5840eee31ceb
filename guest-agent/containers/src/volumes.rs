// SPDX-License-Identifier: Apache-2.0
//! The pod's volumes: directories in the guest's memory that its containers share by name.
//!
//! A volume either belongs to the containers (emptyDir) or holds content that came from outside, in
//! immutable revisions. Such a revision is a directory of its own; `..data` points at the present
//! one and is swapped in one step, and each file has a link `name -> ..data/name` beside it, as
//! kubelet lays volumes out. Who has a file open keeps its old content.
//!
//! ```text
//! conf/..2/app.conf
//! conf/..data -> ..2
//! conf/app.conf -> ..data/app.conf
//! ```
//!
//! # Security
//!
//! A13, A14, A15: names are single components; every name is resolved by openat2(2) below a
//! directory that is already open, and no link on the way is followed, whoever made it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;

/// The volumes below one directory, which nobody but the agent can reach by name.
#[derive(Debug)]
pub struct VolumeStore {
    path: PathBuf,
    root: OwnedFd,
}

/// One file of a revision.
#[derive(Debug, Clone, Copy)]
pub struct VolumeFile<'a> {
    /// One component of a path, not beginning with `..`.
    pub name: &'a str,
    /// All of its bytes.
    pub content: &'a [u8],
}

impl VolumeStore {
    /// The volumes below `path`, an existing directory.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: PathBuf) -> Result<Self, VolumeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("open", "."))?;
        Ok(Self { path, root })
    }

    /// Path of a volume's directory.
    ///
    /// # Errors
    ///
    /// When the name is no single component.
    pub fn directory(&self, volume: &str) -> Result<PathBuf, VolumeError> {
        component(volume)?;
        Ok(self.path.join(volume))
    }

    /// Makes `files` the present content of a volume and returns the number of the revision, which
    /// grows. Earlier revisions are removed: what of them is open or mounted lives on.
    ///
    /// # Errors
    ///
    /// When a name is no single component or the guest's memory is used up; the volume is as it was
    /// then.
    pub fn put(&self, volume: &str, files: &[VolumeFile<'_>]) -> Result<u64, VolumeError> {
        component(volume)?;
        let mut names = BTreeSet::new();
        for file in files {
            component(file.name)?;
            if !names.insert(file.name) {
                return Err(VolumeError::Name { name: file.name.to_owned() });
            }
        }
        let directory = self.make(volume, SHARED)?;
        let before = present(directory.as_fd())?;
        let revision = before.unwrap_or(0).saturating_add(1);
        let swapped = write_revision(directory.as_fd(), revision, files)
            .and_then(|()| swap(directory.as_fd(), revision));
        if let Err(error) = swapped {
            // What a failed attempt leaves is in nobody's way: the next one has the same number.
            if let Err(left) = remove_revision(directory.as_fd(), revision) {
                tracing::warn!(volume, error = %left, "a failed revision left something");
            }
            return Err(error);
        }
        link_names(directory.as_fd(), &names)?;
        if let Some(before) = before {
            remove_revision(directory.as_fd(), before)?;
        }
        Ok(revision)
    }

    /// Makes the directory of an emptyDir, writable for every user of the pod as kubelet's is. True
    /// if it was not there before.
    ///
    /// # Errors
    ///
    /// When the name is no single component or the directory cannot be made.
    pub fn make_empty(&self, volume: &str) -> Result<bool, VolumeError> {
        component(volume)?;
        let is_new = rustix::fs::statat(&self.root, volume, AtFlags::SYMLINK_NOFOLLOW).is_err();
        self.make(volume, WRITABLE)?;
        Ok(is_new)
    }

    /// Opens what a `sub_path` of an emptyDir names, for a mount; directories that are missing are
    /// made.
    ///
    /// # Errors
    ///
    /// When a container has put a link in the way (A13), or a file.
    pub fn sub_directory(&self, volume: &str, sub_path: &str) -> Result<OwnedFd, VolumeError> {
        component(volume)?;
        let mut directory = open_directory(self.root.as_fd(), volume)?;
        for name in sub_path.split('/') {
            component(name)?;
            directory = make_directory(directory.as_fd(), name, WRITABLE)?;
        }
        Ok(directory)
    }

    /// Opens what a `sub_path` of a volume with content names, for a mount: it shows the present
    /// revision for good, as kubelet's does.
    ///
    /// # Errors
    ///
    /// When there is no content or no such file in it.
    pub fn sub_file(&self, volume: &str, sub_path: &str) -> Result<OwnedFd, VolumeError> {
        component(volume)?;
        component(sub_path)?;
        let directory = self.content(volume)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        resolve(directory.as_fd(), sub_path, flags, Mode::empty()).map_err(failed("open", sub_path))
    }

    /// Opens the present revision.
    ///
    /// # Errors
    ///
    /// [`VolumeError::NoContent`] when there is none.
    pub fn content(&self, volume: &str) -> Result<OwnedFd, VolumeError> {
        component(volume)?;
        let none = || VolumeError::NoContent { volume: volume.to_owned() };
        let directory = match open_directory(self.root.as_fd(), volume) {
            Err(VolumeError::Io { source: Errno::NOENT, .. }) => return Err(none()),
            other => other?,
        };
        let revision = present(directory.as_fd())?.ok_or_else(none)?;
        open_directory(directory.as_fd(), &revision_name(revision))
    }

    fn make(&self, volume: &str, mode: Mode) -> Result<OwnedFd, VolumeError> {
        make_directory(self.root.as_fd(), volume, mode)
    }
}

/// A13: one component of a path that means nothing but itself.
fn component(name: &str) -> Result<(), VolumeError> {
    let plain = !name.is_empty()
        && name.len() <= MAX_NAME
        && name != "."
        && !name.starts_with("..")
        && !name.contains(['/', '\0']);
    if plain { Ok(()) } else { Err(VolumeError::Name { name: name.to_owned() }) }
}

/// A13: opens `name` below `directory` and nowhere else.
fn resolve(
    directory: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(directory, name, flags | OFlags::CLOEXEC, mode, beneath) {
            // Something was renamed while the kernel looked.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

fn open_directory(above: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, VolumeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    resolve(above, name, flags, Mode::empty()).map_err(failed("open", name))
}

/// Makes and opens a directory; one that is there is opened as it is.
fn make_directory(above: BorrowedFd<'_>, name: &str, mode: Mode) -> Result<OwnedFd, VolumeError> {
    match rustix::fs::mkdirat(above, name, mode) {
        Ok(()) => {
            let directory = open_directory(above, name)?;
            // Past the agent's umask.
            rustix::fs::fchmod(&directory, mode).map_err(failed("set the mode of", name))?;
            Ok(directory)
        }
        Err(Errno::EXIST) => open_directory(above, name),
        Err(errno) => Err(failed("make", name)(errno)),
    }
}

/// Number of the present revision.
fn present(directory: BorrowedFd<'_>) -> Result<Option<u64>, VolumeError> {
    match rustix::fs::readlinkat(directory, DATA, Vec::new()) {
        Ok(target) => {
            let number = target.to_str().ok().and_then(|text| text.strip_prefix(".."));
            Ok(number.and_then(|number| number.parse().ok()))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("read", DATA)(errno)),
    }
}

fn revision_name(revision: u64) -> String {
    format!("..{revision}")
}

fn write_revision(
    directory: BorrowedFd<'_>,
    revision: u64,
    files: &[VolumeFile<'_>],
) -> Result<(), VolumeError> {
    let name = revision_name(revision);
    rustix::fs::mkdirat(directory, &*name, SHARED).map_err(failed("make", &name))?;
    let inside = open_directory(directory, &name)?;
    for file in files {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let opened = resolve(inside.as_fd(), file.name, flags, READABLE);
        let opened = opened.map_err(failed("make", file.name))?;
        File::from(opened).write_all(file.content).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
            failed("write", file.name)(errno)
        })?;
    }
    Ok(())
}

/// A14: from here on readers see the revision, all of it.
fn swap(directory: BorrowedFd<'_>, revision: u64) -> Result<(), VolumeError> {
    match rustix::fs::unlinkat(directory, NEXT, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed("remove", NEXT)(errno)),
    }
    rustix::fs::symlinkat(revision_name(revision), directory, NEXT)
        .map_err(failed("make", NEXT))?;
    rustix::fs::renameat(directory, NEXT, directory, DATA).map_err(failed("swap", DATA))
}

/// Makes links for files that are new and removes those of files that are gone.
fn link_names(directory: BorrowedFd<'_>, names: &BTreeSet<&str>) -> Result<(), VolumeError> {
    for name in names {
        match rustix::fs::symlinkat(format!("{DATA}/{name}"), directory, *name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("make", name)(errno)),
        }
    }
    for name in entries(directory)? {
        if !name.starts_with("..") && !names.contains(name.as_str()) {
            rustix::fs::unlinkat(directory, &*name, AtFlags::empty())
                .map_err(failed("remove", &name))?;
        }
    }
    Ok(())
}

fn remove_revision(directory: BorrowedFd<'_>, revision: u64) -> Result<(), VolumeError> {
    let name = revision_name(revision);
    let inside = match open_directory(directory, &name) {
        Err(VolumeError::Io { source: Errno::NOENT, .. }) => return Ok(()),
        other => other?,
    };
    for file in entries(inside.as_fd())? {
        rustix::fs::unlinkat(&inside, &*file, AtFlags::empty()).map_err(failed("remove", &file))?;
    }
    rustix::fs::unlinkat(directory, &*name, AtFlags::REMOVEDIR).map_err(failed("remove", &name))
}

/// Names in a directory that only this module writes to.
fn entries(directory: BorrowedFd<'_>) -> Result<Vec<String>, VolumeError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed("list", "."))? {
        let entry = entry.map_err(failed("list", "."))?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(Errno) -> VolumeError + use<> {
    let name = name.to_owned();
    move |source| VolumeError::Io { action, name, source }
}

/// A volume could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The name is no single component of a path, or stands twice.
    #[error("{name:?} is no name for a volume's file")]
    Name {
        /// The name.
        name: String,
    },
    /// Nothing was put into the volume.
    #[error("volume {volume} has no content yet")]
    NoContent {
        /// The volume.
        volume: String,
    },
    /// A system call failed. `ENOSPC` means that the guest's memory is used up, `ELOOP` that a link
    /// was in the way.
    #[error("failed to {action} {name:?} in a volume")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        name: String,
        /// The cause.
        #[source]
        source: Errno,
    },
}

/// Link to the present revision, and its name before the swap.
const DATA: &str = "..data";
const NEXT: &str = "..data_new";
/// Longest name in bytes (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// Everybody reads, the agent alone writes.
const SHARED: Mode = Mode::from_raw_mode(0o755);
const READABLE: Mode = Mode::from_raw_mode(0o444);
/// Any user of the pod writes.
const WRITABLE: Mode = Mode::from_raw_mode(0o777);

#[cfg(test)]
mod tests;
