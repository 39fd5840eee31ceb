// SPDX-License-Identifier: Apache-2.0
//! Finds the block device that carries the initdata and reads it once.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use casemate_agent_api::Code;
use casemate_boot_formats::initdata::Initdata;
use casemate_boot_formats::initdata::InitdataError;
use casemate_boot_formats::initdata::MAX_DEVICE_SIZE;

/// Serial number of the device.
const SERIAL: &str = "casemate-initdata";
/// Disks that are looked at.
const MAX_DISKS: usize = 64;
/// Longest serial number of a virtio block device, with room to see that one is longer.
const MAX_SERIAL: usize = 64;
/// How often a device is looked for that the kernel may still be setting up.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Reads the initdata of the one disk with its serial number.
///
/// # Security
///
/// D16, B5: everything is read once into memory; what is parsed is what is hashed. The host may
/// change the disk afterwards, or offer several: two with the serial number are refused.
pub(crate) fn read(sys_block: &Path, dev: &Path) -> Result<Initdata, DeviceError> {
    let path = find_patiently(sys_block, dev)?;
    let bytes = read_capped(&path, MAX_DEVICE_SIZE)
        .map_err(|source| DeviceError::Read { source })?
        .ok_or(DeviceError::TooLarge)?;
    Initdata::from_device_image(&bytes).map_err(|source| DeviceError::Invalid { source })
}

/// Reads a file whole; `None` if it has more than `cap` bytes.
pub(crate) fn read_capped(path: &Path, cap: usize) -> io::Result<Option<Vec<u8>>> {
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= cap).then_some(bytes))
}

fn find_patiently(sys_block: &Path, dev: &Path) -> Result<PathBuf, DeviceError> {
    for _ in 0..ATTEMPTS {
        match find(sys_block, dev) {
            Err(DeviceError::Absent) => std::thread::sleep(PAUSE),
            found => return found,
        }
    }
    Err(DeviceError::Absent)
}

fn find(sys_block: &Path, dev: &Path) -> Result<PathBuf, DeviceError> {
    let list = |source| DeviceError::List { source };
    let mut found = None;
    for entry in std::fs::read_dir(sys_block).map_err(list)?.take(MAX_DISKS) {
        let entry = entry.map_err(list)?;
        let serial = read_capped(&entry.path().join("serial"), MAX_SERIAL);
        let Ok(Some(serial)) = serial else { continue };
        if serial.trim_ascii() == SERIAL.as_bytes()
            && found.replace(dev.join(entry.file_name())).is_some()
        {
            return Err(DeviceError::Twice);
        }
    }
    found.ok_or(DeviceError::Absent)
}

/// The guest has no usable initdata.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeviceError {
    #[error("failed to list the disks")]
    List {
        #[source]
        source: io::Error,
    },
    #[error("no disk has the serial number {SERIAL}")]
    Absent,
    #[error("two disks have the serial number {SERIAL}")]
    Twice,
    #[error("failed to read the initdata disk")]
    Read {
        #[source]
        source: io::Error,
    },
    #[error("the initdata disk has more than {MAX_DEVICE_SIZE} bytes")]
    TooLarge,
    #[error("the initdata is refused")]
    Invalid {
        #[source]
        source: InitdataError,
    },
}

impl DeviceError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Absent => Code::InitdataMissing,
            Self::List { .. } | Self::Read { .. } => Code::InitdataUnreadable,
            Self::Twice | Self::TooLarge => Code::InitdataInvalid,
            Self::Invalid { source } => Code::from(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use casemate_boot_formats::initdata::Algorithm;
    use tempfile::TempDir;

    use super::*;

    struct Fake {
        directory: TempDir,
    }

    impl Fake {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("sys")).unwrap();
            fs::create_dir(directory.path().join("dev")).unwrap();
            Self { directory }
        }

        fn disk(self, name: &str, serial: Option<&str>, content: &[u8]) -> Self {
            let sys = self.directory.path().join("sys").join(name);
            fs::create_dir(&sys).unwrap();
            if let Some(serial) = serial {
                fs::write(sys.join("serial"), serial).unwrap();
            }
            fs::write(self.directory.path().join("dev").join(name), content).unwrap();
            self
        }

        fn read(&self) -> Result<Initdata, DeviceError> {
            read(&self.directory.path().join("sys"), &self.directory.path().join("dev"))
        }

        fn find(&self) -> Result<PathBuf, DeviceError> {
            find(&self.directory.path().join("sys"), &self.directory.path().join("dev"))
        }
    }

    fn initdata() -> Initdata {
        Initdata::build(Algorithm::Sha256, [("policy.toml", "version = 1\n")]).unwrap()
    }

    fn image() -> Vec<u8> {
        initdata().to_device_image().unwrap()
    }

    #[test]
    fn reads_the_disk_with_the_serial_number() {
        let fake = Fake::new()
            .disk("vda", Some("other\n"), b"")
            .disk("vdb", Some("casemate-initdata"), &image())
            .disk("loop0", None, b"");
        assert_eq!(fake.read().unwrap(), initdata());
    }

    #[test]
    fn refuses_an_absent_and_a_second_disk() {
        let none = Fake::new().disk("vda", Some("casemate-initdata-2"), &image());
        assert!(matches!(none.find(), Err(DeviceError::Absent)));
        // D16: a second document.
        let two = Fake::new().disk("vda", Some("casemate-initdata"), &image()).disk(
            "vdb",
            Some("casemate-initdata"),
            &image(),
        );
        let error = two.find().unwrap_err();
        assert_eq!(error.code(), Code::InitdataInvalid);
        assert!(matches!(error, DeviceError::Twice));
    }

    #[test]
    fn refuses_rubbish_and_too_much() {
        let serial = Some("casemate-initdata");
        let rubbish = Fake::new().disk("vda", serial, b"no initdata");
        assert!(matches!(rubbish.read(), Err(DeviceError::Invalid { .. })));
        let empty = Fake::new().disk("vda", serial, b"");
        assert!(matches!(empty.read(), Err(DeviceError::Invalid { .. })));
        // A15: more than the cap is not read.
        let mut large = image();
        large.resize(MAX_DEVICE_SIZE + 1, 0);
        let large = Fake::new().disk("vda", serial, &large);
        assert!(matches!(large.read(), Err(DeviceError::TooLarge)));
    }

    #[test]
    fn an_unreadable_disk_has_its_own_code() {
        let fake = Fake::new().disk("vda", Some("casemate-initdata"), b"");
        let path = fake.directory.path().join("dev/vda");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = fake.read().unwrap_err();
        assert_eq!(error.code(), Code::InitdataUnreadable);
        assert!(matches!(error, DeviceError::Read { .. }));
    }

    // D16: each way to alter the document on its disk stops the boot with a code of its own.
    #[test]
    fn each_alteration_has_its_own_code() {
        let code = |content: &[u8]| {
            let fake = Fake::new().disk("vda", Some("casemate-initdata"), content);
            fake.read().unwrap_err().code()
        };
        let mut padded = image();
        padded.resize(padded.len() + 512, 0);
        *padded.last_mut().unwrap() = 1;
        assert_eq!(code(&padded), Code::InitdataTrailing);
        assert_eq!(code(&image()[..20]), Code::InitdataInvalid);
        let document = |text: &str| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
            let gzip = gzip.finish().unwrap();
            let mut device = b"initdata".to_vec();
            device.extend(u64::try_from(gzip.len()).unwrap().to_le_bytes());
            device.extend(gzip);
            device.resize(device.len().next_multiple_of(512), 0);
            device
        };
        let head = "algorithm = \"sha256\"\nversion = \"0.1.0\"\n";
        let unknown = format!("{head}more = 1\n[data]\n");
        assert_eq!(code(&document(&unknown)), Code::InitdataUnknownKey);
        let twice = format!("{head}version = \"0.1.0\"\n[data]\n");
        assert_eq!(code(&document(&twice)), Code::InitdataDuplicateKey);
        assert_eq!(code(&document("no = toml = 1")), Code::InitdataInvalid);
    }
}
