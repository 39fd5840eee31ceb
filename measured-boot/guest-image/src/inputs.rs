// SPDX-License-Identifier: Apache-2.0
//! Brings the kernel and firmware packages that the guest image is made of, and unpacks them without
//! installing anything.
//!
//! The [`Lock`] names both to the byte. A package file that lies in the folder already, from a
//! release bundle for instance, is taken if it is the locked one; otherwise apt is asked for exactly
//! the locked version. The machine's own apt configuration is only read: lists, state and cache of
//! this module lie below its own folder, and the sources there are the machine's own archive with
//! other suites.

mod apt;
mod archive;
mod error;
mod lock;
mod sources;

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::ImageTee;
use crate::ReadError;
use crate::Sha256;
use crate::image::MAX_PART_SIZE;
use crate::image::read_capped;

use apt::Apt;

pub use archive::Archive;
pub use error::FetchError;
pub use lock::Lock;
pub use lock::LockedPackage;

/// Suite of the kernel: newer than the release's own, with TDX and TSM in the guest. The machine's
/// own security suite is searched too.
pub const KERNEL_SUITE: &str = "bookworm-backports";
/// Suite of the firmware.
pub const FIRMWARE_SUITE: &str = "sid";

/// The unpacked packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianInputs {
    /// The build of OVMF for the lock's TEE.
    pub firmware: PathBuf,
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The folder `lib/modules/<release>` of that kernel.
    pub modules: PathBuf,
    /// The packages, to the byte.
    pub lock: Lock,
}

impl DebianInputs {
    /// Finds what an earlier [`prepare`] left in a folder; `None` if it never completed there.
    ///
    /// # Errors
    ///
    /// A record that this version cannot read, or one whose files are gone.
    pub fn open(folder: &Path) -> Result<Option<Self>, FetchError> {
        let path = folder.join(RECORD);
        let bytes = match read_capped(&path, Lock::MAX_SIZE) {
            Ok(bytes) => bytes,
            Err(ReadError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(source) => return Err(FetchError::Record { source }),
        };
        let Record { unpacked: lock } = serde_json::from_slice(&bytes).map_err(|source| {
            FetchError::Record { source: ReadError::Manifest { path, source } }
        })?;
        let release = lock.kernel_release();
        // Packages of merged-usr releases have the modules below usr/lib.
        let merged = folder.join(format!("kernel/usr/lib/modules/{release}"));
        let separate = folder.join(format!("kernel/lib/modules/{release}"));
        let inputs = Self {
            firmware: folder.join(FIRMWARE).join(lock.tee().firmware_file()),
            kernel: folder.join(format!("kernel/boot/vmlinuz-{release}")),
            modules: if merged.exists() { merged } else { separate },
            lock,
        };
        for path in [&inputs.firmware, &inputs.kernel, &inputs.modules] {
            if !path.exists() {
                return Err(FetchError::Incomplete { path: path.clone() });
            }
        }
        Ok(Some(inputs))
    }
}

/// A folder of inputs that no other build changes meanwhile.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

impl Held {
    /// Waits until no other build works in the folder. Hold it from before [`prepare`] until the files
    /// are read: another [`prepare`] unpacks anew, perhaps other packages.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written.
    pub fn wait(folder: &Path) -> Result<Self, FetchError> {
        let path = absolute(folder)?.join(HELD);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(FetchError::file(&path))?;
        file.lock().map_err(FetchError::file(&path))?;
        Ok(Self { _file: file })
    }
}

/// Makes kernel and firmware of a lock ready in a folder: unpacks the package files that lie there,
/// or fetches these through apt first. What an earlier call unpacked is unpacked again.
///
/// # Errors
///
/// [`FetchError::NotOffered`] when apt has another version, [`FetchError::Altered`] when a package
/// file is not the locked one, and whatever keeps apt from working.
///
/// # Security
///
/// E1: apt checks its own signatures, and the lock's digest is compared besides; nothing that lies
/// unpacked in the folder is taken. Neither a mirror nor the giver of a folder can change a byte of
/// what is measured.
pub fn prepare(folder: &Path, lock: &Lock) -> Result<DebianInputs, FetchError> {
    let folder = &absolute(folder)?;
    let record = folder.join(RECORD);
    for name in [KERNEL, FIRMWARE] {
        let place = folder.join(name);
        if place.exists() && !record.exists() {
            return Err(FetchError::Taken { path: place });
        }
    }
    let mut apt = None;
    for (package, name) in [(&lock.kernel, KERNEL), (&lock.firmware, FIRMWARE)] {
        let deb = folder.join(package.file_name());
        if !deb.exists() {
            let apt = match &mut apt {
                Some(apt) => apt,
                none => none.insert(offering(folder, lock)?),
            };
            apt.download(package, &deb)?;
        }
        check(&deb, package)?;
        // Before the files, so that what an interruption leaves is known as ours.
        write_record(folder, lock)?;
        unpack(&deb, &folder.join(name))?;
    }
    DebianInputs::open(folder)?.ok_or_else(|| FetchError::Incomplete { path: folder.join(RECORD) })
}

/// Fetches the newest signed 6.12 cloud kernel of [`KERNEL_SUITE`] (and of the security updates that
/// the machine is configured for) and the newest firmware for a TEE into a folder, and locks them.
///
/// # Errors
///
/// No usable apt source, a package that cannot be downloaded, or a file that cannot be written: see
/// [`FetchError`].
pub fn lock_newest(folder: &Path, tee: ImageTee) -> Result<Lock, FetchError> {
    let folder = &absolute(folder)?;
    from_some_source(folder, |apt| {
        let kernel =
            newest_kernel(&apt.package_names(KERNEL_PREFIX)?).ok_or(FetchError::NoKernel)?;
        Ok(Lock {
            format: Lock::FORMAT,
            firmware: apt.download_newest(tee.firmware_package(), folder)?,
            kernel: apt.download_newest(&kernel, folder)?,
        })
    })
}

/// A source that offers both packages in the locked versions.
fn offering(folder: &Path, lock: &Lock) -> Result<Apt, FetchError> {
    let mut other = None;
    let found = from_some_source(folder, |apt| {
        for package in [&lock.kernel, &lock.firmware] {
            if !apt.versions(&package.package)?.contains(&package.version) {
                other.get_or_insert(not_offered(&apt, package)?);
                return Err(FetchError::NoKernel);
            }
        }
        Ok(apt)
    });
    found.map_err(|error| match (error, other) {
        (FetchError::NoSource { .. }, Some(other)) => other,
        (FetchError::NoSource { refusals, .. }, None) => {
            let wanted = [&lock.kernel, &lock.firmware].map(|package| wanted(folder, package));
            FetchError::NoSource { wanted: wanted.to_vec(), refusals }
        }
        (error, _) => error,
    })
}

/// A locked package as a file, and what the folder has of the same name in another version.
fn wanted(folder: &Path, package: &LockedPackage) -> String {
    let file = package.file_name();
    if folder.join(&file).exists() {
        return format!("{file} (is there)");
    }
    let of_the_same_name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (stem, _) = name.split_once('_')?;
        (stem == package.package && name.ends_with(".deb")).then_some(name)
    };
    let mut others: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().filter_map(of_the_same_name).collect())
        .unwrap_or_default();
    others.sort_unstable();
    match others.as_slice() {
        [] => format!("{file} (version {})", package.version),
        others => format!("{file} (version {}; there is {})", package.version, others.join(", ")),
    }
}

/// What the source has instead.
fn not_offered(apt: &Apt, package: &LockedPackage) -> Result<FetchError, FetchError> {
    let is_kernel = package.package.starts_with(KERNEL_PREFIX);
    let name = if is_kernel { newest_kernel(&apt.package_names(KERNEL_PREFIX)?) } else { None };
    let name = name.unwrap_or_else(|| package.package.clone());
    let version = apt.versions(&name)?.into_iter().next();
    Ok(FetchError::NotOffered {
        locked: format!("{} {}", package.package, package.version),
        offered: version
            .map_or_else(|| "nothing".to_owned(), |version| format!("{name} {version}")),
    })
}

/// Tries the machine's archives one after the other.
fn from_some_source<T>(
    folder: &Path,
    mut work: impl FnMut(Apt) -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut refusals = Vec::new();
    for candidate in sources::candidates(&[KERNEL_SUITE, FIRMWARE_SUITE])? {
        let apt = Apt::prepare(&folder.join("apt"), &candidate)?;
        match apt.update().and_then(|()| work(apt)) {
            Ok(done) => return Ok(done),
            Err(refusal @ (FetchError::Command { .. } | FetchError::NoKernel)) => {
                tracing::debug!(source = %candidate.origin, %refusal, "apt source is of no use");
                refusals.push(format!("{}: {refusal}", candidate.origin));
            }
            Err(error) => return Err(error),
        }
    }
    Err(FetchError::NoSource { wanted: vec![], refusals })
}

fn check(deb: &Path, package: &LockedPackage) -> Result<(), FetchError> {
    let bytes = read_capped(deb, MAX_PART_SIZE).map_err(|source| FetchError::Record { source })?;
    let found = Sha256::of(&bytes);
    if found == package.sha256 {
        return Ok(());
    }
    Err(FetchError::Altered { path: deb.to_owned(), locked: package.sha256, found })
}

fn unpack(deb: &Path, to: &Path) -> Result<(), FetchError> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(FetchError::file(to))?;
    }
    apt::unpack(deb, to)
}

/// What a completed preparation writes last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    unpacked: Lock,
}

fn write_record(folder: &Path, lock: &Lock) -> Result<(), FetchError> {
    let record = serde_json::json!(Record { unpacked: lock.clone() });
    let path = folder.join(RECORD);
    fs::write(&path, format!("{record:#}\n")).map_err(FetchError::file(&path))
}

/// The newest signed kernel among package names such as `linux-image-6.12.9+bpo-cloud-amd64`.
fn newest_kernel(names: &[String]) -> Option<String> {
    let signed = names.iter().filter(|name| {
        name.starts_with(KERNEL_PREFIX)
            && name.ends_with(KERNEL_SUFFIX)
            && !name.contains("unsigned")
    });
    signed.max_by_key(|name| numbers(name)).cloned()
}

/// All numbers in a name, in order: what Debian's kernels differ in.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn absolute(folder: &Path) -> Result<PathBuf, FetchError> {
    fs::create_dir_all(folder).map_err(FetchError::file(folder))?;
    folder.canonicalize().map_err(FetchError::file(folder))
}

const KERNEL: &str = "kernel";
const FIRMWARE: &str = "firmware";
const KERNEL_PREFIX: &str = "linux-image-6.12.";
const KERNEL_SUFFIX: &str = "-cloud-amd64";
const RECORD: &str = "unpacked.json";
/// Locked by whoever works in the folder; the system unlocks it when the process ends.
const HELD: &str = "in-use";

#[cfg(test)]
mod tests;
