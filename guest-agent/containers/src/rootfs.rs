// SPDX-License-Identifier: Apache-2.0
//! A container's files: its root file system and what the guest makes for the policy's mounts.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use casemate_policy::Mount;
use casemate_policy::MountKind;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use crate::id::BadId;
use crate::id::ContainerId;
use crate::request::CreateSpec;
use crate::spec::Source;

/// Directories of the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    directory: PathBuf,
}

/// Directories of one container.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    directory: PathBuf,
}

impl Layout {
    /// Makes the directories in a fresh tmpfs on `directory`.
    ///
    /// # Errors
    ///
    /// When a directory or mount cannot be made.
    pub(crate) fn make(directory: PathBuf) -> Result<Self, FilesError> {
        let layout = Self { directory };
        make_directory(&layout.directory)?;
        mount_tmpfs(&layout.directory, "mode=0700")?;
        for name in [BUNDLES, STATE, VOLUMES, TERMINALS, SHM] {
            make_directory(&layout.directory.join(name))?;
        }
        // /dev/shm of the pod.
        mount_tmpfs(&layout.directory.join(SHM), "mode=1777,size=64m")?;
        Ok(layout)
    }

    /// libcontainer's state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join(STATE)
    }

    /// Socket on which libcontainer waits for the start of a container.
    pub(crate) fn start_directory(&self, id: &ContainerId) -> PathBuf {
        self.directory.join(STATE).join(id.as_str())
    }

    pub(crate) fn helper(&self) -> PathBuf {
        self.directory.join("helper")
    }

    /// Path of a socket to deliver a terminal, by a number that is used once.
    pub(crate) fn terminal(&self, number: u64) -> PathBuf {
        self.directory.join(TERMINALS).join(number.to_string())
    }

    pub(crate) fn bundle(&self, id: &ContainerId) -> Bundle {
        Bundle { directory: self.directory.join(BUNDLES).join(id.as_str()) }
    }

    /// Makes a container's directories and files and mounts its root.
    ///
    /// # Errors
    ///
    /// When one cannot be made; what was made stays for [`Self::remove`].
    pub(crate) fn prepare(&self, create: &CreateSpec) -> Result<(Bundle, Vec<Source>), FilesError> {
        let bundle = self.bundle(&create.id);
        for directory in [&bundle.directory, &bundle.upper(), &bundle.work(), &bundle.rootfs()] {
            make_directory(directory)?;
        }
        // The root of the image shows through the upper directory: its mode must not change.
        copy_mode(&create.rootfs, &bundle.upper())?;
        mount_overlay(&create.rootfs, &bundle)?;
        let sources = create
            .container
            .mounts
            .iter()
            .map(|mount| self.source(&bundle, create, mount))
            .collect::<Result<_, _>>()?;
        Ok((bundle, sources))
    }

    fn source(
        &self,
        bundle: &Bundle,
        create: &CreateSpec,
        mount: &Mount,
    ) -> Result<Source, FilesError> {
        let path = match mount.kind {
            MountKind::Hosts => bundle.file("hosts", &create.hosts, 0o644)?,
            MountKind::Hostname => {
                bundle.file("hostname", &format!("{}\n", create.hostname), 0o644)?
            }
            MountKind::ResolvConf => bundle.file("resolv.conf", &create.resolv_conf, 0o644)?,
            MountKind::TerminationLog => bundle.file("termination-log", "", 0o666)?,
            MountKind::Shm => self.directory.join(SHM),
            MountKind::Volume => self.volume(mount)?,
        };
        Ok(Source { destination: mount.destination.clone(), path })
    }

    /// A volume's directory, made by the first container that names it.
    fn volume(&self, mount: &Mount) -> Result<PathBuf, FilesError> {
        let name = mount.volume.as_deref().unwrap_or_default();
        let name = ContainerId::try_from(name)
            .map_err(|source| FilesError::Volume { name: name.to_owned(), source })?;
        let path = self.directory.join(VOLUMES).join(name.as_str());
        if !path.exists() {
            make_directory(&path)?;
            // As kubelet's: any user of the pod may write.
            set_mode(&path, 0o777)?;
        }
        Ok(path)
    }

    /// Unmounts and removes what [`Self::prepare`] and libcontainer have made. What is not there is
    /// fine.
    ///
    /// # Errors
    ///
    /// When something stays.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), FilesError> {
        let bundle = self.bundle(id);
        match rustix::mount::unmount(bundle.rootfs(), UnmountFlags::DETACH) {
            // EINVAL: not mounted.
            Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(failed("unmount", &bundle.rootfs())(errno.into())),
        }
        for directory in [&bundle.directory, &self.start_directory(id)] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", directory)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Bundle {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the root file system is mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// File for the OCI process of an exec.
    pub(crate) fn exec_process(&self, exec: &ContainerId) -> PathBuf {
        self.directory.join(format!("exec-{exec}.json"))
    }

    fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> Result<PathBuf, FilesError> {
        let path = self.directory.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
        set_mode(&path, mode)?;
        Ok(path)
    }
}

/// The image below, a directory of the container's own above. No device node of either works.
fn mount_overlay(image: &Path, bundle: &Bundle) -> Result<(), FilesError> {
    let parts = [image, &bundle.upper(), &bundle.work()];
    let mut texts = Vec::with_capacity(parts.len());
    for path in parts {
        let text = path.to_str().filter(|text| !text.contains([':', ',', '\\', '\0']));
        // B2: a path that would be read as a further option or layer.
        texts.push(text.ok_or_else(|| FilesError::Path { path: path.to_owned() })?);
    }
    let [lower, upper, work] = texts.as_slice() else {
        return Err(FilesError::Path { path: image.to_owned() });
    };
    let options =
        std::ffi::CString::new(format!("lowerdir={lower},upperdir={upper},workdir={work}"))
            .map_err(|_| FilesError::Path { path: image.to_owned() })?;
    let target = bundle.rootfs();
    rustix::mount::mount("overlay", &target, "overlay", MountFlags::NODEV, options.as_c_str())
        .map_err(|errno| failed("mount an overlay on", &target)(errno.into()))
}

fn mount_tmpfs(target: &Path, options: &str) -> Result<(), FilesError> {
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    let options = std::ffi::CString::new(options)
        .map_err(|_| FilesError::Path { path: target.to_owned() })?;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str())
        .map_err(|errno| failed("mount a tmpfs on", target)(errno.into()))
}

fn make_directory(path: &Path) -> Result<(), FilesError> {
    fs::create_dir_all(path).map_err(failed("make", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of", path))
}

fn copy_mode(from: &Path, to: &Path) -> Result<(), FilesError> {
    let mode = fs::metadata(from).map_err(failed("look at", from))?.permissions();
    fs::set_permissions(to, mode).map_err(failed("set the mode of", to))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { action, path, source }
}

/// A container's files could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A system call failed. `ENOSPC` means that the guest's memory is used up.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A path that cannot be a layer of an overlay.
    #[error("path {path:?} cannot be part of a root file system")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A volume's name that cannot be a directory's.
    #[error("volume {name:?} has no valid name")]
    Volume {
        /// The name in the policy.
        name: String,
        /// Why.
        #[source]
        source: BadId,
    },
}

const BUNDLES: &str = "bundles";
const STATE: &str = "state";
const VOLUMES: &str = "volumes";
const TERMINALS: &str = "terminals";
const SHM: &str = "shm";
