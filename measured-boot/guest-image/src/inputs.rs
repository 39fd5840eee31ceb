// SPDX-License-Identifier: Apache-2.0
//! Fetches the kernel and firmware packages that the guest image is made of, and unpacks them
//! without installing anything.
//!
//! Both come from Debian through apt, which checks their signatures against the keys that the
//! machine already trusts. The machine's own apt configuration is only read: lists, state and cache
//! of this module lie below its own folder, and the sources there are the machine's own archive
//! with other suites. A fetched folder is used again; remove it to fetch newer packages.

mod apt;
mod archive;
mod sources;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::ReadError;
use crate::image::read_capped;

use apt::Apt;

pub use archive::Archive;

/// Suite of the kernel: newer than the release's own, with TDX and TSM in the guest. The machine's
/// own security suite is searched too.
pub const KERNEL_SUITE: &str = "bookworm-backports";
/// Suite of the firmware.
pub const FIRMWARE_SUITE: &str = "sid";
/// Package of the firmware, for every architecture alike.
pub const FIRMWARE_PACKAGE: &str = "ovmf-amdsev";

/// The unpacked packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianInputs {
    /// The AmdSev build of OVMF.
    pub firmware: PathBuf,
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The folder `lib/modules/<release>` of that kernel.
    pub modules: PathBuf,
    /// Versions by package name.
    pub packages: BTreeMap<String, String>,
}

impl DebianInputs {
    /// Finds what an earlier [`fetch`] left in a folder; `None` if it never completed there.
    ///
    /// # Errors
    ///
    /// A record that this version cannot read, or one whose files are gone.
    pub fn open(folder: &Path) -> Result<Option<Self>, FetchError> {
        let path = folder.join(RECORD);
        let bytes = match read_capped(&path, MAX_RECORD_SIZE) {
            Ok(bytes) => bytes,
            Err(ReadError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(source) => return Err(FetchError::Record { source }),
        };
        let record: Record = serde_json::from_slice(&bytes).map_err(|source| {
            FetchError::Record { source: ReadError::Manifest { path, source } }
        })?;
        let release = &record.kernel_release;
        // Packages of merged-usr releases have the modules below usr/lib.
        let merged = folder.join(format!("kernel/usr/lib/modules/{release}"));
        let separate = folder.join(format!("kernel/lib/modules/{release}"));
        let inputs = Self {
            firmware: folder.join("firmware/usr/share/ovmf/OVMF.amdsev.fd"),
            kernel: folder.join(format!("kernel/boot/vmlinuz-{release}")),
            modules: if merged.exists() { merged } else { separate },
            packages: record.packages,
        };
        for path in [&inputs.firmware, &inputs.kernel, &inputs.modules] {
            if !path.exists() {
                return Err(FetchError::Incomplete { path: path.clone() });
            }
        }
        Ok(Some(inputs))
    }
}

/// Fetches and unpacks kernel and firmware into a folder, or finds them there.
///
/// The kernel is the newest signed 6.12 cloud kernel of [`KERNEL_SUITE`] and of the security updates
/// that the machine is configured for; the versions are recorded
/// and go into the image's manifest.
///
/// # Errors
///
/// No usable apt source, a package that cannot be downloaded, or a file that cannot be written: see
/// [`FetchError`].
pub fn fetch(folder: &Path) -> Result<DebianInputs, FetchError> {
    if let Some(inputs) = DebianInputs::open(folder)? {
        return Ok(inputs);
    }
    let folder = &absolute(folder)?;
    let mut refusals = Vec::new();
    for candidate in sources::candidates(&[KERNEL_SUITE, FIRMWARE_SUITE])? {
        match fetch_from(&candidate, folder) {
            Ok(()) => return DebianInputs::open(folder)?.ok_or(FetchError::NoSource { refusals }),
            Err(refusal @ FetchError::Command { .. } | refusal @ FetchError::NoKernel) => {
                tracing::debug!(source = %candidate.origin, %refusal, "apt source is of no use");
                refusals.push(format!("{}: {refusal}", candidate.origin));
            }
            Err(error) => return Err(error),
        }
    }
    Err(FetchError::NoSource { refusals })
}

/// Why the packages cannot be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The record of an earlier fetch cannot be read.
    #[error("failed to read the record of the fetched packages")]
    Record {
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
    /// A file of an earlier fetch is gone.
    #[error("{} is missing from the fetched packages; remove the folder to fetch them again", path.display())]
    Incomplete {
        /// Path of the missing file.
        path: PathBuf,
    },
    /// None of the machine's apt sources has the packages.
    #[error("no apt source of this machine has the packages: {}", if refusals.is_empty() { "no Debian archive is configured".to_owned() } else { refusals.join("; ") })]
    NoSource {
        /// What each source said.
        refusals: Vec<String>,
    },
    /// The source has no kernel of the wanted series.
    #[error("neither {KERNEL_SUITE} nor the security suite has a signed 6.12 cloud kernel")]
    NoKernel,
    /// A command failed.
    #[error("{command} failed: {output}")]
    Command {
        /// The command and its first argument.
        command: String,
        /// Last line that it printed on its error stream.
        output: String,
    },
    /// A command cannot be started, as it is not installed for instance.
    #[error("failed to run {command}")]
    NotRun {
        /// The command.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be read or written.
    #[error("failed to access {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// What a completed fetch writes last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    kernel_release: String,
    packages: BTreeMap<String, String>,
}

fn fetch_from(candidate: &sources::Candidate, folder: &Path) -> Result<(), FetchError> {
    let apt = Apt::prepare(&folder.join("apt"), candidate)?;
    apt.update()?;
    let kernel_package =
        newest_kernel(&apt.package_names(KERNEL_PREFIX)?).ok_or(FetchError::NoKernel)?;
    let kernel_release = kernel_package.trim_start_matches("linux-image-").to_owned();

    let mut packages = BTreeMap::new();
    for (package, unpacked) in [(kernel_package.as_str(), "kernel"), (FIRMWARE_PACKAGE, "firmware")]
    {
        let version = apt.download_and_unpack(package, &folder.join(unpacked))?;
        packages.insert(package.to_owned(), version);
    }
    let record = serde_json::json!(Record { kernel_release, packages });
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

const KERNEL_PREFIX: &str = "linux-image-6.12.";
const KERNEL_SUFFIX: &str = "-cloud-amd64";
const RECORD: &str = "packages.json";
const MAX_RECORD_SIZE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_newest_signed_cloud_kernel() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.43+deb12-cloud-amd64",
            "linux-image-6.12.200+deb12-amd64",
            "linux-image-6.12.200+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.200+deb12-cloud-amd64-dbg",
            "linux-image-6.12.200+deb12-cloud-arm64",
        ]
        .map(str::to_owned);
        let newest = newest_kernel(&names);
        assert_eq!(newest.as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest_kernel(&[]), None);
    }

    #[test]
    fn an_empty_folder_holds_no_inputs() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(DebianInputs::open(folder.path()).unwrap(), None);
    }

    #[test]
    fn refuses_records_without_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join(RECORD);
        fs::write(&record, r#"{"kernel_release":"6.12","packages":{}}"#).unwrap();
        let refused = DebianInputs::open(folder.path());
        assert!(matches!(refused, Err(FetchError::Incomplete { .. })), "{refused:?}");
        fs::write(&record, r#"{"kernel_release":"6.12","packages":{},"more":1}"#).unwrap();
        let refused = DebianInputs::open(folder.path());
        assert!(matches!(refused, Err(FetchError::Record { .. })), "{refused:?}");
    }
}
