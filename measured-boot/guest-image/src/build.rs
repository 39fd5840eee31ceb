// SPDX-License-Identifier: Apache-2.0
//! Puts the parts of a guest image together.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use casemate_boot_formats::bzimage::BzImage;
use casemate_boot_formats::bzimage::BzImageError;
use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::OvmfError;

use crate::CpioError;
use crate::Crate;
use crate::ElfError;
use crate::FileRecord;
use crate::GuestImage;
use crate::ImageTee;
use crate::KindName;
use crate::Manifest;
use crate::ModuleError;
use crate::PartRecord;
use crate::ReadError;
use crate::ReferenceValues;
use crate::ReferenceValuesError;
use crate::SBOM_FILE;
use crate::cmdline::command_line;
use crate::cmdline::command_line_smp;
use crate::cpio::Archive;
use crate::elf;
use crate::image::MAX_PART_SIZE;
use crate::image::read_capped;
use crate::inputs::Lock;
use crate::libraries;
use crate::modules::ModuleTree;
use crate::output::Output;
use crate::output::OutputError;
use crate::sbom::sbom;
use crate::variables::VariablesError;
use crate::variables::without_variables;

/// What a guest image is made of.
#[derive(Clone, Debug)]
pub struct BuildInputs<'a> {
    /// An OVMF image: for SNP one that checks the SEV hash table, for TDX one that measures.
    pub firmware: &'a Path,
    /// A bzImage.
    pub kernel: &'a Path,
    /// The folder `lib/modules/<release>` of that kernel.
    pub modules: &'a Path,
    /// The agent, a static program.
    pub agent: &'a Path,
    /// The packages that firmware and kernel come from, for the manifest. The firmware's says which
    /// TEE the image is for.
    pub lock: Lock,
    /// What the image is for.
    pub kind: Kind<'a>,
    /// The crates that the guest's programs are built from, for the bill of materials.
    pub crates: &'a [Crate],
}

/// What a guest image is for.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// Real TEEs: the agent is `/init`.
    Production,
    /// The software TEE: its device is `/init` and starts `/casemate-agent`.
    Simulated {
        /// The device of the software TEE, a static program.
        device: &'a Path,
    },
}

impl Kind<'_> {
    fn name(self) -> KindName {
        match self {
            Self::Production => KindName::Production,
            Self::Simulated { .. } => KindName::Simulated,
        }
    }
}

/// Builds a guest image into a folder, which comes into being whole or not at all. An earlier guest
/// image in its place is replaced, if nothing else lies in its folder.
///
/// # Errors
///
/// Inputs that cannot make a measured guest, or files that cannot be read or written: see
/// [`BuildError`].
pub fn build(inputs: &BuildInputs<'_>, out: &Path) -> Result<Manifest, BuildError> {
    let read = |path: &Path| read_capped(path, MAX_PART_SIZE).map_err(BuildError::Input);
    let output = Output::find(out)?;
    let tee = inputs.lock.tee();
    if tee == ImageTee::Tdx && matches!(inputs.kind, Kind::Simulated { .. }) {
        return Err(BuildError::NoSimulatedTdx);
    }
    let firmware = usable_firmware(tee, inputs.firmware, read(inputs.firmware)?)?;
    let kernel = read(inputs.kernel)?;
    let kernel_release = BzImage::parse(&kernel)
        .map_err(|source| BuildError::Kernel { path: inputs.kernel.to_owned(), source })?
        .release()
        .ok_or_else(|| BuildError::NoRelease { path: inputs.kernel.to_owned() })?
        .to_owned();
    let archive = fill_initramfs(inputs, &kernel_release)?;
    let initramfs = compress(&archive.write()?)?;
    let (cmdline, cmdline_smp) = (command_line(tee), command_line_smp(tee));

    let parts = [
        (Manifest::FIRMWARE, firmware.as_slice()),
        (Manifest::KERNEL, &kernel),
        (Manifest::INITRAMFS, &initramfs),
        (Manifest::CMDLINE, cmdline.as_bytes()),
        (Manifest::CMDLINE_SMP, cmdline_smp.as_bytes()),
    ];
    let manifest = Manifest {
        format: Manifest::FORMAT,
        kind: inputs.kind.name(),
        kernel_release,
        inputs: inputs.lock.clone(),
        parts: parts
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), PartRecord::of(bytes)))
            .collect(),
        initramfs_files: archive.files().map(file_record).collect(),
    };
    let programs = archive.files().filter(|(path, _)| ["init", "casemate-agent"].contains(path));
    let programs = programs.map(|(path, program)| (path, libraries(program))).collect();
    let bill = sbom(&manifest, inputs.crates, &programs);
    let image = GuestImage {
        manifest,
        firmware,
        kernel,
        initramfs,
        cmdline: cmdline.into_bytes(),
        cmdline_smp: cmdline_smp.into_bytes(),
    };
    let mut json = serde_json::to_vec_pretty(&image.manifest)
        .map_err(|source| BuildError::Manifest { source })?;
    json.push(b'\n');
    let values = ReferenceValues::of(&image, &json, bill.as_bytes())?.to_json();
    let beside = [
        (Manifest::FILE, json.as_slice()),
        (SBOM_FILE, bill.as_bytes()),
        (ReferenceValues::FILE, values.as_bytes()),
    ];
    output.publish(image.parts().into_iter().chain(beside))?;
    Ok(image.manifest)
}

/// Why a guest image cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An input cannot be read.
    #[error("failed to read an input of the guest image")]
    Input(#[source] ReadError),
    /// The firmware cannot start a measured guest.
    #[error("the firmware {} cannot start a measured guest", path.display())]
    Firmware {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: OvmfError,
    },
    /// The firmware cannot start a measured TDX guest, or its variables cannot be taken out.
    #[error("the firmware {} cannot start a measured TDX guest", path.display())]
    TdxFirmware {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: VariablesError,
    },
    /// The software TEE is one of SNP.
    #[error("there is no software TEE for guest images of TDX")]
    NoSimulatedTdx,
    /// The kernel is not one.
    #[error("{} is not a usable kernel", path.display())]
    Kernel {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BzImageError,
    },
    /// The kernel does not say its release, so that no modules fit it.
    #[error("the kernel {} names no release", path.display())]
    NoRelease {
        /// Its path.
        path: PathBuf,
    },
    /// The agent or the device cannot run in the guest.
    #[error("{} cannot run in the guest", path.display())]
    Program {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ElfError,
    },
    /// The kernel modules cannot be picked.
    #[error("failed to pick the kernel modules")]
    Modules(#[from] ModuleError),
    /// The initramfs cannot be written.
    #[error("failed to write the initramfs")]
    Archive(#[from] CpioError),
    /// The initramfs cannot be compressed.
    #[error("failed to compress the initramfs")]
    Compress {
        /// What the encoder said.
        #[source]
        source: io::Error,
    },
    /// The image cannot be measured.
    #[error("failed to compute the reference values")]
    ReferenceValues(#[from] ReferenceValuesError),
    /// The manifest cannot be written.
    #[error("failed to write the manifest")]
    Manifest {
        /// What the writer said.
        #[source]
        source: serde_json::Error,
    },
    /// The output folder cannot be replaced or written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The firmware as the guest gets it.
fn usable_firmware(tee: ImageTee, path: &Path, firmware: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    let path = || path.to_owned();
    match tee {
        ImageTee::Snp => {
            // E1: firmware without a place for the table would start any kernel.
            Ovmf::parse(&firmware)
                .and_then(|ovmf| ovmf.hash_table_address())
                .map_err(|source| BuildError::Firmware { path: path(), source })?;
            Ok(firmware)
        }
        ImageTee::Tdx => without_variables(&firmware)
            .map_err(|source| BuildError::TdxFirmware { path: path(), source }),
    }
}

fn fill_initramfs(inputs: &BuildInputs<'_>, release: &str) -> Result<Archive, BuildError> {
    let agent = read_program(inputs.agent)?;
    let tree = ModuleTree::open(inputs.modules, release)?;
    let mut archive = Archive::new();
    for mount_point in MOUNT_POINTS {
        archive.folder(mount_point)?;
    }
    // The kernel opens no console for PID 1, and Rust's runtime wants something on 0, 1 and 2.
    archive.char_device("dev/null", 1, 3)?;
    add_modules(&mut archive, "lib/modules", &tree, MODULES)?;
    match inputs.kind {
        Kind::Production => archive.program("init", agent)?,
        Kind::Simulated { device } => {
            archive.program("init", read_program(device)?)?;
            archive.program("casemate-agent", agent)?;
            add_modules(&mut archive, "lib/modules-sim", &tree, SIMULATION_MODULES)?;
        }
    }
    Ok(archive)
}

fn read_program(path: &Path) -> Result<Vec<u8>, BuildError> {
    let program = read_capped(path, MAX_PART_SIZE).map_err(BuildError::Input)?;
    elf::check_static_program(&program)
        .map_err(|source| BuildError::Program { path: path.to_owned(), source })?;
    Ok(program)
}

/// Adds modules as files of one folder, and the order in which to load them.
fn add_modules(
    archive: &mut Archive,
    folder: &str,
    tree: &ModuleTree,
    names: &[&str],
) -> Result<(), BuildError> {
    let mut order = String::new();
    for module in tree.select(names)? {
        order.push_str(&module.file_name);
        order.push('\n');
        archive.file(&format!("{folder}/{}", module.file_name), module.compressed)?;
    }
    archive.file(&format!("{folder}/load-order"), order.into_bytes())?;
    Ok(())
}

/// Compresses the archive. Of the formats that the kernel reads, zstd is the one to wait least for:
/// for a guest of 10 MB under TCG it takes 0.1 s to unpack where xz takes 0.6 s, and it is 12 %
/// larger than xz and 15 % smaller than gzip.
fn compress(archive: &[u8]) -> Result<Vec<u8>, BuildError> {
    zstd::encode_all(archive, COMPRESSION_LEVEL).map_err(|source| BuildError::Compress { source })
}

fn file_record((path, contents): (&str, &[u8])) -> FileRecord {
    let PartRecord { size, sha256 } = PartRecord::of(contents);
    FileRecord { path: path.to_owned(), size, sha256 }
}

/// Folders that the agent mounts on.
const MOUNT_POINTS: &[&str] = &["dev", "mnt", "proc", "run", "sys", "tmp"];

/// Modules of every guest: network and disks, the containers' root, and the report of either TEE.
/// The pod's network card may be the stand-by half of a passed-through one, hence the two failover
/// modules, which `virtio_net` needs.
const MODULES: &[&str] =
    &["virtio_net", "virtio_blk", "overlay", "configfs", "tsm", "sev_guest", "tdx_guest"];

/// Modules of simulated guests only: a device whose driver is a program.
const SIMULATION_MODULES: &[&str] = &["cuse"];

const COMPRESSION_LEVEL: i32 = 19;
