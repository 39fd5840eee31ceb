// SPDX-License-Identifier: Apache-2.0
//! The runtime measurement registers of a TDX guest, through sysfs.
//!
//! Source: Linux 6.16, `Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{Context, SHA384};

use crate::files::{Files, Kernel};

/// The folder of the TDX guest device in sysfs.
pub const TDX_GUEST_SYSFS: &str = "/sys/devices/virtual/misc/tdx_guest";

/// Size of a register and of what it is extended with, in bytes.
pub const RTMR_LEN: usize = 48;

/// A register that is the guest's to extend. The firmware's own, 0 and 1, are not: who extends them
/// spoils what the owner compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rtmr {
    /// RTMR 2: by convention the kernel's command line, initrd and what comes before the workload.
    Two,
    /// RTMR 3: what happens at run time.
    Three,
}

impl Rtmr {
    const fn file(self) -> &'static str {
        match self {
            Self::Two => "measurements/rtmr2:sha384",
            Self::Three => "measurements/rtmr3:sha384",
        }
    }
}

impl fmt::Display for Rtmr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Two => "RTMR 2",
            Self::Three => "RTMR 3",
        })
    }
}

/// The registers of this guest.
#[derive(Debug, Clone)]
pub struct RuntimeRegisters {
    device: PathBuf,
    files: Arc<dyn Files>,
}

impl RuntimeRegisters {
    /// The registers below [`TDX_GUEST_SYSFS`].
    #[must_use]
    pub fn new() -> Self {
        Self::at(Path::new(TDX_GUEST_SYSFS))
    }

    /// The registers below the folder of the device at another path.
    #[must_use]
    pub fn at(device: &Path) -> Self {
        Self { device: device.to_owned(), files: Arc::new(Kernel) }
    }

    /// The present value of a register.
    ///
    /// # Errors
    ///
    /// [`RtmrError`].
    pub fn read(&self, register: Rtmr) -> Result<[u8; RTMR_LEN], RtmrError> {
        let read = self.files.read(&self.device.join(register.file()), RTMR_LEN);
        let bytes = read.map_err(|source| self.failure(source, register, Access::Read))?;
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(RtmrError::Size { register })
    }

    /// Extends a register: its value becomes SHA-384 of the old value and `digest`, one behind the
    /// other. Returns the new value.
    ///
    /// # Errors
    ///
    /// [`RtmrError`]. After [`RtmrError::Unexpected`] the register has been extended, though not by
    /// this alone.
    ///
    /// # Security
    ///
    /// The register is read before and after, so that a write that did nothing, or that stands in
    /// another order than the caller's log will say, is an error and not a surprise of the verifier.
    pub fn extend(
        &self,
        register: Rtmr,
        digest: &[u8; RTMR_LEN],
    ) -> Result<[u8; RTMR_LEN], RtmrError> {
        let expected = extended(&self.read(register)?, digest);
        self.files
            .write(&self.device.join(register.file()), digest)
            .map_err(|source| self.failure(source, register, Access::Extend))?;
        if self.read(register)? == expected {
            Ok(expected)
        } else {
            Err(RtmrError::Unexpected { register })
        }
    }

    /// A missing file has two reasons, with two remedies.
    fn failure(&self, source: io::Error, register: Rtmr, access: Access) -> RtmrError {
        match (source.kind(), access) {
            (io::ErrorKind::NotFound, _) if self.device.is_dir() => RtmrError::OldKernel,
            (io::ErrorKind::NotFound, _) => RtmrError::NoDevice { device: self.device.clone() },
            (_, Access::Read) => RtmrError::Read { register, source },
            (_, Access::Extend) => RtmrError::Extend { register, source },
        }
    }
}

impl Default for RuntimeRegisters {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a register cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RtmrError {
    /// There is no TDX guest device: no TDX guest, or its driver is missing.
    #[error("there is no TDX guest device at {device}")]
    NoDevice {
        /// Its folder in sysfs.
        device: PathBuf,
    },
    /// The kernel is older than Linux 6.16 and gives programs no way to the registers.
    #[error("the kernel has no measurement registers in sysfs: it is older than Linux 6.16")]
    OldKernel,
    /// The register cannot be read.
    #[error("failed to read {register}")]
    Read {
        /// The register.
        register: Rtmr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The value has another size than a register.
    #[error("{register} has not {RTMR_LEN} bytes")]
    Size {
        /// The register.
        register: Rtmr,
    },
    /// The kernel or the TDX module refused.
    #[error("failed to extend {register}")]
    Extend {
        /// The register.
        register: Rtmr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The register has another value after than the extension leads to: the kernel dropped it, or
    /// another process extended the register too.
    #[error("{register} has another value than the extension leads to")]
    Unexpected {
        /// The register.
        register: Rtmr,
    },
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Read,
    Extend,
}

/// Intel TDX Module, ABI specification: TDG.MR.RTMR.EXTEND.
fn extended(old: &[u8; RTMR_LEN], digest: &[u8; RTMR_LEN]) -> [u8; RTMR_LEN] {
    let mut hash = Context::new(&SHA384);
    hash.update(old);
    hash.update(digest);
    let mut value = [0; RTMR_LEN];
    value.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    value
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use super::*;

    const DIGEST: [u8; RTMR_LEN] = [0xa5; RTMR_LEN];

    /// Registers that the kernel's rules hold for, and what goes wrong.
    #[derive(Debug)]
    struct Model {
        values: Mutex<[[u8; RTMR_LEN]; 2]>,
        fault: Fault,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// The write succeeds and does nothing.
        Dropped,
        /// Another process extends at the same time.
        Raced,
        Errno(i32),
    }

    impl Model {
        fn slot(path: &Path) -> usize {
            match path.to_str().unwrap() {
                "/device/measurements/rtmr2:sha384" => 0,
                "/device/measurements/rtmr3:sha384" => 1,
                other => panic!("{other} is no register of the guest"),
            }
        }
    }

    impl Files for Model {
        fn make_folder(&self, _: &Path) -> io::Result<()> {
            panic!("a folder in sysfs")
        }

        fn remove_folder(&self, _: &Path) -> io::Result<()> {
            panic!("a folder in sysfs")
        }

        fn read(&self, path: &Path, cap: usize) -> io::Result<Option<Vec<u8>>> {
            let value = self.values.lock().unwrap()[Self::slot(path)];
            Ok((cap >= value.len()).then(|| value.to_vec()))
        }

        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            let mut values = self.values.lock().unwrap();
            let value = &mut values[Self::slot(path)];
            let digest =
                bytes.try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
            match self.fault {
                Fault::None => *value = extended(value, digest),
                Fault::Dropped => {}
                Fault::Raced => *value = extended(&extended(value, &[1; RTMR_LEN]), digest),
                Fault::Errno(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
            Ok(())
        }
    }

    fn registers(fault: Fault) -> RuntimeRegisters {
        let model = Model { values: Mutex::new([[0; RTMR_LEN]; 2]), fault };
        RuntimeRegisters { device: "/device".into(), files: Arc::new(model) }
    }

    #[test]
    fn extends_one_register_and_says_its_value() {
        let registers = registers(Fault::None);
        let once = registers.extend(Rtmr::Three, &DIGEST).unwrap();
        // SHA-384 of 48 zeros and 48 bytes a5, by Python's hashlib.
        let expected = "e5360717353c7a7249635daf802ddf92bf2a9241ed075763b9066deff7ff093afddfadb1014640a37a62bd822ab45acb";
        let text: String = once.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected);
        assert_eq!(registers.read(Rtmr::Three).unwrap(), once);
        assert_eq!(registers.read(Rtmr::Two).unwrap(), [0; RTMR_LEN]);
        assert_ne!(registers.extend(Rtmr::Three, &DIGEST).unwrap(), once);
    }

    #[test]
    fn a_dropped_or_raced_extension_is_an_error() {
        for fault in [Fault::Dropped, Fault::Raced] {
            let error = registers(fault).extend(Rtmr::Three, &DIGEST).unwrap_err();
            let expected = matches!(error, RtmrError::Unexpected { register: Rtmr::Three });
            assert!(expected, "{fault:?}: {error:?}");
        }
    }

    #[test]
    fn a_refusal_of_the_kernel_is_an_error() {
        let error = registers(Fault::Errno(libc::EIO)).extend(Rtmr::Two, &DIGEST).unwrap_err();
        assert!(matches!(error, RtmrError::Extend { register: Rtmr::Two, .. }), "{error:?}");
    }

    #[test]
    fn a_missing_device_and_an_old_kernel_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("tdx_guest");
        let error = RuntimeRegisters::at(&device).extend(Rtmr::Three, &DIGEST).unwrap_err();
        assert!(matches!(error, RtmrError::NoDevice { .. }), "{error:?}");
        // What Linux 6.7 to 6.15 have: the device without measurements.
        fs::create_dir(&device).unwrap();
        let error = RuntimeRegisters::at(&device).extend(Rtmr::Three, &DIGEST).unwrap_err();
        assert!(matches!(error, RtmrError::OldKernel), "{error:?}");
    }

    #[test]
    fn a_register_has_its_size_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("measurements")).unwrap();
        let file = folder.path().join("measurements/rtmr3:sha384");
        let registers = RuntimeRegisters::at(folder.path());
        for len in [0, 47, 49, 4096] {
            fs::write(&file, vec![0; len]).unwrap();
            let error = registers.read(Rtmr::Three).unwrap_err();
            assert!(matches!(error, RtmrError::Size { register: Rtmr::Three }), "{len}");
        }
        fs::write(&file, [7; 48]).unwrap();
        assert_eq!(registers.read(Rtmr::Three).unwrap(), [7; 48]);
        // A plain file takes the digest for the value: nothing was extended.
        let error = registers.extend(Rtmr::Three, &DIGEST).unwrap_err();
        assert!(matches!(error, RtmrError::Unexpected { .. }));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let error = registers.read(Rtmr::Three).unwrap_err();
        assert!(matches!(error, RtmrError::Read { register: Rtmr::Three, .. }), "{error:?}");
    }
}
