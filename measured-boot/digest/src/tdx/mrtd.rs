// SPDX-License-Identifier: Apache-2.0
//! MRTD: the measurement that the TDX module makes of a TD's first memory.
//!
//! Source: Intel, TDX Module Base Architecture Specification, sections on TDH.MEM.PAGE.ADD and
//! TDH.MR.EXTEND. MRTD is one SHA-384 over records of 128 bytes: a name, filled with zeros to 16
//! bytes, and a guest-physical address. The record of an extension is followed by its 256 bytes.

use std::fmt;

use casemate_boot_formats::ovmf::PAGE_SIZE;
use ring::digest;

use crate::plan::TdxSection;

/// In which order the host adds pages and measures them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MrtdForm {
    /// Each page is added and then measured: upstream KVM (Linux 6.16, QEMU 10.1).
    SinglePass,
    /// A section is added whole and then measured: Intel's and Canonical's trees before that.
    TwoPass,
}

/// The measurement of a TD's first memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mrtd([u8; 48]);

impl Mrtd {
    /// The measurement as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    pub(crate) fn of(sections: &[TdxSection<'_>], form: MrtdForm) -> Self {
        let mut stream = Stream(digest::Context::new(&digest::SHA384));
        for section in sections {
            match form {
                MrtdForm::SinglePass => {
                    for index in 0..section.pages() {
                        stream.add(section, index);
                        stream.extend(section, index);
                    }
                }
                MrtdForm::TwoPass => {
                    (0..section.pages()).for_each(|index| stream.add(section, index));
                    (0..section.pages()).for_each(|index| stream.extend(section, index));
                }
            }
        }
        let mut mrtd = [0; 48];
        mrtd.copy_from_slice(stream.0.finish().as_ref());
        Self(mrtd)
    }
}

/// Writes 96 hexadecimal digits.
impl fmt::Display for Mrtd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Mrtd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mrtd({self})")
    }
}

struct Stream(digest::Context);

impl Stream {
    fn add(&mut self, section: &TdxSection<'_>, index: u64) {
        self.record(b"MEM.PAGE.ADD\0\0\0\0", page_address(section, index));
    }

    fn extend(&mut self, section: &TdxSection<'_>, index: u64) {
        if !section.is_measured() {
            return;
        }
        let page = section.page(index);
        let (chunks, _) = page.as_chunks::<EXTEND_SIZE>();
        for (chunk, offset) in chunks.iter().zip((0..).step_by(EXTEND_SIZE)) {
            let gpa = page_address(section, index).saturating_add(offset);
            self.record(b"MR.EXTEND\0\0\0\0\0\0\0", gpa);
            self.0.update(chunk);
        }
    }

    fn record(&mut self, name: &[u8; 16], gpa: u64) {
        self.0.update(name);
        self.0.update(&gpa.to_le_bytes());
        self.0.update(&[0; 104]);
    }
}

fn page_address(section: &TdxSection<'_>, index: u64) -> u64 {
    section.gpa().saturating_add(index.saturating_mul(PAGE_SIZE))
}

const EXTEND_SIZE: usize = 256;
