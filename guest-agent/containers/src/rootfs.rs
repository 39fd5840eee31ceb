// SPDX-License-Identifier: Apache-2.0
//! A container's files: its root file system and what the guest makes for the policy's mounts.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use casemate_policy::Mount;
use casemate_policy::MountKind;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use crate::id::ContainerId;
use crate::request::CreateSpec;
use crate::request::SecretFile;
use crate::request::Volume;
use crate::spec::Source;
use crate::volumes::VolumeError;
use crate::volumes::VolumeStore;

/// Directories of the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    directory: PathBuf,
    volumes: Arc<VolumeStore>,
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
        make_directory(&directory)?;
        mount_tmpfs(&directory, "mode=0700")?;
        for name in [BUNDLES, STATE, VOLUMES, TERMINALS, SHM] {
            make_directory(&directory.join(name))?;
        }
        // /dev/shm of the pod.
        mount_tmpfs(&directory.join(SHM), "mode=1777,size=64m")?;
        let volumes = Arc::new(VolumeStore::open(directory.join(VOLUMES))?);
        Ok(Self { directory, volumes })
    }

    /// The pod's volumes.
    pub(crate) fn volumes(&self) -> &Arc<VolumeStore> {
        &self.volumes
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
        let mounts = create.container.mounts.iter().map(|m| self.source(&bundle, create, m));
        let mut sources: Vec<Source> = mounts.collect::<Result<_, _>>()?;
        for secret in &create.secrets {
            let path = bundle.secret(secret, &create.container.user)?;
            sources.push(Source { destination: secret.path.clone(), path });
        }
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
            MountKind::TerminationLog => bundle.file(TERMINATION_LOG, "", 0o666)?,
            MountKind::Shm => self.directory.join(SHM),
            MountKind::Volume => self.volume(bundle, create, mount)?,
        };
        Ok(Source { destination: mount.destination.clone(), path })
    }

    /// What a mount of a volume shows: the volume's directory, or a part of it, held by a mount of
    /// its own so that nobody can put a link in its place (A13).
    fn volume(
        &self,
        bundle: &Bundle,
        create: &CreateSpec,
        mount: &Mount,
    ) -> Result<PathBuf, FilesError> {
        let name = mount.volume.as_deref().unwrap_or_default();
        let volumes = &self.volumes;
        let volume = create
            .volumes
            .get(name)
            .ok_or_else(|| FilesError::UnknownVolume { name: name.to_owned() })?;
        match (volume, &mount.sub_path) {
            (Volume::Memory { size_limit }, sub_path) => {
                self.make_memory(name, *size_limit)?;
                match sub_path {
                    None => Ok(volumes.directory(name)?),
                    Some(part) => bundle.hold(&volumes.sub_directory(name, part)?, Held::Directory),
                }
            }
            (Volume::Content, None) => {
                volumes.content(name)?;
                Ok(volumes.directory(name)?)
            }
            (Volume::Content, Some(part)) => {
                bundle.hold(&volumes.sub_file(name, part)?, Held::File)
            }
        }
    }

    /// Makes an emptyDir unless another container has.
    fn make_memory(&self, name: &str, size_limit: Option<u64>) -> Result<(), FilesError> {
        if !self.volumes.make_empty(name)? {
            return Ok(());
        }
        let Some(bytes) = size_limit else { return Ok(()) };
        // A tmpfs without a page could not even hold its root.
        let bytes = bytes.max(LEAST_VOLUME);
        let directory = self.volumes.directory(name)?;
        mount_tmpfs(&directory, &format!("mode=0777,size={bytes}")).inspect_err(|_| {
            // The next container must not find a volume without its limit.
            if let Err(error) = fs::remove_dir(&directory) {
                tracing::error!(%error, volume = name, "a volume without its limit is left");
            }
        })
    }

    /// The end of what a container has written to its termination log; empty if it has none.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn termination_message(&self, id: &ContainerId) -> Result<Vec<u8>, FilesError> {
        let path = self.bundle(id).directory.join(TERMINATION_LOG);
        match tail(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(failed("read", &path)),
        }
    }

    /// Unmounts and removes what [`Self::prepare`] and libcontainer have made. What is not there is
    /// fine.
    ///
    /// # Errors
    ///
    /// When something stays.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), FilesError> {
        let bundle = self.bundle(id);
        unmount(&bundle.rootfs())?;
        // What is still mounted would be emptied with the directory that it is mounted in.
        for held in bundle.held()? {
            unmount(&held)?;
        }
        bundle.overwrite_secrets();
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

    /// Mounts what `opened` stands for on a place of its own.
    fn hold(&self, opened: &OwnedFd, what: Held) -> Result<PathBuf, FilesError> {
        let directory = self.directory.join(HELD);
        make_directory(&directory)?;
        let target = directory.join(self.held()?.len().to_string());
        match what {
            Held::Directory => make_directory(&target)?,
            Held::File => fs::write(&target, b"").map_err(failed("make", &target))?,
        }
        let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
        rustix::mount::mount_bind(source, &target)
            .map_err(|errno| failed("mount a part of a volume on", &target)(errno.into()))?;
        Ok(target)
    }

    /// The places of [`Self::hold`].
    fn held(&self) -> Result<Vec<PathBuf>, FilesError> {
        let directory = self.directory.join(HELD);
        match fs::read_dir(&directory) {
            Ok(entries) => entries
                .map(|entry| entry.map(|e| e.path()).map_err(failed("list", &directory)))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed("list", &directory)(error)),
        }
    }

    /// Writes a secret for the container's user.
    fn secret(
        &self,
        secret: &SecretFile,
        user: &casemate_policy::User,
    ) -> Result<PathBuf, FilesError> {
        let directory = self.directory.join(SECRETS);
        make_directory(&directory)?;
        let count = fs::read_dir(&directory).map_err(failed("list", &directory))?.count();
        let path = directory.join(count.to_string());
        let mut options = fs::File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, &secret.content))
            .map_err(failed("write", &path))?;
        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))
            .map_err(failed("give away", &path))?;
        set_mode(&path, secret.mode & 0o777)?;
        Ok(path)
    }

    /// The kernel does not clear the memory of a removed file until it gives it to another.
    fn overwrite_secrets(&self) {
        let Ok(entries) = fs::read_dir(self.directory.join(SECRETS)) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let zeroes = |length: u64| vec![0; usize::try_from(length).unwrap_or(0)];
            let overwritten = fs::metadata(&path).and_then(|m| {
                let mut file = fs::File::options().write(true).open(&path)?;
                io::Write::write_all(&mut file, &zeroes(m.len()))
            });
            if let Err(error) = overwritten {
                tracing::warn!(%error, "a secret's file was not overwritten");
            }
        }
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> Result<PathBuf, FilesError> {
        let path = self.directory.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
        set_mode(&path, mode)?;
        Ok(path)
    }
}

/// What a part of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Directory,
    File,
}

/// The last bytes of a file that a container writes; links are not followed.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let mut file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TERMINATION_MESSAGE)))?;
    let mut message = Vec::new();
    file.take(MAX_TERMINATION_MESSAGE).read_to_end(&mut message)?;
    Ok(message)
}

fn unmount(path: &Path) -> Result<(), FilesError> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        // EINVAL: not mounted.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => Ok(()),
        Err(errno) => Err(failed("unmount", path)(errno.into())),
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
    /// A mount names a volume that the pod does not have.
    #[error("the pod has no volume {name:?}")]
    UnknownVolume {
        /// The name in the mount.
        name: String,
    },
    /// A volume could not be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

const BUNDLES: &str = "bundles";
const STATE: &str = "state";
const VOLUMES: &str = "volumes";
const TERMINALS: &str = "terminals";
const SHM: &str = "shm";
/// In a bundle: parts of volumes, each with a mount; secrets; the termination log.
const HELD: &str = "held";
const SECRETS: &str = "secrets";
const TERMINATION_LOG: &str = "termination-log";

/// What kubelet reads of a termination log.
const MAX_TERMINATION_MESSAGE: u64 = 4096;
/// Least size of a volume in bytes.
const LEAST_VOLUME: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_termination_log_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "last words").unwrap();
        assert_eq!(tail(&path).unwrap(), b"last words");
        let mut long = vec![b'a'; 10_000];
        long.extend(b"end");
        fs::write(&path, &long).unwrap();
        let message = tail(&path).unwrap();
        assert_eq!(message.len(), 4096);
        assert!(message.ends_with(b"aend"));
        // A13: no container can put a link there; if one could, it would not be followed.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(tail(&link).is_err());
    }

    #[test]
    fn secrets_are_overwritten_before_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle { directory: folder.path().to_owned() };
        let user = casemate_policy::User {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            groups: vec![],
        };
        let secret = SecretFile {
            path: "/run/secrets/db".to_owned(),
            mode: 0o4440,
            content: zeroize::Zeroizing::new(b"canary".to_vec()),
        };
        let path = bundle.secret(&secret, &user).unwrap();
        let other = bundle.secret(&secret, &user).unwrap();
        assert_ne!(path, other);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        // Neither set-user-id nor anything else but the nine bits.
        assert_eq!(mode & 0o7777, 0o440);
        assert_eq!(fs::read(&path).unwrap(), b"canary");
        set_mode(&path, 0o600).unwrap();
        bundle.overwrite_secrets();
        assert_eq!(fs::read(&path).unwrap(), [0; 6]);
        assert!(!format!("{secret:?}").contains("canary"));
    }
}
