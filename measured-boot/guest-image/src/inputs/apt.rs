// SPDX-License-Identifier: Apache-2.0
//! Runs apt with a configuration of its own.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use super::FetchError;
use super::LockedPackage;
use super::sources::Candidate;
use crate::Sha256;
use crate::image::MAX_PART_SIZE;
use crate::image::read_capped;

/// apt with private lists, state, cache and sources.
#[derive(Debug)]
pub(super) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Writes the private configuration; what another source left there goes away.
    pub(super) fn prepare(folder: &Path, candidate: &Candidate) -> Result<Self, FetchError> {
        let apt = Self { folder: folder.to_owned() };
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(FetchError::file(folder))?;
        }
        for name in ["sources.d", "lists/partial", "cache/archives/partial", "debs"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(FetchError::file(&path))?;
        }
        apt.write("status", "")?;
        for (number, file) in (1..).zip(&candidate.files) {
            apt.write(&format!("sources.d/{number}.{}", file.ending), &file.text)?;
        }
        Ok(apt)
    }

    /// Downloads and checks the lists of the suites.
    pub(super) fn update(&self) -> Result<(), FetchError> {
        let mut command = self.command("apt-get");
        // Without this, a suite that cannot be had is only a warning.
        command.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        run(command).map(drop)
    }

    /// Names of all packages that start so.
    pub(super) fn package_names(&self, prefix: &str) -> Result<Vec<String>, FetchError> {
        let mut command = self.command("apt-cache");
        command.args(["pkgnames", prefix]);
        Ok(run(command)?.lines().map(str::to_owned).collect())
    }

    /// Versions of a package that the lists offer, the newest first.
    pub(super) fn versions(&self, package: &str) -> Result<Vec<String>, FetchError> {
        let mut command = self.command("apt-cache");
        command.args(["madison", package]);
        let lines = run(command)?;
        // `name | version | source`
        let versions = lines.lines().filter_map(|line| line.split('|').nth(1));
        Ok(versions.map(|version| version.trim().to_owned()).collect())
    }

    /// Downloads the locked version of a package, whose signature apt checks, to a file.
    pub(super) fn download(&self, package: &LockedPackage, to: &Path) -> Result<(), FetchError> {
        let wanted = format!("{}={}", package.package, package.version);
        let deb = self.download_to_cache(&wanted)?;
        fs::rename(&deb, to).map_err(FetchError::file(to))
    }

    /// Downloads the newest version of a package into a folder, and locks it.
    pub(super) fn download_newest(
        &self,
        package: &str,
        folder: &Path,
    ) -> Result<LockedPackage, FetchError> {
        let deb = self.download_to_cache(package)?;
        let bytes =
            read_capped(&deb, MAX_PART_SIZE).map_err(|source| FetchError::Record { source })?;
        let field = |name: &str| {
            let mut command = Command::new("dpkg-deb");
            command.arg("-f").arg(&deb).arg(name);
            Ok::<_, FetchError>(run(command)?.trim().to_owned())
        };
        let locked = LockedPackage {
            package: package.to_owned(),
            version: field("Version")?,
            architecture: field("Architecture")?,
            sha256: Sha256::of(&bytes),
        };
        let to = folder.join(locked.file_name());
        fs::rename(&deb, &to).map_err(FetchError::file(&to))?;
        Ok(locked)
    }

    /// Downloads a package and unpacks it beside what the folder holds already. Gives its version.
    pub(super) fn unpack_beside(
        &self,
        package: &str,
        unpacked: &Path,
    ) -> Result<String, FetchError> {
        let deb = self.download_to_cache(package)?;
        unpack(&deb, unpacked)?;
        let mut command = Command::new("dpkg-deb");
        command.arg("-f").arg(&deb).arg("Version");
        Ok(run(command)?.trim().to_owned())
    }

    fn download_to_cache(&self, wanted: &str) -> Result<PathBuf, FetchError> {
        let debs = self.folder.join("debs").join(wanted);
        fs::create_dir_all(&debs).map_err(FetchError::file(&debs))?;
        let mut command = self.command("apt-get");
        command.args(["download", wanted]).current_dir(&debs);
        run(command)?;
        let mut entries = fs::read_dir(&debs).map_err(FetchError::file(&debs))?;
        let deb = entries.next().transpose().map_err(FetchError::file(&debs))?;
        deb.map(|entry| entry.path()).ok_or(FetchError::Incomplete { path: debs })
    }

    /// Installs packages on the machine from these lists, the named suite first.
    pub(super) fn install(&self, suite: &str, packages: &[&str]) -> Result<(), FetchError> {
        let mut command = self.private("apt-get", &["Dir::State::Status", "Dir::Cache"]);
        command.args(["install", "--yes", "--no-install-recommends", "-t", suite]).args(packages);
        run(command).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        self.private(program, &[])
    }

    /// The program with the private configuration, but for some options.
    fn private(&self, program: &str, without: &[&str]) -> Command {
        let mut command = Command::new(program);
        let path = |name: &str| self.folder.join(name).display().to_string();
        let options = [
            ("Dir::Etc::SourceList", "/dev/null".to_owned()),
            ("Dir::Etc::SourceParts", path("sources.d")),
            ("Dir::Etc::Preferences", "/dev/null".to_owned()),
            ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
            ("Dir::State::Lists", path("lists")),
            ("Dir::State::Status", path("status")),
            ("Dir::Cache", path("cache")),
            // The build folder may lie where apt's own user cannot go.
            ("APT::Sandbox::User", "root".to_owned()),
            ("APT::Architecture", "amd64".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
            ("Acquire::http::Timeout", "60".to_owned()),
            ("Acquire::https::Timeout", "60".to_owned()),
        ];
        for (name, value) in options.into_iter().filter(|(name, _)| !without.contains(name)) {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        command.arg("-q");
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<(), FetchError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(FetchError::file(&path))
    }
}

/// Unpacks a package file beside what the folder holds already.
pub(super) fn unpack(deb: &Path, folder: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(folder).map_err(FetchError::file(folder))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").args([deb, folder]);
    run(command).map(drop)
}

/// Runs a command to its end and gives what it printed.
fn run(mut command: Command) -> Result<String, FetchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| FetchError::NotRun { command: program.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut lines = stderr.lines().filter(|line| !line.trim().is_empty());
    let first_error = lines.clone().find(|line| line.starts_with("E:"));
    let line = first_error.or_else(|| lines.next_back()).unwrap_or_default();
    Err(FetchError::Command { command: program, output: line.to_owned() })
}
