// SPDX-License-Identifier: Apache-2.0
//! What the tests' containers do that a shell cannot: single system calls, and their errors by name.
#![allow(unsafe_code, reason = "makes system calls that no wrapper makes")]

use std::process::ExitCode;

use nix::errno::Errno;
use nix::libc;

/// `probe <what> [argument...]`: prints `ok` or the error's name.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["open", path] => open(path),
        ["mknod", kind, major, minor, path] => mknod(kind, major, minor, path),
        ["syscall", number, arguments @ ..] => syscall(number, arguments),
        ["eat", mebibytes] => eat(mebibytes),
        ["orphans", count] => orphans(count),
        _ => Err(Errno::EINVAL),
    };
    match result {
        Ok(()) => println!("ok"),
        Err(errno) => println!("{errno:?}"),
    }
    ExitCode::SUCCESS
}

fn open(path: &str) -> Result<(), Errno> {
    match std::fs::OpenOptions::new().read(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
    }
}

fn mknod(kind: &str, major: &str, minor: &str, path: &str) -> Result<(), Errno> {
    let number = |text: &str| text.parse().map_err(|_| Errno::EINVAL);
    let kind = match kind {
        "c" => rustix::fs::FileType::CharacterDevice,
        _ => rustix::fs::FileType::BlockDevice,
    };
    let device = rustix::fs::makedev(number(major)?, number(minor)?);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// A system call with up to six numbers.
fn syscall(number: &str, arguments: &[&str]) -> Result<(), Errno> {
    let parse = |text: &str| text.parse::<i64>().map_err(|_| Errno::EINVAL);
    let mut values = [0_i64; 6];
    for (value, text) in values.iter_mut().zip(arguments) {
        *value = parse(text)?;
    }
    let [a, b, c, d, e, f] = values;
    // SAFETY: the tests give only calls that fail or that read no memory of this process.
    let result = unsafe { libc::syscall(parse(number)?, a, b, c, d, e, f) };
    Errno::result(result).map(|_| ())
}

/// Touches memory until the kernel stops it.
fn eat(mebibytes: &str) -> Result<(), Errno> {
    let count: usize = mebibytes.parse().map_err(|_| Errno::EINVAL)?;
    let mut blocks = Vec::new();
    for _ in 0..count {
        blocks.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
    Ok(())
}

/// Leaves children behind that end later.
fn orphans(count: &str) -> Result<(), Errno> {
    let count: u32 = count.parse().map_err(|_| Errno::EINVAL)?;
    for _ in 0..count {
        std::process::Command::new("/bin/sleep").arg("0.1").spawn().map_err(|_| Errno::EAGAIN)?;
    }
    Ok(())
}
