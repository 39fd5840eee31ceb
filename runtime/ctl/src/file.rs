// SPDX-License-Identifier: Apache-2.0
//! Reading and writing files.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use ring::digest;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Which file it is, whatever its path: device and number.
pub(crate) type FileId = (u64, u64);

/// The file at `path`, if there is one.
pub(crate) fn id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether two paths are of one file, through links too; paths where nothing lies yet are compared
/// below the true path of their folder.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    match (id(one), id(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => place(one).is_some_and(|one| Some(one) == place(other)),
        _ => false,
    }
}

fn place(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
    Some(folder.join(path.file_name()?))
}

/// Reads a file of at most `max` bytes; `-` is standard input.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let fail = |error: io::Error| cannot("read", path, &error);
    let mut bytes = Vec::new();
    let limit = max.saturating_add(1);
    let size = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        open(path)?.take(limit).read_to_end(&mut bytes)
    };
    match u64::try_from(size.map_err(fail)?) {
        Ok(size) if size <= max => Ok(bytes),
        _ => Err(too_large(path, max)),
    }
}

/// A failure if a file that a guest starts from has nothing in it: no guest starts from nothing.
pub(crate) fn demand_some(path: &Path, size: u64) -> Result<(), Failure> {
    if size > 0 {
        return Ok(());
    }
    Err(Failure::new(
        "file",
        format_args!("{} is empty", path.display()),
        "give the file that the guest is launched with",
    ))
}

/// SHA-256 of a file of 1 to `max` bytes, which is not kept in memory; `-` is standard input.
pub(crate) fn sha256(path: &Path, max: u64) -> Result<[u8; 32], Failure> {
    let fail = |error: io::Error| cannot("read", path, &error);
    let mut source: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin().lock()) } else { Box::new(open(path)?) };
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; HASHED_AT_ONCE];
    let mut size = 0_u64;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fail(error)),
        };
        size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if size > max {
            return Err(too_large(path, max));
        }
        context.update(buffer.get(..read).unwrap_or_default());
    }
    demand_some(path, size)?;
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

/// Opens a regular file, or what this process was given open: a named pipe that nobody writes to
/// would keep it waiting, and a device has no end.
fn open(path: &Path) -> Result<File, Failure> {
    let fail = |error: io::Error| cannot("read", path, &error);
    if is_descriptor(path) {
        return File::open(path).map_err(fail);
    }
    // Opened first and looked at then: between a look and an opening another file may come there.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = File::options();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(fail)?;
    let kind = file.metadata().map_err(fail)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a named pipe"
        } else {
            "no regular file"
        };
        return Err(Failure::new(
            "file",
            format_args!("{} is {what}", path.display()),
            "give a regular file, or `-` for standard input",
        ));
    }
    Ok(file)
}

/// Whether the path names a descriptor of this process, as a shell's `<(…)` does.
fn is_descriptor(path: &Path) -> bool {
    let number = ["/dev/fd/", "/proc/self/fd/"]
        .iter()
        .find_map(|folder| path.to_str()?.strip_prefix(folder));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    path == Path::new("/dev/stdin") || number.is_some_and(is_number)
}

/// Reads a text file of at most `max` bytes.
pub(crate) fn read_text(path: &Path, max: u64) -> Result<String, Failure> {
    String::from_utf8(read(path, max)?).map_err(|_| {
        Failure::new(
            "file",
            format_args!("{} is not UTF-8", path.display()),
            "give the file that is meant",
        )
    })
}

/// Reads a file that holds exactly `N` secret bytes.
pub(crate) fn read_secret<const N: usize>(path: &Path) -> Result<Zeroizing<[u8; N]>, Failure> {
    let mut secret = Zeroizing::new([0; N]);
    let wrong_size = || {
        Failure::new(
            "key",
            format_args!("{} does not hold exactly {N} bytes", path.display()),
            "make a key: head -c 32 /dev/urandom > FILE",
        )
    };
    let mut file = open(path)?;
    file.read_exact(secret.as_mut_slice()).map_err(|_| wrong_size())?;
    match file.read(&mut [0]) {
        Ok(0) => Ok(secret),
        _ => Err(wrong_size()),
    }
}

/// Writes a file, or standard output if there is no path.
pub(crate) fn write(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    match path {
        Some(path) => fs::write(path, text).map_err(|error| cannot("write", path, &error)),
        None => io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| cannot("write", Path::new("standard output"), &error)),
    }
}

/// Writes a regular file, and does not wait for the reader of a named pipe.
pub(crate) fn write_regular(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |error: io::Error| cannot("write", path, &error);
    let no_wait = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false).custom_flags(no_wait);
    let mut file = options.open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Failure::new(
            "file",
            format_args!("{} is no regular file", path.display()),
            "give the path of a regular file",
        ));
    }
    file.set_len(0).and_then(|()| file.write_all(bytes)).map_err(fail)
}

/// Writes a file.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| cannot("write", path, &error))
}

fn too_large(path: &Path, max: u64) -> Failure {
    Failure::new(
        "file",
        format_args!("{} has more than {max} bytes", path.display()),
        "give the file that is meant",
    )
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        "file",
        format_args!("failed to {verb} {}: {error}", path.display()),
        "check the path and its permissions",
    )
}

/// Bytes that are read and hashed at once: they stay in the processor's cache.
const HASHED_AT_ONCE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nobody_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let regular = folder.path().join("file");
        fs::write(&regular, "text").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let through = Path::new("/dev/fd/../zero");
        for path in [&pipe, &link, folder.path(), Path::new("/dev/zero"), through] {
            let failure = read(path, 10).unwrap_err().to_string();
            assert!(failure.starts_with("file: "), "{failure}");
        }
        assert_eq!(read(&regular, 4).unwrap(), b"text");
        assert!(read(&regular, 3).unwrap_err().to_string().contains("more than 3 bytes"));
        for folder in ["/dev/fd", "/proc/self/fd"] {
            let open = File::open(&regular).unwrap();
            let path = format!("{folder}/{}", open.as_raw_fd());
            assert_eq!(read(Path::new(&path), 4).unwrap(), b"text");
        }
    }

    #[test]
    fn an_empty_file_has_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        fs::write(&path, "").unwrap();
        assert!(sha256(&path, 10).unwrap_err().to_string().contains("is empty"));
        fs::write(&path, "x").unwrap();
        assert!(sha256(&path, 1).is_ok() && sha256(&path, 0).is_err());
    }
}
