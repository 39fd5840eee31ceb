// SPDX-License-Identifier: Apache-2.0
//! Decompression of layers.

use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

/// How a layer's tar archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952: one or more members and nothing after the last.
    Gzip,
    /// Zstandard, RFC 8878: one or more frames, windows of at most 32 MiB.
    Zstd,
}

/// The decompressed bytes of `input`.
///
/// The reader fails at bytes that do not belong to the format, also after its end: a layer has one
/// reading (C13).
pub(crate) fn decompress<'a, R: Read + 'a>(
    input: R,
    compression: Compression,
) -> Box<dyn Read + 'a> {
    let input = BufReader::with_capacity(BUFFER_SIZE, input);
    match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(Zstd::Between(Some(Box::new((input, new_decoder()))))),
    }
}

/// Zstandard frames, one after the other.
enum Zstd<R: Read> {
    /// Before a frame, or at the end. Empty only while the state changes, or after an error.
    Between(Option<Box<(BufReader<R>, FrameDecoder)>>),
    /// Inside a frame.
    Inside(Box<StreamingDecoder<BufReader<R>, FrameDecoder>>),
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Self::Between(state) => {
                    let mut taken = state.take().ok_or(io::ErrorKind::InvalidData)?;
                    if taken.0.fill_buf()?.is_empty() {
                        *state = Some(taken);
                        return Ok(0);
                    }
                    if skip_skippable(&mut taken.0)? {
                        *state = Some(taken);
                        continue;
                    }
                    let (input, decoder) = *taken;
                    let inside = StreamingDecoder::new_with_decoder(input, decoder)
                        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                    *self = Self::Inside(Box::new(inside));
                }
                Self::Inside(decoder) => {
                    let size = decoder.read(buffer)?;
                    if size > 0 || buffer.is_empty() {
                        return Ok(size);
                    }
                    // The frame ended: its checksum, if it has one, must be right.
                    let (stored, computed) = (
                        decoder.decoder.get_checksum_from_data(),
                        decoder.decoder.get_calculated_checksum(),
                    );
                    if stored.is_some() && stored != computed {
                        return Err(invalid("zstd frame has a wrong checksum"));
                    }
                    let Self::Inside(done) = std::mem::replace(self, Self::Between(None)) else {
                        return Err(io::ErrorKind::InvalidData.into());
                    };
                    *self = Self::Between(Some(Box::new(done.into_parts())));
                }
            }
        }
    }
}

/// Skips a skippable frame if `input` is at one.
fn skip_skippable<R: Read>(input: &mut BufReader<R>) -> io::Result<bool> {
    // A frame's magic may lie across the end of the buffer; 0x184D2A5? in little-endian order
    // differs from a normal frame's in the first byte already.
    let Some(first) = input.buffer().first() else { return Ok(false) };
    if first & 0xf0 != 0x50 {
        return Ok(false);
    }
    let mut header = [0; 8];
    input.read_exact(&mut header)?;
    let [_, a, b, c, size @ ..] = header;
    if [a, b, c] != [0x2a, 0x4d, 0x18] {
        return Err(invalid("no zstd frame"));
    }
    let size = u64::from(u32::from_le_bytes(size));
    if io::copy(&mut input.take(size), &mut io::sink())? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(true)
}

fn new_decoder() -> FrameDecoder {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    decoder
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Unit of reading in bytes.
const BUFFER_SIZE: usize = 64 << 10;
/// Largest zstd window in bytes: the memory that one decoder may take (C13). Builders' default
/// levels use 8 MiB or less.
const MAX_WINDOW: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn plain() -> Vec<u8> {
        (0..200_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(data: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        decompress(data, compression).read_to_end(&mut found).map(|_| found)
    }

    #[test]
    fn reads_each_format() {
        assert_eq!(read(&plain(), Compression::None).unwrap(), plain());
        assert_eq!(read(&gzip(&plain()), Compression::Gzip).unwrap(), plain());
        assert_eq!(read(&zstd(&plain()), Compression::Zstd).unwrap(), plain());
    }

    #[test]
    fn reads_members_and_frames_one_after_the_other() {
        let data = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(read(&data, Compression::Gzip).unwrap(), b"one two");
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let data = [zstd(b"one "), skippable, zstd(b"two")].concat();
        assert_eq!(read(&data, Compression::Zstd).unwrap(), b"one two");
    }

    // C13: trailing data.
    #[test]
    fn refuses_trailing_garbage() {
        for garbage in [&b"x"[..], &[0; 512], &[0x1f, 0x8b], &[0x50, 0x2a], &[0x28, 0xb5]] {
            let data = [&gzip(b"data"), garbage].concat();
            assert!(read(&data, Compression::Gzip).is_err(), "{garbage:?}");
            let data = [&zstd(b"data"), garbage].concat();
            assert!(read(&data, Compression::Zstd).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn refuses_truncation_everywhere() {
        let (gzip, zstd) = (gzip(b"some data, some data"), zstd(b"some data, some data"));
        for at in 1..gzip.len() {
            assert!(read(&gzip[..at], Compression::Gzip).is_err(), "{at}");
        }
        for at in 1..zstd.len() {
            assert!(read(&zstd[..at], Compression::Zstd).is_err(), "{at}");
        }
    }

    // C13: zstd window bomb.
    #[test]
    fn refuses_large_zstd_windows() {
        // Magic, descriptor without single segment or checksum, window descriptor, one empty last
        // raw block.
        let frame = |window| [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 1, 0, 0];
        let exponent = |log: u8| (log - 10) << 3;
        assert!(read(&frame(exponent(25)), Compression::Zstd).is_ok()); // 32 MiB
        assert!(read(&frame(exponent(25) | 1), Compression::Zstd).is_err()); // 36 MiB
        assert!(read(&frame(exponent(27)), Compression::Zstd).is_err()); // 128 MiB
        assert!(read(&frame(0xff), Compression::Zstd).is_err());
    }

    #[test]
    fn survives_every_changed_byte() {
        for (data, compression) in
            [(gzip(b"some data"), Compression::Gzip), (zstd(b"some data"), Compression::Zstd)]
        {
            for at in 0..data.len() {
                for change in 1..=255 {
                    let mut data = data.clone();
                    data[at] ^= change;
                    let _ = read(&data, compression);
                }
            }
        }
    }
}
