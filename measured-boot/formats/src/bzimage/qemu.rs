// SPDX-License-Identifier: Apache-2.0
//! The kernel as QEMU passes it to a guest that is not encrypted.
//!
//! Source: QEMU, `hw/i386/x86-common.c` (`x86_load_linux`). Under SEV it passes the file as it is.

use super::BzImage;
use super::BzImageError;
use super::CAN_USE_HEAP;
use super::CMDLINE_POINTER;
use super::HEAP_END;
use super::LOAD_FLAGS;
use super::RAMDISK_IMAGE;
use super::RAMDISK_SIZE;
use super::TYPE_OF_LOADER;
use super::VIDEO_MODE;

/// Memory that QEMU's PC machines keep for ACPI tables at the end of low memory, in bytes.
pub const ACPI_DATA_SIZE: u32 = 0x2_8000;

/// What decides the values that QEMU writes into the setup header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QemuBoot {
    /// Guest memory below 4 GiB, in bytes.
    pub low_memory: u32,
    /// Memory kept for ACPI tables at the end of it, in bytes; see [`ACPI_DATA_SIZE`].
    pub acpi_data_size: u32,
    /// Size of the initrd in bytes, `None` without `-initrd`.
    pub initrd_size: Option<u32>,
    /// The mode that `vga=` in the command line names, if it is there.
    pub video_mode: Option<u16>,
}

impl QemuBoot {
    /// The q35 machine with this much memory, in bytes, and without `vga=` in the command line.
    #[must_use]
    pub fn q35(memory: u64, initrd_size: Option<u32>) -> Self {
        let all = u32::try_from(memory).unwrap_or(u32::MAX);
        let low_memory = if all >= Q35_LOW_LIMIT { Q35_LOW_MEMORY } else { all };
        Self { low_memory, acpi_data_size: ACPI_DATA_SIZE, initrd_size, video_mode: None }
    }

    /// Where QEMU puts the initrd.
    fn initrd_address(&self, kernel: &BzImage<'_>, size: u32) -> Result<u32, BzImageError> {
        let highest = if kernel.can_be_above_4g() { u32::MAX } else { kernel.max_initrd_address() };
        let memory = self.low_memory.saturating_sub(self.acpi_data_size).saturating_sub(1);
        let limit = highest.min(memory);
        match limit.checked_sub(size) {
            Some(address) if address > 0 => Ok(address & !0xfff),
            _ => Err(BzImageError::InitrdTooLarge { size, limit }),
        }
    }
}

impl BzImage<'_> {
    /// The file as QEMU passes it on to a guest that is not an SEV guest: with loader type, heap,
    /// command line and initrd written into the setup header. All but these bytes are the file's.
    ///
    /// # Errors
    ///
    /// [`BzImageError::InitrdTooLarge`] if QEMU would not start.
    ///
    /// # Security
    ///
    /// E1: firmware that checks a SEV hash table sees the raw file, so a table over these bytes
    /// starts nothing. Whoever predicts hashes must know which of the two the guest is given.
    pub fn patched_by_qemu(&self, boot: &QemuBoot) -> Result<Vec<u8>, BzImageError> {
        let [load_flags] = super::need(self.file, LOAD_FLAGS)?;
        let mut file = self.file.to_vec();
        put(&mut file, TYPE_OF_LOADER, [QEMU]);
        put(&mut file, LOAD_FLAGS, [load_flags | CAN_USE_HEAP]);
        put(&mut file, HEAP_END, HEAP_END_VALUE.to_le_bytes());
        put(&mut file, CMDLINE_POINTER, CMDLINE_ADDRESS.to_le_bytes());
        if let Some(mode) = boot.video_mode {
            put(&mut file, VIDEO_MODE, mode.to_le_bytes());
        }
        if let Some(size) = boot.initrd_size {
            let address = boot.initrd_address(self, size)?;
            put(&mut file, RAMDISK_IMAGE, address.to_le_bytes());
            put(&mut file, RAMDISK_SIZE, size.to_le_bytes());
        }
        Ok(file)
    }
}

/// Writes a field of the setup header, which a parsed file has in full.
fn put<const N: usize>(file: &mut [u8], offset: usize, value: [u8; N]) {
    if let Some(place) = file.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

/// The loader type that stands for QEMU, version 0.
const QEMU: u8 = 0xb0;
/// Where QEMU puts the command line.
const CMDLINE_ADDRESS: u32 = 0x2_0000;
/// End of the real-mode heap: the command line's distance from the real-mode code at 0x10000, less
/// the boot sector.
const HEAP_END_VALUE: u16 = 0xfe00;
/// From this much memory on, q35 keeps only [`Q35_LOW_MEMORY`] below 4 GiB.
const Q35_LOW_LIMIT: u32 = 0xb000_0000;
const Q35_LOW_MEMORY: u32 = 0x8000_0000;
