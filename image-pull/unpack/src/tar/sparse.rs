// SPDX-License-Identifier: Apache-2.0
//! Sparse files.

use super::TarError;
use super::header::numeric;

/// Where the data of a sparse file goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SparseMap {
    /// Runs of data still to come, the next one last.
    runs: Vec<Run>,
    position: u64,
    real_size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    offset: u64,
    size: u64,
}

/// What comes next in a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Hole(u64),
    /// At most so many bytes of data.
    Data(u64),
}

impl SparseMap {
    /// The file's size with its holes.
    pub(super) fn real_size(&self) -> u64 {
        self.real_size
    }

    /// The next part; a hole is passed at once, data by [`Self::consume`].
    pub(super) fn next_part(&mut self) -> Result<Option<Part>, TarError> {
        while let Some(run) = self.runs.last().copied() {
            if run.size == 0 && run.offset <= self.position {
                self.runs.pop();
                continue;
            }
            let hole = run.offset.checked_sub(self.position).ok_or(TarError::Sparse)?;
            if hole > 0 {
                self.position = run.offset;
                return Ok(Some(Part::Hole(hole)));
            }
            return Ok(Some(Part::Data(run.size)));
        }
        let hole = self.real_size.checked_sub(self.position).ok_or(TarError::Sparse)?;
        self.position = self.real_size;
        Ok((hole > 0).then_some(Part::Hole(hole)))
    }

    /// Passes data.
    pub(super) fn consume(&mut self, size: u64) {
        self.position = self.position.saturating_add(size);
        if let Some(run) = self.runs.last_mut() {
            run.offset = run.offset.saturating_add(size);
            run.size = run.size.saturating_sub(size);
        }
    }
}

/// A map being read.
#[derive(Debug, Default)]
pub(super) struct Builder {
    runs: Vec<Run>,
}

/// A map entry as it stands in an old GNU header.
pub(super) struct RawSparse<'a> {
    pub(super) offset: &'a [u8],
    pub(super) size: &'a [u8],
}

impl Builder {
    /// A map from offsets and sizes in turn.
    pub(super) fn from_numbers(numbers: &[u64]) -> Result<Self, TarError> {
        let mut map = Self::default();
        for pair in numbers.chunks(2) {
            let [offset, size] = *pair else { return Err(TarError::Sparse) };
            map.add(Run { offset, size })?;
        }
        Ok(map)
    }

    /// Adds the entries of a block of the old GNU form; false at the entry that ends the map.
    pub(super) fn add_block<'a>(
        &mut self,
        entries: impl Iterator<Item = RawSparse<'a>>,
    ) -> Result<bool, TarError> {
        let number =
            |field| numeric(field).and_then(|n| u64::try_from(n).ok()).ok_or(TarError::Sparse);
        for entry in entries {
            if entry.offset.first() == Some(&0) {
                return Ok(false);
            }
            self.add(Run { offset: number(entry.offset)?, size: number(entry.size)? })?;
        }
        Ok(true)
    }

    /// The map of a file of `real_size` bytes with `data_size` bytes of data: runs in order, apart
    /// from each other, inside the file, and exactly as much data as there is.
    pub(super) fn finish(self, real_size: u64, data_size: u64) -> Result<SparseMap, TarError> {
        let (mut end, mut data) = (0, 0_u64);
        for run in &self.runs {
            if run.offset < end {
                return Err(TarError::Sparse);
            }
            end = run.offset.checked_add(run.size).ok_or(TarError::Sparse)?;
            data = data.saturating_add(run.size);
        }
        if end > real_size || data != data_size {
            return Err(TarError::Sparse);
        }
        Ok(SparseMap { runs: self.runs.into_iter().rev().collect(), position: 0, real_size })
    }

    fn add(&mut self, run: Run) -> Result<(), TarError> {
        if self.runs.len() >= MAX_RUNS {
            return Err(TarError::Sparse);
        }
        self.runs.push(run);
        Ok(())
    }
}

/// The decimal lines of the PAX 1.0 form: a count, then so many offsets and sizes.
#[derive(Default)]
pub(super) struct Lines {
    numbers: Vec<u64>,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn add(&mut self, block: &[u8]) -> Result<(), TarError> {
        for byte in block {
            if self.complete()? {
                break;
            }
            if *byte == b'\n' {
                self.numbers.push(decimal(&self.line)?);
                self.line.clear();
            } else if self.line.len() < MAX_DIGITS {
                self.line.push(*byte);
            } else {
                return Err(TarError::Sparse);
            }
        }
        Ok(())
    }

    pub(super) fn complete(&self) -> Result<bool, TarError> {
        let Some((count, numbers)) = self.numbers.split_first() else { return Ok(false) };
        let count = usize::try_from(*count).map_err(|_| TarError::Sparse)?;
        if count > MAX_RUNS {
            return Err(TarError::Sparse);
        }
        Ok(count.checked_mul(2) == Some(numbers.len()))
    }

    pub(super) fn into_builder(self) -> Result<Builder, TarError> {
        Builder::from_numbers(self.numbers.get(1..).unwrap_or_default())
    }
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, TarError> {
    let text = std::str::from_utf8(text).map_err(|_| TarError::Sparse)?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TarError::Sparse);
    }
    text.parse().map_err(|_| TarError::Sparse)
}

/// Most runs of data in a sparse file.
const MAX_RUNS: usize = 65_536;
/// Most digits of a number.
const MAX_DIGITS: usize = 20;
