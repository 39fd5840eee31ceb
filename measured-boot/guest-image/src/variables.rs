// SPDX-License-Identifier: Apache-2.0
//! Takes the enrolled variables out of firmware: secure boot keys that would refuse the kernel.
//!
//! Sources: UEFI Platform Initialization 1.8, volume 3, section 3.2.1 (firmware volume header);
//! EDK II, `MdeModulePkg/Include/Guid/VariableFormat.h` (variable store header).

use casemate_boot_formats::tdvf::Tdvf;
use casemate_boot_formats::tdvf::TdvfError;
use casemate_boot_formats::tdvf::TdvfKind;

/// The same TDX firmware, whose variable store is as after its first format: empty.
///
/// Debian builds its TDX firmware with Microsoft's keys enrolled, and then it starts only what
/// Microsoft signed, of all that is measured. The guest's kernel is measured and signed by Debian.
/// What is taken out does not enter MRTD; it enters RTMR 0, where the owner sees that it is gone.
///
/// # Errors
///
/// Firmware whose variables are not where and what TDVF says: see [`VariablesError`].
pub(crate) fn without_variables(firmware: &[u8]) -> Result<Vec<u8>, VariablesError> {
    let tdvf = Tdvf::parse(firmware)?;
    let mut volumes =
        tdvf.sections().iter().filter(|section| section.kind() == TdvfKind::Configuration);
    let (Some(volume), None) = (volumes.next(), volumes.next()) else {
        return Err(VariablesError::Volumes);
    };
    // The image ends at 4 GiB.
    let offset = usize::try_from(FOUR_GIB.saturating_sub(volume.gpa()))
        .ok()
        .and_then(|distance| firmware.len().checked_sub(distance))
        .ok_or(VariablesError::Place)?;
    let end = offset.saturating_add(volume.data().len());
    if firmware.get(offset..end) != Some(volume.data()) {
        return Err(VariablesError::Place);
    }
    let (start, len) = variables(volume.data())?;
    let mut emptied = firmware.to_vec();
    emptied.iter_mut().skip(offset.saturating_add(start)).take(len).for_each(|byte| *byte = ERASED);
    Ok(emptied)
}

/// Whether TDX firmware comes with variables, secure boot keys for instance.
///
/// # Errors
///
/// Firmware whose variables are not where and what TDVF says: see [`VariablesError`].
pub fn has_variables(firmware: &[u8]) -> Result<bool, VariablesError> {
    without_variables(firmware).map(|emptied| emptied != firmware)
}

/// Where the variables lie in a firmware volume: offset and length.
fn variables(volume: &[u8]) -> Result<(usize, usize), VariablesError> {
    let bad = VariablesError::VolumeHeader;
    let header_len = u16::from_le_bytes(field(volume, 0x30).ok_or(bad)?);
    let header_len = usize::from(header_len);
    let header = volume.get(..header_len).ok_or(VariablesError::VolumeHeader)?;
    let is_whole = field(volume, 0x10) == Some(NV_DATA)
        && field(volume, 0x20).map(u64::from_le_bytes) == u64::try_from(volume.len()).ok()
        && field(volume, 0x28) == Some(*b"_FVH")
        && header_len >= MIN_HEADER
        && header_len.is_multiple_of(2)
        && sum(header) == 0;
    if !is_whole {
        return Err(VariablesError::VolumeHeader);
    }
    let store = volume.get(header_len..).unwrap_or_default();
    let size = field(store, 16).map(u32::from_le_bytes).and_then(|size| usize::try_from(size).ok());
    let len = size.and_then(|size| size.checked_sub(STORE_HEADER));
    match (field(store, 0), len, field(store, 20)) {
        (Some(AUTHENTICATED), Some(len), Some(FORMATTED_HEALTHY))
            if store.len().checked_sub(STORE_HEADER).is_some_and(|most| len <= most) =>
        {
            Ok((header_len.saturating_add(STORE_HEADER), len))
        }
        _ => Err(VariablesError::StoreHeader),
    }
}

/// Why firmware keeps its variables.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VariablesError {
    /// It is no TDX firmware.
    #[error("it has no usable TDVF metadata")]
    Tdvf(#[from] TdvfError),
    /// It has no configuration volume, or several.
    #[error("it has not one configuration volume")]
    Volumes,
    /// The configuration volume is not where firmware lies in memory.
    #[error("its configuration volume is not where its address says")]
    Place,
    /// The volume's header is malformed.
    #[error("its configuration volume has no usable header")]
    VolumeHeader,
    /// The variable store's header is malformed.
    #[error("its configuration volume has no usable variable store")]
    StoreHeader,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The checksum over a header, 0 if it is whole.
fn sum(header: &[u8]) -> u16 {
    let (words, _) = header.as_chunks();
    words.iter().fold(0, |sum: u16, word| sum.wrapping_add(u16::from_le_bytes(*word)))
}

/// gEfiSystemNvDataFvGuid, fff12b8d-7696-4c8b-a985-2747075b4f50.
const NV_DATA: [u8; 16] = [
    0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
];
/// gEfiAuthenticatedVariableGuid, aaf32c78-947b-439a-a180-2e144ec37792.
const AUTHENTICATED: [u8; 16] = [
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
];
/// VARIABLE_STORE_FORMATTED and VARIABLE_STORE_HEALTHY.
const FORMATTED_HEALTHY: [u8; 2] = [0x5a, 0xfe];
/// Size of EFI_FIRMWARE_VOLUME_HEADER with a block map of one entry and its end.
const MIN_HEADER: usize = 0x48;
/// Size of VARIABLE_STORE_HEADER.
const STORE_HEADER: usize = 28;
/// Where firmware ends in guest-physical memory.
const FOUR_GIB: u64 = 1 << 32;
/// What erased flash holds.
const ERASED: u8 = 0xff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A volume of 4096 bytes whose store of 1000 bytes is full of variables.
    fn volume() -> Vec<u8> {
        let mut volume = vec![0x77; 4096];
        volume[..0x48].fill(0);
        volume[0x10..0x20].copy_from_slice(&NV_DATA);
        volume[0x20..0x28].copy_from_slice(&4096_u64.to_le_bytes());
        volume[0x28..0x2c].copy_from_slice(b"_FVH");
        volume[0x30..0x32].copy_from_slice(&[0x48, 0]);
        let checksum = 0_u16.wrapping_sub(sum(&volume[..0x48]));
        volume[0x32..0x34].copy_from_slice(&checksum.to_le_bytes());
        volume[0x48..0x58].copy_from_slice(&AUTHENTICATED);
        volume[0x58..0x5c].copy_from_slice(&1000_u32.to_le_bytes());
        volume[0x5c..0x64].copy_from_slice(&[0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
        volume
    }

    #[test]
    fn finds_the_variables() {
        assert_eq!(variables(&volume()).unwrap(), (0x64, 1000 - 28));
    }

    #[test]
    fn every_changed_byte_of_a_header_is_refused_or_changes_the_length() {
        for at in 0..0x64 {
            let mut volume = volume();
            volume[at] ^= 1;
            match (at, variables(&volume)) {
                (..0x48, found) => {
                    assert!(matches!(found, Err(VariablesError::VolumeHeader)), "{at}");
                }
                (0x48..0x58 | 0x5c | 0x5d, found) => {
                    assert!(matches!(found, Err(VariablesError::StoreHeader)), "{at}");
                }
                (0x58..0x5c, Err(error)) => {
                    assert!(matches!(error, VariablesError::StoreHeader), "{at}");
                }
                (0x58..0x5c, Ok((_, len))) => assert_ne!(len, 1000 - 28, "{at}"),
                // Reserved.
                (_, found) => assert_eq!(found.unwrap(), (0x64, 1000 - 28), "{at}"),
            }
        }
    }

    #[test]
    fn a_store_fits_its_volume_and_its_header() {
        let with = |size: usize| {
            let mut volume = volume();
            volume[0x58..0x5c].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
            variables(&volume)
        };
        assert_eq!(with(28).unwrap(), (0x64, 0));
        assert_eq!(with(4096 - 0x48).unwrap(), (0x64, 4096 - 0x64));
        for size in [0, 27, 4096 - 0x48 + 1, 0xffff_ffff] {
            assert!(matches!(with(size), Err(VariablesError::StoreHeader)), "{size}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let volume = volume();
        for len in 0..volume.len() {
            assert!(variables(&volume[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn what_is_no_firmware_is_refused() {
        for image in [Vec::new(), vec![0; 4096], vec![0xff; 1 << 20]] {
            assert!(matches!(without_variables(&image), Err(VariablesError::Tdvf(_))));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..0x64_usize) {
            let _ = variables(&bytes);
            let mut volume = volume();
            volume.iter_mut().skip(at).zip(&bytes).for_each(|(to, from)| *to = *from);
            let _ = variables(&volume);
        }
    }
}
