// SPDX-License-Identifier: Apache-2.0
//! The little that the builder asks of a bzImage: its release.
//!
//! Source: Linux, `Documentation/arch/x86/boot.rst`.

/// The release that the kernel names itself, for instance `6.12.117+deb12-cloud-amd64`.
pub(crate) fn release(image: &[u8]) -> Result<String, KernelError> {
    if image.get(MAGIC_AT..).and_then(<[u8]>::first_chunk) != Some(b"HdrS") {
        return Err(KernelError::NotBzImage);
    }
    let pointer =
        image.get(VERSION_AT..).and_then(<[u8]>::first_chunk).map(|at| u16::from_le_bytes(*at));
    let start = usize::from(pointer.ok_or(KernelError::NotBzImage)?).saturating_add(SECTOR);
    let text = image.get(start..).ok_or(KernelError::NoRelease)?;
    let text = text.get(..MAX_RELEASE).unwrap_or(text);
    // The version text goes on with who built it and when.
    let end =
        text.iter().position(|byte| matches!(byte, b' ' | 0)).ok_or(KernelError::NoRelease)?;
    let release = text.get(..end).and_then(|release| std::str::from_utf8(release).ok());
    match release {
        Some(release)
            if !release.is_empty() && release.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(release.to_owned())
        }
        _ => Err(KernelError::NoRelease),
    }
}

/// Why a kernel image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The file has no setup header.
    #[error("the kernel is not a bzImage")]
    NotBzImage,
    /// The kernel does not name its release.
    #[error("the kernel image names no release")]
    NoRelease,
}

const MAGIC_AT: usize = 0x202;
const VERSION_AT: usize = 0x20e;
/// The pointer to the version counts from the second sector.
const SECTOR: usize = 0x200;
const MAX_RELEASE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x300];
        image[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(b"HdrS");
        image[VERSION_AT..VERSION_AT + 2].copy_from_slice(&0x100_u16.to_le_bytes());
        image.extend_from_slice(version);
        image
    }

    #[test]
    fn reads_the_release() {
        let image = image(b"6.12.1-cloud (root@host) #1\0rest");
        assert_eq!(release(&image), Ok("6.12.1-cloud".to_owned()));
        assert_eq!(release(&self::image(b"6.12.1\0")), Ok("6.12.1".to_owned()));
    }

    #[test]
    fn refuses_what_is_no_kernel() {
        assert_eq!(release(b""), Err(KernelError::NotBzImage));
        assert_eq!(release(&[0; 4096]), Err(KernelError::NotBzImage));
        for version in [b"".as_slice(), b"6.12.1", b" x", b"6\n12 ", b"\xff\xff "] {
            assert_eq!(release(&image(version)), Err(KernelError::NoRelease), "{version:?}");
        }
        let image = image(b"6.12.1 ");
        for length in 0..image.len() {
            assert!(release(&image[..length]).is_err());
        }
    }
}
