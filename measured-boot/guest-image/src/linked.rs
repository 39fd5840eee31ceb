// SPDX-License-Identifier: Apache-2.0
//! The libraries that are in a static program without being crates, as far as its own bytes tell.
//!
//! glibc's banner and what compilers write into `.comment` name exact versions, Debian's revision too.
//! So this is no matter of what is installed where the image is built.

use crate::elf;

/// A library of the system that was linked into a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its version, that of the package if there is one; `None` if nothing tells.
    pub version: Option<String>,
    /// The Debian package that holds it for linking.
    pub package: Option<String>,
    /// Its licence, an SPDX expression.
    pub license: &'static str,
}

/// Finds glibc, libgcc and Rust's standard library in a program.
#[must_use]
pub fn libraries(program: &[u8]) -> Vec<Library> {
    let comments = elf::comments(program);
    let mut found: Vec<_> = glibc(program).into_iter().collect();
    found.extend(comments.iter().filter_map(|comment| libgcc(comment)));
    found.extend(comments.iter().filter_map(|comment| rust(comment)));
    found.sort();
    found.dedup();
    found
}

/// `GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.`
fn glibc(program: &[u8]) -> Option<Library> {
    let at = program.windows(BANNER.len()).position(|window| window == BANNER)?;
    let rest = program.get(at.checked_add(BANNER.len())?..)?;
    let text = text(rest.get(..rest.len().min(MAX_BANNER))?);
    let (by, rest) = text.split_once(')')?;
    let released = rest.split_once("release version ")?.1.split_whitespace().next()?;
    let released = released.trim_end_matches('.');
    let debian = by.strip_prefix("Debian GLIBC ");
    Some(Library {
        name: "glibc".to_owned(),
        version: Some(version(debian.unwrap_or(released))?),
        package: debian.map(|_| "libc6-dev".to_owned()),
        license: "LGPL-2.1-or-later",
    })
}

/// `GCC: (Debian 12.2.0-14+deb12u1) 12.2.0`: the compiler of the C parts, which links its own library.
fn libgcc(comment: &str) -> Option<Library> {
    let (by, released) = comment.strip_prefix("GCC: (")?.split_once(") ")?;
    let debian = by.strip_prefix("Debian ");
    let major = released.split('.').next().filter(|major| major.parse::<u16>().is_ok())?;
    Some(Library {
        name: "libgcc".to_owned(),
        version: Some(version(debian.unwrap_or(released))?),
        package: debian.map(|_| format!("libgcc-{major}-dev")),
        license: "GPL-3.0-or-later WITH GCC-exception-3.1",
    })
}

/// `rustc version 1.95.0 (59807616e 2026-04-14)`
fn rust(comment: &str) -> Option<Library> {
    let released = comment.strip_prefix("rustc version ")?.split(' ').next()?;
    Some(Library {
        name: "rust-std".to_owned(),
        version: Some(version(released)?),
        package: None,
        license: "MIT OR Apache-2.0",
    })
}

/// What a version may be made of (Debian Policy, section 5.6.12).
fn version(text: &str) -> Option<String> {
    let is_one = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
    (!text.is_empty() && text.len() <= MAX_VERSION && text.chars().all(is_one))
        .then(|| text.to_owned())
}

/// The ASCII text at the front.
fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| !byte.is_ascii() || *byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

const BANNER: &[u8] = b"GNU C Library (";
/// As much of the banner as holds the versions, in bytes.
const MAX_BANNER: usize = 256;
/// Longest accepted version, in bytes.
const MAX_VERSION: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(library: Option<Library>) -> Option<(String, Option<String>)> {
        library.map(|library| (library.version.unwrap(), library.package))
    }

    #[test]
    fn reads_the_versions_that_programs_hold() {
        let debian =
            b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n\0";
        let libc = Some("libc6-dev".to_owned());
        assert_eq!(found(glibc(debian)), Some(("2.36-9+deb12u14".to_owned(), libc)));
        let plain = b"GNU C Library (GNU libc) stable release version 2.41.\nCopyright";
        assert_eq!(found(glibc(plain)), Some(("2.41".to_owned(), None)));
        let gcc = "GCC: (Debian 12.2.0-14+deb12u1) 12.2.0";
        let package = Some("libgcc-12-dev".to_owned());
        assert_eq!(found(libgcc(gcc)), Some(("12.2.0-14+deb12u1".to_owned(), package)));
        assert_eq!(found(libgcc("GCC: (GNU) 15.1.1")), Some(("15.1.1".to_owned(), None)));
        let rustc = "rustc version 1.95.0 (59807616e 2026-04-14)";
        assert_eq!(found(rust(rustc)), Some(("1.95.0".to_owned(), None)));
    }

    #[test]
    fn takes_nothing_else_for_a_version() {
        for banner in [
            &b"GNU C Library ("[..],
            b"GNU C Library (Debian GLIBC )stable release version 2.36.",
            b"GNU C Library (Debian GLIBC 2.36\x1b[31m) stable release version 2.36.",
            b"GNU C Library (GNU libc) stable release version .",
            b"GNU C Library (GNU libc)\0 stable release version 2.36.",
        ] {
            assert_eq!(glibc(banner), None, "{banner:?}");
        }
        let long = format!("GCC: (GNU) 1{}", ".1".repeat(40));
        for comment in ["", "GCC: (", "GCC: (GNU) ", "GCC: (Debian x) y", "clang version 1", &long]
        {
            assert_eq!((libgcc(comment), rust(comment)), (None, None), "{comment}");
        }
        assert_eq!(libraries(b"no program"), []);
        let program = std::fs::read("/proc/self/exe").unwrap();
        assert!(libraries(&program).iter().any(|library| library.name == "rust-std"));
    }
}
