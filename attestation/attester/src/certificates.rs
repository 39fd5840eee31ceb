// SPDX-License-Identifier: Apache-2.0
//! The certificate table that the host hands to the guest beside a report.

use casemate_evidence::snp::MAX_TABLE_BYTES;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::snp::TableError;
use casemate_evidence::snp::parse_table;
use casemate_evidence::snp::table_extent;

use crate::abi::CERTIFICATES_MAX;

// The parser takes what the kernel hands over, and no more.
const _: () = assert!(MAX_TABLE_BYTES == CERTIFICATES_MAX);

/// Reads the table at the beginning of a buffer. Behind it the device leaves what the memory that
/// it shares with the host held before.
///
/// # Errors
///
/// [`TableError`].
///
/// # Security
///
/// The host writes this table. It helps the relying party to find the chain and proves nothing.
pub(crate) fn read(buffer: &[u8]) -> Result<Vec<TableEntry>, TableError> {
    parse_table(buffer.get(..table_extent(buffer)?).unwrap_or(buffer))
}

#[cfg(test)]
mod tests {
    use casemate_evidence::snp::CertificateKind;
    use casemate_evidence::snp::write_table;

    use super::*;

    #[test]
    fn what_stands_behind_the_table_is_left_alone() {
        let entries = vec![TableEntry { kind: CertificateKind::Vcek, data: vec![1; 40] }];
        let mut buffer = write_table(&entries).unwrap();
        buffer.resize(4096, 0xCC);
        assert_eq!(read(&buffer).unwrap(), entries);
        assert_eq!(read(&[]).unwrap(), []);
        let mut none = [0xCC; 4096];
        none[..24].fill(0);
        assert_eq!(read(&none).unwrap(), []);
        // D7: a length into what stands behind, up to the buffer's end, is a certificate's own.
        buffer[20..24].copy_from_slice(&5000_u32.to_le_bytes());
        assert_eq!(read(&buffer), Err(TableError::Place { entry: 0 }));
    }
}
