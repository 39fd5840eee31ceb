// SPDX-License-Identifier: Apache-2.0
//! Puts a guest image in its place: whole or not at all, and over nothing but an earlier one.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::Manifest;
use crate::verify::BESIDE;

/// The place of an image, in which nothing else lies.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
}

impl Output {
    /// Looks at the place.
    ///
    /// # Errors
    ///
    /// Anything but nothing, an empty folder, or a folder that holds a manifest and no other file
    /// than a build writes: see [`OutputError`].
    pub(crate) fn find(path: &Path) -> Result<Self, OutputError> {
        former(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Writes all files into a folder beside the place, then puts that in.
    pub(crate) fn publish<'f>(
        self,
        files: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<(), OutputError> {
        let name = self.path.file_name().ok_or(OutputError::NoName { path: self.path.clone() })?;
        let beside = |what: &str| {
            let mut name = name.to_owned();
            name.push(format!(".{}.{what}", std::process::id()));
            self.path.with_file_name(name)
        };
        let (partial, aside) = (beside("partial"), beside("former"));
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(OutputError::write(parent))?;
        }
        fs::create_dir(&partial).map_err(OutputError::write(&partial))?;
        let done = write(&partial, files).and_then(|()| self.replace(&partial, &aside));
        if done.is_err() {
            // Of this process alone, by its name.
            let _ = fs::remove_dir_all(&partial);
        }
        done
    }

    fn replace(&self, partial: &Path, aside: &Path) -> Result<(), OutputError> {
        // Once more: the build took its time.
        let former = former(&self.path)?;
        if former.is_empty() {
            // An empty folder gives way.
            return fs::rename(partial, &self.path).map_err(OutputError::write(&self.path));
        }
        fs::rename(&self.path, aside).map_err(OutputError::write(&self.path))?;
        if let Err(source) = fs::rename(partial, &self.path) {
            let _ = fs::rename(aside, &self.path);
            return Err(OutputError::Write { path: self.path.clone(), source });
        }
        // One by one: what came there meanwhile stays, and so does its folder.
        for name in former {
            let path = aside.join(name);
            fs::remove_file(&path).map_err(OutputError::write(&path))?;
        }
        fs::remove_dir(aside).map_err(OutputError::write(aside))
    }
}

fn write<'f>(
    folder: &Path,
    files: impl Iterator<Item = (&'f str, &'f [u8])>,
) -> Result<(), OutputError> {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(OutputError::write(&path))?;
    }
    Ok(())
}

/// Names of the files of an earlier build; none if there is nothing, or an empty folder.
fn former(path: &Path) -> Result<Vec<String>, OutputError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(OutputError::Read { path: path.to_owned(), source }),
    };
    if !kind.is_dir() {
        return Err(OutputError::Taken { path: path.to_owned() });
    }
    let read = |source| OutputError::Read { path: path.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        let is_file = entry.file_type().map_err(read)?.is_file();
        match entry.file_name().into_string() {
            Ok(name) if is_file && is_written(&name) => names.push(name),
            Ok(name) => return Err(OutputError::Holds { path: path.to_owned(), name }),
            Err(name) => {
                let name = name.to_string_lossy().into_owned();
                return Err(OutputError::Holds { path: path.to_owned(), name });
            }
        }
    }
    // A kernel alone may be anybody's.
    if !names.is_empty() && !names.iter().any(|name| name == Manifest::FILE) {
        return Err(OutputError::Taken { path: path.to_owned() });
    }
    Ok(names)
}

/// Whether a build writes a file of this name.
fn is_written(name: &str) -> bool {
    Manifest::PARTS.contains(&name) || BESIDE.contains(&name)
}

/// Why a guest image cannot be put in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Something else than a guest image lies there.
    #[error("{} exists and is not a guest image", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// A guest image lies there, and a file or folder that no build writes: a key, an ID block.
    #[error("{} holds {name}, which no build writes and replacing would remove", path.display())]
    Holds {
        /// The place.
        path: PathBuf,
        /// Name of the file or folder.
        name: String,
    },
    /// The path does not end in a name.
    #[error("{} has no name of its own", path.display())]
    NoName {
        /// The place.
        path: PathBuf,
    },
    /// The place cannot be looked at.
    #[error("failed to read {}", path.display())]
    Read {
        /// The place.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl OutputError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const FILES: [(&str, &[u8]); 2] = [(Manifest::FILE, b"new"), (Manifest::KERNEL, b"kernel")];

    fn publish(path: &Path) -> Result<(), OutputError> {
        Output::find(path)?.publish(FILES.into_iter())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_nothing_an_empty_folder_and_an_earlier_image() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        publish(&out).unwrap();
        fs::remove_file(out.join(Manifest::FILE)).unwrap();
        fs::remove_file(out.join(Manifest::KERNEL)).unwrap();
        publish(&out).unwrap();
        for name in Manifest::PARTS.into_iter().chain(BESIDE) {
            fs::write(out.join(name), "old").unwrap();
        }
        publish(&out).unwrap();
        assert_eq!(names(&out), [Manifest::FILE, Manifest::KERNEL]);
        assert_eq!(fs::read(out.join(Manifest::FILE)).unwrap(), b"new");
        // Nothing is left beside it.
        assert_eq!(names(&folder.path().join("a")), ["b"]);
    }

    #[test]
    fn removes_nothing_that_no_build_writes() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("image");
        publish(&out).unwrap();
        for foreign in ["release.pem", "id-block-1.bin", "id-auth-1.bin", ".hidden", "kernel.old"] {
            fs::write(out.join(foreign), "mine").unwrap();
            let error = publish(&out).unwrap_err();
            assert!(
                matches!(&error, OutputError::Holds { name, .. } if name == foreign),
                "{error}"
            );
            assert_eq!(fs::read(out.join(foreign)).unwrap(), b"mine");
            fs::remove_file(out.join(foreign)).unwrap();
        }
        // By a build's name, but not what a build writes.
        for make in [
            |path: &Path| fs::create_dir(path).unwrap(),
            |path: &Path| symlink("/nonexistent", path).unwrap(),
        ] {
            let path = out.join(Manifest::INITRAMFS);
            make(&path);
            assert!(matches!(publish(&out), Err(OutputError::Holds { .. })));
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
        assert!(publish(&out).is_ok());
        // What came while the image was built.
        let found = Output::find(&out).unwrap();
        fs::write(out.join("key"), "mine").unwrap();
        assert!(matches!(found.publish(FILES.into_iter()), Err(OutputError::Holds { .. })));
        assert_eq!(names(folder.path()), ["image"]);
        assert_eq!(fs::read(out.join("key")).unwrap(), b"mine");
    }

    #[test]
    fn refuses_places_that_are_no_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("files")).unwrap();
        fs::write(path("files/kernel"), "somebody's").unwrap();
        fs::write(path("file"), "").unwrap();
        symlink(path("nowhere"), path("link")).unwrap();
        for taken in ["files", "file", "link"] {
            assert!(matches!(publish(&path(taken)), Err(OutputError::Taken { .. })), "{taken}");
        }
        assert_eq!(names(folder.path()), ["file", "files", "link"]);
        let unnamed = folder.path().join("files/..");
        assert!(publish(&unnamed).is_err());
    }
}
