// SPDX-License-Identifier: Apache-2.0
//! The CPUID page of an SNP guest, which the PSP checks and may correct.
//!
//! Source: SEV Secure Nested Paging Firmware ABI (56860) 1.57, section 8.17.2.6 (page) and table 14
//! (entries).

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::LaunchError;
use crate::abi::CpuidEntry;

/// Room in the CPUID page.
pub const MAX_CPUID_ENTRIES: usize = 64;

/// The page under construction or as the PSP gave it back.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CpuidPage {
    count: u32,
    reserved: [u32; 3],
    entries: [Entry; MAX_CPUID_ENTRIES],
    rest: [u8; 1008],
}

impl CpuidPage {
    /// Takes the entries of the two ranges that the PSP knows.
    pub(crate) fn new(table: &[CpuidEntry]) -> Result<Self, LaunchError> {
        let known: Vec<_> = table.iter().filter(|entry| is_checked(entry.function)).collect();
        let too_many =
            LaunchError::TooManyCpuidEntries { entries: known.len(), limit: MAX_CPUID_ENTRIES };
        if known.len() > MAX_CPUID_ENTRIES {
            return Err(too_many);
        }
        let mut page = <Self as zerocopy::FromZeros>::new_zeroed();
        page.count = u32::try_from(known.len()).map_err(|_| too_many)?;
        for (place, entry) in page.entries.iter_mut().zip(known) {
            *place = Entry::new(entry);
        }
        Ok(page)
    }

    pub(crate) fn as_page(&self) -> [u8; 4096] {
        zerocopy::transmute!(self.clone())
    }

    /// Reads what the PSP made of this page.
    ///
    /// # Errors
    ///
    /// [`LaunchError::CpuidRefused`] if it is not this page with other values in its registers:
    /// there is then nothing to agree to. [`LaunchError::CpuidCorrection`] if there are changes
    /// that [`CpuidChange::is_harmless`] does not know.
    pub(crate) fn corrected(
        &self,
        page: &[u8; 4096],
    ) -> Result<(Self, Vec<CpuidChange>), LaunchError> {
        let theirs: Self = zerocopy::transmute!(*page);
        let same_questions = |(ours, theirs): (&Entry, &Entry)| ours.input() == theirs.input();
        if self.count != theirs.count
            || self.reserved != theirs.reserved
            || self.rest != theirs.rest
            || !self.entries.iter().zip(&theirs.entries).all(same_questions)
        {
            return Err(LaunchError::CpuidRefused);
        }
        let pairs = self.entries.iter().zip(&theirs.entries);
        let changes: Vec<_> = pairs.flat_map(|(ours, theirs)| ours.changes(theirs)).collect();
        let (harmless, changes): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(CpuidChange::is_harmless);
        if !changes.is_empty() {
            return Err(LaunchError::CpuidCorrection { changes });
        }
        if harmless.is_empty() {
            return Err(LaunchError::CpuidRefused);
        }
        Ok((theirs, harmless))
    }
}

/// One value of the CPUID page that the PSP wants otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidChange {
    /// EAX of the query.
    pub function: u32,
    /// ECX of the query.
    pub index: u32,
    /// Register of the answer.
    pub register: CpuidRegister,
    /// What the launcher wrote.
    pub ours: u32,
    /// What the PSP accepts.
    pub theirs: u32,
}

impl CpuidChange {
    /// Whether the launcher agrees without being asked: the guest merely does without a feature
    /// that KVM offers and SNP lacks, or sees another size of its register file.
    ///
    /// A bit that the PSP *sets*, or one that it clears and that is not in the table, changes what
    /// the guest was made for, and ends the launch.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        let key = (self.function, self.index, self.register);
        let row = HARMLESS.iter().find(|row| (row.function, row.index, row.register) == key);
        row.is_some_and(|row| match row.change {
            Harmless::Clear(bits) => (self.ours ^ self.theirs) & !(self.ours & bits) == 0,
            Harmless::AnyValue => true,
        })
    }
}

impl fmt::Display for CpuidChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, index, register, ours, theirs } = self;
        write!(formatter, "{function:#x}.{index} {register:?} {ours:#x} -> {theirs:#x}")
    }
}

/// A register of the answer to CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CpuidRegister {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    eax_in: u32,
    ecx_in: u32,
    xcr0_in: u64,
    xss_in: u64,
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
    reserved: u64,
}

impl Entry {
    fn new(entry: &CpuidEntry) -> Self {
        let CpuidEntry { function, index, eax, ebx, ecx, edx, .. } = *entry;
        // The size of the register file (leaf 0xd) is checked for a guest that has just started,
        // where XCR0 is 1.
        let (xcr0_in, ebx) = match (function, index) {
            (XSAVE_LEAF, 0 | 1) => (1, XSAVE_MINIMUM),
            _ => (0, ebx),
        };
        Self {
            eax_in: function,
            ecx_in: index,
            xcr0_in,
            xss_in: 0,
            eax,
            ebx,
            ecx,
            edx,
            reserved: 0,
        }
    }

    fn input(&self) -> (u32, u32, u64, u64, u64) {
        (self.eax_in, self.ecx_in, self.xcr0_in, self.xss_in, self.reserved)
    }

    fn changes(&self, theirs: &Self) -> impl Iterator<Item = CpuidChange> + use<> {
        let (function, index) = (self.eax_in, self.ecx_in);
        [
            (CpuidRegister::Eax, self.eax, theirs.eax),
            (CpuidRegister::Ebx, self.ebx, theirs.ebx),
            (CpuidRegister::Ecx, self.ecx, theirs.ecx),
            (CpuidRegister::Edx, self.edx, theirs.edx),
        ]
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(move |(register, ours, theirs)| CpuidChange {
            function,
            index,
            register,
            ours,
            theirs,
        })
    }
}

struct Row {
    function: u32,
    index: u32,
    register: CpuidRegister,
    change: Harmless,
}

enum Harmless {
    /// These bits may go from 1 to 0.
    Clear(u32),
    /// The whole register may change.
    AnyValue,
}

const fn row(function: u32, index: u32, register: CpuidRegister, change: Harmless) -> Row {
    Row { function, index, register, change }
}

/// What firmware is known to correct on hosts whose KVM offers more than SNP guests may have.
const HARMLESS: &[Row] = &[
    row(0x1, 0, CpuidRegister::Ecx, Harmless::Clear(1 << 24)), // TSC_DEADLINE
    row(0x7, 0, CpuidRegister::Ebx, Harmless::Clear(1 << 1)),  // TSC_ADJUST
    // SPEC_CTRL, INTEL_STIBP, ARCH_CAPABILITIES, SPEC_CTRL_SSBD: Intel's names of AMD's 0x80000008.
    row(0x7, 0, CpuidRegister::Edx, Harmless::Clear(1 << 26 | 1 << 27 | 1 << 29 | 1 << 31)),
    row(XSAVE_LEAF, 0, CpuidRegister::Ebx, Harmless::AnyValue),
    row(XSAVE_LEAF, 1, CpuidRegister::Ebx, Harmless::AnyValue),
    row(0x8000_0008, 0, CpuidRegister::Ebx, Harmless::Clear(1 << 25)), // VIRT_SSBD
    row(0x8000_0021, 0, CpuidRegister::Eax, Harmless::Clear(1 << 9)),  // NO_SMM_CTL
];

/// Leaf 0xd: the registers that XSAVE saves.
const XSAVE_LEAF: u32 = 0xd;
/// Size of the x87 and SSE registers with the header of XSAVE, in bytes.
const XSAVE_MINIMUM: u32 = 0x240;

/// The PSP checks standard and extended functions, and no hypervisor's.
fn is_checked(function: u32) -> bool {
    matches!(function, 0..=0xffff | 0x8000_0000..=0x8000_ffff)
}

const _: () = assert!(size_of::<CpuidPage>() == 4096 && size_of::<Entry>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<CpuidEntry> {
        vec![
            CpuidEntry { function: 1, ecx: 1 << 24 | 1, ..CpuidEntry::default() },
            CpuidEntry { function: 0xd, index: 1, ebx: 9, ..CpuidEntry::default() },
            CpuidEntry { function: 0x4000_0000, eax: 1, ..CpuidEntry::default() },
            CpuidEntry { function: 0x8000_0008, ebx: 1 << 25, ..CpuidEntry::default() },
        ]
    }

    fn correct(change: impl FnOnce(&mut [u8; 4096])) -> Result<Vec<CpuidChange>, LaunchError> {
        let ours = CpuidPage::new(&table()).unwrap();
        let mut page = ours.as_page();
        change(&mut page);
        ours.corrected(&page).map(|(theirs, changes)| {
            assert_eq!(theirs.as_page(), page);
            changes
        })
    }

    #[test]
    fn lays_out_the_page_without_hypervisor_functions() {
        let page = CpuidPage::new(&table()).unwrap().as_page();
        assert_eq!(page[..4], 3_u32.to_le_bytes());
        assert_eq!(page[16 + 48..][..4], 0xd_u32.to_le_bytes());
        assert_eq!(page[16 + 48 + 8..][..8], 1_u64.to_le_bytes());
        assert_eq!(page[16 + 48 + 28..][..4], 0x240_u32.to_le_bytes());
        assert_eq!(page[16 + 96..][..4], 0x8000_0008_u32.to_le_bytes());
        assert!(page[16 + 3 * 48..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn refuses_more_entries_than_the_page_holds() {
        let entries = vec![CpuidEntry::default(); 65];
        assert_eq!(
            CpuidPage::new(&entries).err(),
            Some(LaunchError::TooManyCpuidEntries { entries: 65, limit: 64 })
        );
        assert!(CpuidPage::new(&entries[1..]).is_ok());
    }

    #[test]
    fn agrees_to_a_cleared_bit_of_the_table() {
        // TSC_DEADLINE: byte 3 of ECX of the first entry.
        let changes = correct(|page| page[16 + 32 + 3] = 0).unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].to_string(), "0x1.0 Ecx 0x1000001 -> 0x1");
    }

    #[test]
    fn refuses_cleared_bits_outside_of_the_table_and_set_bits() {
        let cleared = correct(|page| page[16 + 32] = 0);
        assert!(
            matches!(cleared, Err(LaunchError::CpuidCorrection { changes }) if changes.len() == 1)
        );
        let set = correct(|page| page[16 + 32 + 3] = 3);
        assert!(matches!(set, Err(LaunchError::CpuidCorrection { .. })));
        // A harmless change beside it does not help.
        let both = correct(|page| {
            page[16 + 32 + 3] = 0;
            page[16 + 24] = 1;
        });
        assert!(
            matches!(both, Err(LaunchError::CpuidCorrection { changes }) if changes.len() == 1)
        );
    }

    #[test]
    fn refuses_a_page_with_other_questions_or_no_change() {
        assert_eq!(correct(|_| {}), Err(LaunchError::CpuidRefused));
        for offset in [0, 4, 16, 20, 24, 32, 56, 16 + 64 * 48] {
            assert_eq!(
                correct(|page| page[offset] ^= 1),
                Err(LaunchError::CpuidRefused),
                "{offset}"
            );
        }
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let ours = CpuidPage::new(&table()).unwrap();
        for offset in 0..4096 {
            let mut page = ours.as_page();
            page[offset] ^= 0xff;
            if let Ok((_, changes)) = ours.corrected(&page) {
                assert_eq!(changes.len(), 1);
                assert_eq!((changes[0].function, changes[0].register), (0xd, CpuidRegister::Ebx));
            }
        }
    }
}
