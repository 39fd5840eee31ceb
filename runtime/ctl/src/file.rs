// SPDX-License-Identifier: Apache-2.0
//! Reading and writing files.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use ring::digest;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Reads a file of at most `max` bytes; `-` is standard input.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let fail = |error: io::Error| cannot("read", path, &error);
    let mut bytes = Vec::new();
    let limit = max.saturating_add(1);
    let size = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    match u64::try_from(size.map_err(fail)?) {
        Ok(size) if size <= max => Ok(bytes),
        _ => Err(too_large(path, max)),
    }
}

/// SHA-256 of a file of at most `max` bytes, which is not kept in memory; `-` is standard input.
pub(crate) fn sha256(path: &Path, max: u64) -> Result<[u8; 32], Failure> {
    let fail = |error: io::Error| cannot("read", path, &error);
    let mut source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(fail)?)
    };
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
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
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
    let mut file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    file.read_exact(secret.as_mut_slice()).map_err(|_| wrong_size())?;
    match file.read(&mut [0]) {
        Ok(0) => Ok(secret),
        _ => Err(wrong_size()),
    }
}

/// Writes a file, or standard output if there is no path.
pub(crate) fn write(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    match path {
        Some(path) => std::fs::write(path, text).map_err(|error| cannot("write", path, &error)),
        None => io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| cannot("write", Path::new("standard output"), &error)),
    }
}

/// Writes a file.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| cannot("write", path, &error))
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
