// SPDX-License-Identifier: Apache-2.0
//! TCB versions: security patch levels of the parts of the platform's firmware.

use std::fmt;

/// Security patch levels of a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcbVersion {
    /// Firmware of the co-processor's own controller; only products from Turin on have it.
    pub fmc: Option<u8>,
    /// Boot loader of the PSP.
    pub bootloader: u8,
    /// Operating system of the PSP.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Lowest microcode patch level of all cores.
    pub microcode: u8,
}

/// Where the levels stand in the eight bytes (ABI, table 3 and its form for family 1Ah).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcbLayout {
    /// Milan and Genoa: boot loader, TEE, four reserved, SNP, microcode.
    Legacy,
    /// Turin: FMC, boot loader, TEE, SNP, three reserved, microcode.
    Turin,
}

impl TcbLayout {
    /// The bytes without a meaning, and where they begin.
    pub(crate) fn reserved(self, bytes: &[u8; 8]) -> (usize, &[u8]) {
        let (start, end) = match self {
            Self::Legacy => (2, 6),
            Self::Turin => (4, 7),
        };
        (start, bytes.get(start..end).unwrap_or_default())
    }
}

impl TcbVersion {
    /// Whether every level is at least that of `floor`.
    ///
    /// A floor that names an FMC level is not met by a product without one.
    #[must_use]
    pub fn is_at_least(&self, floor: &Self) -> bool {
        let fmc = match (self.fmc, floor.fmc) {
            (_, None) => true,
            (Some(have), Some(want)) => have >= want,
            (None, Some(_)) => false,
        };
        fmc && self.bootloader >= floor.bootloader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }

    /// Reads the levels of eight bytes.
    pub(crate) fn parse(bytes: [u8; 8], layout: TcbLayout) -> Self {
        match (layout, bytes) {
            (TcbLayout::Legacy, [bootloader, tee, _, _, _, _, snp, microcode]) => {
                Self { fmc: None, bootloader, tee, snp, microcode }
            }
            (TcbLayout::Turin, [fmc, bootloader, tee, snp, _, _, _, microcode]) => {
                Self { fmc: Some(fmc), bootloader, tee, snp, microcode }
            }
        }
    }

    pub(crate) fn encode(&self, layout: TcbLayout) -> [u8; 8] {
        match layout {
            TcbLayout::Legacy => [self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode],
            TcbLayout::Turin => [
                self.fmc.unwrap_or_default(),
                self.bootloader,
                self.tee,
                self.snp,
                0,
                0,
                0,
                self.microcode,
            ],
        }
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc} ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "bootloader {bootloader} tee {tee} snp {snp} microcode {microcode}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_both_layouts() {
        let milan = TcbVersion::parse([3, 1, 0, 0, 0, 0, 8, 115], TcbLayout::Legacy);
        assert_eq!(milan.to_string(), "bootloader 3 tee 1 snp 8 microcode 115");
        let turin = TcbVersion::parse([9, 1, 0, 2, 0, 0, 0, 71], TcbLayout::Turin);
        assert_eq!(turin.to_string(), "fmc 9 bootloader 1 tee 0 snp 2 microcode 71");
    }

    #[test]
    fn a_floor_is_met_level_by_level() {
        // D3: a high microcode level does not make up for an old boot loader.
        let floor = TcbVersion { fmc: None, bootloader: 3, tee: 1, snp: 8, microcode: 100 };
        assert!(floor.is_at_least(&floor));
        assert!(TcbVersion { fmc: Some(0), ..floor }.is_at_least(&floor));
        for below in [
            TcbVersion { bootloader: 2, microcode: 255, ..floor },
            TcbVersion { tee: 0, ..floor },
            TcbVersion { snp: 7, ..floor },
            TcbVersion { microcode: 99, ..floor },
        ] {
            assert!(!below.is_at_least(&floor), "{below}");
        }
        let with_fmc = TcbVersion { fmc: Some(1), ..floor };
        assert!(!floor.is_at_least(&with_fmc));
        assert!(!TcbVersion { fmc: Some(0), ..floor }.is_at_least(&with_fmc));
    }

    proptest! {
        #[test]
        fn what_parses_encodes_the_same(bytes: [u8; 8], turin: bool) {
            let layout = if turin { TcbLayout::Turin } else { TcbLayout::Legacy };
            let encoded = TcbVersion::parse(bytes, layout).encode(layout);
            let reserved = layout.reserved(&bytes).1.iter().any(|byte| *byte != 0);
            prop_assert_eq!(encoded == bytes, !reserved);
        }
    }
}
