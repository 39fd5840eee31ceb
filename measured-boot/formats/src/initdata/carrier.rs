// SPDX-License-Identifier: Apache-2.0
//! How initdata travels: as a pod annotation, and as a small read-only block device.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::GzBuilder;
use flate2::bufread::GzDecoder;

use super::Initdata;
use super::InitdataError;
use super::MAX_DOCUMENT_SIZE;

/// Largest accepted annotation, in bytes: what Kubernetes allows for all annotations of an object.
pub const MAX_ANNOTATION_SIZE: usize = 256 * 1024;

/// Largest accepted compressed document, in bytes: what fits the annotation.
pub const MAX_COMPRESSED_SIZE: usize = MAX_ANNOTATION_SIZE / 4 * 3;

/// Largest accepted device, in bytes: header and compressed document, padded to whole sectors.
pub const MAX_DEVICE_SIZE: usize = (HEADER_SIZE + MAX_COMPRESSED_SIZE).next_multiple_of(SECTOR);

impl Initdata {
    /// The value of the pod annotation: `base64(gzip(document))`, always the same text.
    ///
    /// # Errors
    ///
    /// [`InitdataError::CompressedTooLarge`] if no annotation can hold the document.
    pub fn to_annotation(&self) -> Result<String, InitdataError> {
        Ok(STANDARD.encode(compress(self.as_bytes())?))
    }

    /// Reads the value of the pod annotation.
    ///
    /// # Errors
    ///
    /// Anything but padded base64 of one gzip member of a document: see [`InitdataError`].
    pub fn from_annotation(annotation: &str) -> Result<Self, InitdataError> {
        if annotation.len() > MAX_ANNOTATION_SIZE {
            return Err(InitdataError::AnnotationTooLarge);
        }
        let compressed =
            STANDARD.decode(annotation).map_err(|source| InitdataError::Base64 { source })?;
        Self::parse(&decompress(&compressed)?)
    }

    /// The content of the initdata block device, always the same bytes: the magic `initdata`, the
    /// length of the gzip data as a little-endian u64, the gzip data, zeros up to a multiple of 512.
    ///
    /// # Errors
    ///
    /// [`InitdataError::CompressedTooLarge`] if the device could not be read back.
    pub fn to_device_image(&self) -> Result<Vec<u8>, InitdataError> {
        let compressed = compress(self.as_bytes())?;
        let length = u64::try_from(compressed.len()).unwrap_or(u64::MAX);
        let mut device = [MAGIC, &length.to_le_bytes(), &compressed].concat();
        device.resize(device.len().next_multiple_of(SECTOR), 0);
        Ok(device)
    }

    /// Reads the content of the initdata block device.
    ///
    /// # Errors
    ///
    /// Anything but one document and zeros behind it: see [`InitdataError`].
    ///
    /// # Security
    ///
    /// D16: a second document behind the first is refused, so that no other reader of the device
    /// can see another document.
    pub fn from_device_image(device: &[u8]) -> Result<Self, InitdataError> {
        if device.len() > MAX_DEVICE_SIZE {
            return Err(InitdataError::DeviceTooLarge);
        }
        let rest = device.strip_prefix(MAGIC).ok_or(InitdataError::BadMagic)?;
        let (length, rest) = rest.split_first_chunk().ok_or(InitdataError::DeviceTruncated)?;
        let length = usize::try_from(u64::from_le_bytes(*length))
            .map_err(|_| InitdataError::CompressedTooLarge)?;
        if length > MAX_COMPRESSED_SIZE {
            return Err(InitdataError::CompressedTooLarge);
        }
        let (compressed, padding) =
            rest.split_at_checked(length).ok_or(InitdataError::DeviceTruncated)?;
        if let Some(position) = padding.iter().position(|byte| *byte != 0) {
            let offset = HEADER_SIZE.saturating_add(length).saturating_add(position);
            return Err(InitdataError::DirtyPadding { offset });
        }
        Self::parse(&decompress(compressed)?)
    }
}

fn compress(document: &[u8]) -> Result<Vec<u8>, InitdataError> {
    // No time, no name, "unknown" as the operating system: the header never varies.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let compressed = encoder
        .write_all(document)
        .and_then(|()| encoder.finish())
        .map_err(|source| InitdataError::Gzip { source })?;
    if compressed.len() > MAX_COMPRESSED_SIZE {
        return Err(InitdataError::CompressedTooLarge);
    }
    Ok(compressed)
}

/// Unpacks exactly one gzip member; a bomb stops one byte behind [`MAX_DOCUMENT_SIZE`].
fn decompress(mut compressed: &[u8]) -> Result<Vec<u8>, InitdataError> {
    let mut document = Vec::new();
    let mut decoder = GzDecoder::new(&mut compressed);
    let mut limited = decoder.by_ref().take(OUTPUT_LIMIT);
    limited.read_to_end(&mut document).map_err(|source| match source.kind() {
        ErrorKind::UnexpectedEof => InitdataError::GzipTruncated,
        _ => InitdataError::Gzip { source },
    })?;
    if document.len() > MAX_DOCUMENT_SIZE {
        return Err(InitdataError::DocumentTooLarge);
    }
    drop(decoder);
    if !compressed.is_empty() {
        return Err(InitdataError::TrailingData { length: compressed.len() });
    }
    Ok(document)
}

const MAGIC: &[u8] = b"initdata";
const HEADER_SIZE: usize = 16;
const SECTOR: usize = 512;

#[expect(clippy::as_conversions, reason = "a small constant, in const context")]
const OUTPUT_LIMIT: u64 = MAX_DOCUMENT_SIZE as u64 + 1;
