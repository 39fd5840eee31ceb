// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::tdx::testing::vector;

#[test]
fn reads_real_reports() {
    for name in ["tdx/guest-components/tdx_report_1.bin", "tdx/intel-dcap/tdreport_for_test.dat"] {
        let bytes = vector(name);
        let report = TdReport::parse(&bytes).unwrap();
        assert_eq!(report.as_bytes(), bytes, "{name}");
        assert_eq!(report.info(), &bytes[512..], "{name}");
        assert_eq!(report.tcb_info(), &bytes[256..495], "{name}");
        assert_eq!(report.report_data()[..], bytes[128..192], "{name}");
        assert_eq!(report.info_digest()[..], bytes[80..128], "{name}");
        assert_eq!(report.tcb_info_digest()[..], bytes[32..80], "{name}");
        assert_eq!(report.tee_tcb_svn()[..], bytes[264..280], "{name}");
        assert_eq!(report.mr_seam()[..], bytes[280..328], "{name}");
        assert_eq!(report.mr_td()[..], bytes[528..576], "{name}");
        assert_eq!(report.mr_config_id()[..], bytes[576..624], "{name}");
        assert_eq!(report.rtmrs().concat(), bytes[720..912], "{name}");
        assert_ne!(report.xfam(), 0, "{name}");
    }
}

#[test]
fn another_size_or_type_is_refused() {
    let bytes = vector("tdx/guest-components/tdx_report_1.bin");
    for end in 0..bytes.len() {
        assert_eq!(TdReport::parse(&bytes[..end]).err(), Some(TdReportError::Size { actual: end }));
    }
    // A file of the right size that is scrambled: it does not say that it is of a TD.
    let scrambled = vector("tdx/go-tdx-guest/report.dat");
    assert!(matches!(TdReport::parse(&scrambled), Err(TdReportError::Type { .. })));
    let mut enclave = bytes;
    enclave[0] = 0;
    assert_eq!(TdReport::parse(&enclave).err(), Some(TdReportError::Type { kind: 0, subtype: 0 }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), TD_REPORT_BYTES)) {
        if let Ok(report) = TdReport::parse(&bytes) {
            prop_assert_eq!(report.as_bytes(), &bytes[..]);
        }
    }
}
