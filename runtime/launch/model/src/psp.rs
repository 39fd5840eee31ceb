// SPDX-License-Identifier: Apache-2.0
//! The PSP: what it measures, what it corrects, and the guest that it reports.

use casemate_launch::CpuidRegister;
use casemate_launch::abi;

use crate::Host;
use crate::sha384;

/// A launched SNP guest, as its report would describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpGuest {
    /// MEASUREMENT.
    pub digest: [u8; 48],
    /// POLICY.
    pub policy: u64,
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// Whether reports may not be signed by the VCEK.
    pub vcek_disabled: bool,
    /// The ID block.
    pub id_block: Option<[u8; abi::ID_BLOCK_SIZE]>,
    /// Whether the ID block's key was signed by an author.
    pub has_author_key: bool,
    /// SEV features of its virtual CPUs.
    pub features: u64,
    /// Number of measured virtual CPUs.
    pub vcpus: usize,
    /// The CPUID page as the PSP accepted it.
    pub cpuid_page: Option<Vec<u8>>,
}

/// What the PSP and KVM know of a launch.
#[derive(Debug, Default)]
pub(crate) struct Psp {
    pub(crate) features: Option<u64>,
    pub(crate) context: Option<Context>,
    pub(crate) guest: Option<SnpGuest>,
}

/// A launch between LAUNCH_START and LAUNCH_FINISH.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) policy: u64,
    pub(crate) digest: [u8; 48],
    pub(crate) cpuid_page: Option<Vec<u8>>,
}

impl Context {
    /// Measures one page.
    pub(crate) fn fold(&mut self, gpa: u64, page_type: u8, contents: &[u8; 48]) {
        let mut page_info = Vec::with_capacity(112);
        page_info.extend(self.digest);
        page_info.extend(contents);
        page_info.extend(112_u16.to_le_bytes());
        page_info.extend([page_type, 0, 0, 0, 0, 0]);
        page_info.extend(gpa.to_le_bytes());
        self.digest = sha384(&[&page_info]);
    }
}

impl Psp {
    pub(crate) fn guest(&self) -> Option<&SnpGuest> {
        self.guest.as_ref()
    }
}

/// The page with the values that the PSP wants, if it wants others.
pub(crate) fn correct_cpuid(host: &Host, page: &[u8; 4096]) -> Option<Vec<u8>> {
    let mut right = page.to_vec();
    let (_, entries) = right.split_at_mut(16);
    for entry in entries.chunks_exact_mut(48).take(64) {
        let word = |bytes: &[u8], at: usize| {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        let (function, index) = (word(entry, 0), word(entry, 4));
        let limits = host.cpuid_limits.iter();
        for limit in limits.filter(|limit| (limit.function, limit.index) == (function, index)) {
            let at = match limit.register {
                CpuidRegister::Eax => 24,
                CpuidRegister::Ebx => 28,
                CpuidRegister::Ecx => 32,
                CpuidRegister::Edx => 36,
            };
            let value = word(entry, at) & !limit.zeros | limit.ones;
            let places = entry.iter_mut().skip(at);
            places.zip(value.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        }
    }
    (right != page).then_some(right)
}
