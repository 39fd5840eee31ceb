// SPDX-License-Identifier: Apache-2.0
//! Picks the few kernel modules that the guest needs, with all that they depend on.
//!
//! Debian's kernel package carries no dependency index (the index is made at installation), so the
//! modules say themselves what they need, in their `.modinfo` section.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::elf;
use crate::elf::ElfError;

/// A module with its file name, compressed as the kernel package has it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) file_name: String,
    pub(crate) compressed: Vec<u8>,
}

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct ModuleTree {
    release: String,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl ModuleTree {
    /// Reads the names of the modules below `lib/modules/<release>`.
    pub(crate) fn open(folder: &Path, release: &str) -> Result<Self, ModuleError> {
        let list = folder.join("modules.builtin");
        let builtin =
            fs::read_to_string(&list).map_err(|source| ModuleError::Read { path: list, source })?;
        let builtin = builtin.lines().filter_map(module_name).collect();
        let mut files = BTreeMap::new();
        collect(&folder.join("kernel"), MAX_DEPTH, &mut files)?;
        Ok(Self { release: release.to_owned(), files, builtin })
    }

    /// The named modules and all that they need, each behind what it needs itself.
    pub(crate) fn select(&self, names: &[&str]) -> Result<Vec<Module>, ModuleError> {
        let mut selection = Selection::default();
        for name in names {
            self.visit(name, &mut selection)?;
        }
        Ok(selection.ordered)
    }

    fn visit(&self, name: &str, selection: &mut Selection) -> Result<(), ModuleError> {
        if self.builtin.contains(name) || selection.done.contains(name) {
            return Ok(());
        }
        if !selection.open.insert(name.to_owned()) {
            return Err(ModuleError::Cycle { name: name.to_owned() });
        }
        let path =
            self.files.get(name).ok_or_else(|| ModuleError::Missing { name: name.to_owned() })?;
        let compressed =
            fs::read(path).map_err(|source| ModuleError::Read { path: path.clone(), source })?;
        for needed in self.check(name, path, &compressed)? {
            self.visit(&needed, selection)?;
        }
        let file_name = path.file_name().and_then(|file_name| file_name.to_str());
        let file_name = file_name.unwrap_or_default().to_owned();
        selection.open.remove(name);
        selection.done.insert(name.to_owned());
        selection.ordered.push(Module { file_name, compressed });
        Ok(())
    }

    /// Checks a module and gives the names of those it needs.
    fn check(
        &self,
        name: &str,
        path: &Path,
        compressed: &[u8],
    ) -> Result<Vec<String>, ModuleError> {
        let unpack = |source| ModuleError::Unpack { path: path.to_owned(), source };
        let mut module = Vec::new();
        lzma_rust2::XzReader::new(compressed, false)
            .take(MAX_MODULE_SIZE)
            .read_to_end(&mut module)
            .map_err(unpack)?;
        // The kernel is locked down and loads signed modules only.
        let Some(module) = module.strip_suffix(SIGNATURE_MARK) else {
            return Err(ModuleError::NotSigned { path: path.to_owned() });
        };
        let info = elf::module_info(module)
            .map_err(|source| ModuleError::Malformed { path: path.to_owned(), source })?;
        let field = |key| info.get(key).map(String::as_str).unwrap_or_default();
        let release = field("vermagic").split(' ').next().unwrap_or_default();
        if release != self.release {
            return Err(ModuleError::OtherKernel {
                path: path.to_owned(),
                release: release.to_owned(),
                expected: self.release.clone(),
            });
        }
        if field("name") != name {
            return Err(ModuleError::OtherName { path: path.to_owned() });
        }
        let needed = field("depends").split(',').filter(|needed| !needed.is_empty());
        Ok(needed.map(normalised).collect())
    }
}

/// Why kernel modules cannot be picked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// A file or folder cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Two modules have the same name, or folders are nested too deeply.
    #[error("the kernel modules hold {} in the wrong place", path.display())]
    Unexpected {
        /// Path of the second module or of the folder.
        path: PathBuf,
    },
    /// A needed module is neither a file nor part of the kernel.
    #[error("the kernel has no module {name}")]
    Missing {
        /// The module's name.
        name: String,
    },
    /// A module needs itself.
    #[error("the kernel module {name} needs itself")]
    Cycle {
        /// The module's name.
        name: String,
    },
    /// A module is not xz data.
    #[error("failed to unpack {}", path.display())]
    Unpack {
        /// Its path.
        path: PathBuf,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// A module is not a kernel module.
    #[error("failed to read the kernel module {}", path.display())]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ElfError,
    },
    /// A module without a signature, which the guest's kernel would refuse.
    #[error("the kernel module {} is not signed", path.display())]
    NotSigned {
        /// Its path.
        path: PathBuf,
    },
    /// A module for another kernel.
    #[error("{} is for kernel {release:?}, expected {expected:?}", path.display())]
    OtherKernel {
        /// Its path.
        path: PathBuf,
        /// The kernel's release that it names.
        release: String,
        /// The release of the kernel in the image.
        expected: String,
    },
    /// A module whose name is not that of its file.
    #[error("the kernel module {} has another name than its file", path.display())]
    OtherName {
        /// Its path.
        path: PathBuf,
    },
}

/// A walk along the dependencies.
#[derive(Default)]
struct Selection {
    open: BTreeSet<String>,
    done: BTreeSet<String>,
    ordered: Vec<Module>,
}

fn collect(
    folder: &Path,
    depth: u32,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), ModuleError> {
    let read = |source| ModuleError::Read { path: folder.to_owned(), source };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(ModuleError::Unexpected { path: folder.to_owned() });
    };
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        if entry.file_type().map_err(read)?.is_dir() {
            collect(&path, depth, files)?;
        } else if let Some(name) = path.to_str().and_then(module_name)
            && files.insert(name, path.clone()).is_some()
        {
            return Err(ModuleError::Unexpected { path });
        }
    }
    Ok(())
}

/// The name of the module in a file `a/b/some-name.ko` or `a/b/some-name.ko.xz`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(normalised(stem))
}

/// The kernel takes `-` and `_` in module names as the same.
fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";
/// Largest accepted module, unpacked, in bytes.
const MAX_MODULE_SIZE: u64 = 64 * 1024 * 1024;
const MAX_DEPTH: u32 = 16;

#[cfg(test)]
mod tests;
