// SPDX-License-Identifier: Apache-2.0
//! Files as people have them: binary, hexadecimal, DER or PEM.

mod thim;

use std::path::Path;

use pem_rfc7468::LineEnding;
use ring::digest;

use crate::failure::Failure;
use crate::file;
use crate::file::FileId;

/// A file that a verdict was made from.
#[derive(Debug)]
pub(crate) struct Input {
    /// What it was given as, for example `--report`.
    pub(crate) role: &'static str,
    /// Its path, as it was given.
    pub(crate) path: String,
    /// SHA-256 of the file, hexadecimal.
    pub(crate) sha256: String,
    /// Which file it is, `None` for standard input.
    pub(crate) id: Option<FileId>,
    bytes: Vec<u8>,
}

impl Input {
    /// Reads a file of at most `max` bytes; `-` is standard input.
    pub(crate) fn read(role: &'static str, path: &Path, max: u64) -> Result<Self, Failure> {
        let bytes = file::read(path, max)?;
        let sha256 = hex::encode(digest::digest(&digest::SHA256, &bytes));
        let id = file::id(path);
        Ok(Self { role, path: path.display().to_string(), sha256, id, bytes })
    }

    /// The content, with hexadecimal digits undone.
    pub(crate) fn content(&self) -> Vec<u8> {
        undo_hex(&self.bytes).unwrap_or_else(|| self.bytes.clone())
    }

    /// The file as it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content as text.
    pub(crate) fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.bytes).map_err(|_| self.unusable("it is not UTF-8"))
    }

    /// Every element of a PEM bundle with one of these labels, or of DER, in hexadecimal or not; or
    /// the certificates of Azure's answer about its host, JSON, in base64 or not.
    pub(crate) fn elements(&self, labels: &[&str]) -> Result<Vec<Vec<u8>>, Failure> {
        let content = self.content();
        let content = thim::pem(&content).unwrap_or(content);
        let elements = if find(&content, PEM_BEGIN).is_some() {
            split_pem(&content, labels)
        } else {
            split_der(&content)
        };
        match elements {
            Some(elements) if !elements.is_empty() && elements.len() <= MAX_ELEMENTS => {
                Ok(elements)
            }
            _ => Err(self.unusable("it is neither DER nor PEM of what is expected")),
        }
    }

    /// A failure of this file.
    pub(crate) fn unusable(&self, why: impl std::fmt::Display) -> Failure {
        let next = match self.role {
            POLICY => NEXT_POLICY,
            "--rego" | "--rego-reference" => NEXT_REGO,
            _ => NEXT,
        };
        Failure::new("input", format_args!("{} {}: {why}", self.role, self.path), next)
    }
}

/// Certificates as one PEM bundle.
pub(crate) fn to_pem(certificates: &[Vec<u8>]) -> String {
    let encode = |der: &Vec<u8>| pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, der);
    certificates.iter().filter_map(|der| encode(der).ok()).collect()
}

/// Bytes behind hexadecimal digits with any white space among them.
fn undo_hex(bytes: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let digits = digits.strip_prefix(b"0x").unwrap_or(&digits);
    if digits.is_empty() { None } else { hex::decode(digits).ok() }
}

/// The blocks of a PEM bundle. Text around them is skipped (RFC 7468, section 2), a block with
/// another label is an error.
fn split_pem(mut text: &[u8], labels: &[&str]) -> Option<Vec<Vec<u8>>> {
    let mut blocks = Vec::new();
    while let Some(begin) = find(text, PEM_BEGIN) {
        if blocks.len() == MAX_ELEMENTS {
            return None;
        }
        let block = text.get(begin..)?;
        let end = find(block, PEM_END)?.checked_add(PEM_END.len())?;
        let end = find(block.get(end..)?, DASHES)?.checked_add(end)?.checked_add(DASHES.len())?;
        let (block, rest) = block.split_at_checked(end)?;
        let (label, der) = pem_rfc7468::decode_vec(block).ok()?;
        if !labels.contains(&label) {
            return None;
        }
        blocks.push(der);
        text = rest;
    }
    Some(blocks)
}

/// DER elements one after the other, each a SEQUENCE of definite length.
fn split_der(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        if elements.len() == MAX_ELEMENTS {
            return None;
        }
        let (SEQUENCE, rest) = bytes.split_first().map(|(tag, rest)| (*tag, rest))? else {
            return None;
        };
        let (first, rest) = rest.split_first()?;
        let (head, length) = match *first {
            short @ 0..=0x7F => (2_usize, usize::from(short)),
            0x81 => (3, usize::from(*rest.first()?)),
            0x82 => (4, usize::from(u16::from_be_bytes(rest.first_chunk().copied()?))),
            // Nothing that is read here has 64 KiB.
            _ => return None,
        };
        let (element, rest) = bytes.split_at_checked(head.checked_add(length)?)?;
        elements.push(element.to_vec());
        bytes = rest;
    }
    Some(elements)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// What to do about a file that cannot be used.
pub(crate) const NEXT: &str =
    "give the file that is meant; binary, hexadecimal, DER and PEM are read";

/// The role of a policy's file, and what to do about one that cannot be used.
pub(crate) const POLICY: &str = "--policy";
const NEXT_POLICY: &str =
    "correct the policy, or give what it asks for; docs/how-to/verify-evidence.md has its rules";

const NEXT_REGO: &str = "correct the Rego policy or its reference values; docs/how-to/verify-evidence.md has their form";

const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const SEQUENCE: u8 = 0x30;

/// Most certificates or lists in one file.
const MAX_ELEMENTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let (role, path, sha256) = ("--x", "x".into(), String::new());
        Input { role, path, sha256, id: None, bytes: bytes.to_vec() }
    }

    fn elements(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        input(bytes).elements(&["CERTIFICATE"]).ok()
    }

    #[test]
    fn hexadecimal_digits_are_undone_and_nothing_else() {
        for (given, meant) in [
            ("0a0B\n", &b"\x0a\x0b"[..]),
            (" 0x0a 0b ", b"\x0a\x0b"),
            ("0a0", b"0a0"),
            ("0a0g", b"0a0g"),
            ("", b""),
            ("0x", b"0x"),
        ] {
            assert_eq!(input(given.as_bytes()).content(), meant, "{given}");
        }
    }

    #[test]
    fn certificates_come_in_every_form() {
        let (one, two) = (vec![0x30, 1, 7], [&[0x30, 0x81, 0x80][..], &[9; 0x80]].concat());
        let both = vec![one.clone(), two.clone()];
        let der = both.concat();
        assert_eq!(elements(&der), Some(both.clone()));
        assert_eq!(elements(hex::encode(&der).as_bytes()), Some(both.clone()));
        let pem = to_pem(&both);
        assert_eq!(elements(pem.as_bytes()), Some(both.clone()));
        assert_eq!(elements(format!("subject=x\n{pem}\ntext\n").as_bytes()), Some(both));
    }

    #[test]
    fn what_is_neither_is_refused() {
        // D7: lengths that lie, and bytes behind the end.
        let pem = to_pem(&[vec![0x30, 0]]);
        let many = [0x30, 0].repeat(MAX_ELEMENTS + 1);
        for bad in [
            &b""[..],
            b"\n",
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0, 0],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x83, 0, 0, 0],
            &[0x31, 0],
            b"-----BEGIN CERTIFICATE-----",
            pem.replace("CERTIFICATE", "PRIVATE KEY").as_bytes(),
            pem.replace("END", "EMD").as_bytes(),
            pem.replace("MAA", "M*A").as_bytes(),
            &many,
        ] {
            assert_eq!(elements(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        for end in 0..pem.len() - 1 {
            drop(elements(pem.get(..end).unwrap_or_default().as_bytes()));
        }
    }
}
