// SPDX-License-Identifier: Apache-2.0
//! Folds the launch digest from the memory of a paused VM.

use std::io::{self, Read};
use std::num::NonZeroU16;
use std::path::Path;

use casemate_boot_formats::ovmf::{Ovmf, OvmfError, PAGE_SIZE};
use casemate_launch_digest::{
    FoldError, GuestFeatures, LaunchDigest, LaunchError, UnknownVcpuType, Vcpu, VcpuType,
    fold_vcpus, measure_memory,
};
use casemate_vmm::qmp::{Qmp, QmpError};

use crate::protocol::Launch;

/// A VM that was measured and still stands before its first instruction.
pub struct PausedVm {
    qmp: Qmp,
    digest: LaunchDigest,
}

/// Why a VM was not measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// QEMU does not answer or refuses.
    #[error("failed to control the VM")]
    Qmp(#[from] QmpError),
    /// The VM is not before its first instruction: its memory proves nothing.
    #[error("the VM is {status}, it must be paused before its first instruction")]
    NotPaused {
        /// What QEMU calls its state.
        status: String,
    },
    /// The number of vCPUs cannot be measured.
    #[error("the VM has {count} vCPUs")]
    VcpuCount {
        /// How many.
        count: usize,
    },
    /// The vCPUs are not all of one model.
    #[error("the vCPUs are of different models")]
    MixedModels,
    /// The model has no fixed signature.
    #[error("the CPU model cannot be measured")]
    Model(#[from] UnknownVcpuType),
    /// The copy of the memory cannot be read.
    #[error("failed to read the copy of the VM's memory")]
    Copy(#[from] io::Error),
    /// The copy has another size than was asked for.
    #[error("the copy of the VM's memory has a wrong size")]
    CopySize,
    /// The firmware in memory is malformed.
    #[error("the firmware in the VM's memory is malformed")]
    Firmware(#[from] OvmfError),
    /// The pages cannot be measured.
    #[error("the VM's memory cannot be measured")]
    Launch(#[from] LaunchError),
    /// The vCPUs cannot be measured.
    #[error("the VM's vCPUs cannot be measured")]
    Fold(#[from] FoldError),
}

/// The property `type` of a vCPU is the model's name and this.
const MODEL_SUFFIX: &str = "-x86_64-cpu";
const FOUR_GIB: u64 = 1 << 32;

impl PausedVm {
    /// Attaches to the VM and measures it.
    ///
    /// `folder` must be private: QEMU writes copies of memory there, which are removed again.
    ///
    /// # Errors
    ///
    /// [`MeasureError`]; the VM stays paused then.
    ///
    /// # Security
    ///
    /// Everything measured is read from the VM's memory and QEMU's objects; the request only says
    /// how long the firmware is, and a lie about that gives another digest (E1).
    pub async fn measure(launch: &Launch, folder: &Path) -> Result<Self, MeasureError> {
        let mut qmp = Qmp::connect(&launch.qmp).await?;
        demand_paused(&mut qmp).await?;
        let (model, count) = vcpus(&mut qmp).await?;
        let size = launch.firmware_bytes;
        let base = FOUR_GIB.saturating_sub(size);
        let firmware = memory(&mut qmp, base, size, folder).await?;
        let ovmf = Ovmf::parse(&firmware)?;
        let hash_page: Option<Box<[u8; 4096]>> = match ovmf.hash_table_address() {
            Ok(address) => {
                let page = address & !(PAGE_SIZE - 1);
                let bytes = memory(&mut qmp, page, PAGE_SIZE, folder).await?;
                Some(bytes.try_into().map_err(|_| MeasureError::CopySize)?)
            }
            Err(OvmfError::NoHashTable) => None,
            Err(error) => return Err(error.into()),
        };
        // Nothing stands there when the launcher wants no check of the kernel.
        let hash_page = hash_page.filter(|page| **page != [0; 4096]);
        let mut digest = measure_memory(&firmware, hash_page.as_deref())?;
        let reset = ovmf.reset_eip().unwrap_or(Vcpu::RESET_VECTOR);
        fold_vcpus(&mut digest, model, GuestFeatures::SNP, reset, count, |_| {})?;
        Ok(Self { qmp, digest })
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &LaunchDigest {
        &self.digest
    }

    /// Lets the VM run.
    ///
    /// # Errors
    ///
    /// [`MeasureError`], also when somebody else started the VM meanwhile.
    pub async fn run(mut self) -> Result<(), MeasureError> {
        demand_paused(&mut self.qmp).await?;
        Ok(self.qmp.cont().await?)
    }
}

async fn demand_paused(qmp: &mut Qmp) -> Result<(), MeasureError> {
    let status = qmp.status().await?;
    if status == "prelaunch" { Ok(()) } else { Err(MeasureError::NotPaused { status }) }
}

/// Model and number of the vCPUs as QEMU made them.
async fn vcpus(qmp: &mut Qmp) -> Result<(VcpuType, NonZeroU16), MeasureError> {
    let paths = qmp.vcpu_paths().await?;
    let count = u16::try_from(paths.len())
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or(MeasureError::VcpuCount { count: paths.len() })?;
    let mut found: Option<VcpuType> = None;
    for path in paths {
        let model = qmp.property(&path, "type").await?;
        let model = model.strip_suffix(MODEL_SUFFIX).unwrap_or(&model).parse()?;
        if found.is_some_and(|other| other != model) {
            return Err(MeasureError::MixedModels);
        }
        found = Some(model);
    }
    Ok((found.ok_or(MeasureError::VcpuCount { count: 0 })?, count))
}

/// A copy of guest-physical memory.
async fn memory(
    qmp: &mut Qmp,
    address: u64,
    size: u64,
    folder: &Path,
) -> Result<Vec<u8>, MeasureError> {
    let path = folder.join("memory");
    let text = path.to_str().ok_or(MeasureError::CopySize)?;
    qmp.save_memory(address, size, text).await?;
    let file = std::fs::File::open(&path)?;
    let mut bytes = Vec::new();
    file.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    std::fs::remove_file(&path)?;
    if u64::try_from(bytes.len()) != Ok(size) {
        return Err(MeasureError::CopySize);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    use super::*;

    /// A QEMU that answers from a table: command, then the value of one argument, then the reply.
    fn fake_qemu(folder: &Path, answer: fn(&str, &Value) -> Value) -> Launch {
        let qmp = folder.join("qmp");
        let listener = UnixListener::bind(&qmp).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"{\"QMP\":{}}\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let request: Value = serde_json::from_str(&line).unwrap();
                let command = request["execute"].as_str().unwrap();
                let value = match command {
                    "qmp_capabilities" => json!({}),
                    command => answer(command, &request["arguments"]),
                };
                let reply = json!({ "return": value, "id": request["id"] });
                write.write_all(format!("{reply}\n").as_bytes()).await.unwrap();
            }
        });
        Launch {
            qmp,
            psp: "/nonexistent".into(),
            firmware_bytes: 4096,
            host_data: [0; 32],
            policy: 0x3_0000,
        }
    }

    async fn failure(answer: fn(&str, &Value) -> Value) -> MeasureError {
        let folder = tempfile::tempdir().unwrap();
        let launch = fake_qemu(folder.path(), answer);
        PausedVm::measure(&launch, folder.path()).await.err().unwrap()
    }

    fn paused_with(command: &str, cpus: Value, model: &str) -> Value {
        match command {
            "query-status" => json!({ "status": "prelaunch" }),
            "query-cpus-fast" => cpus,
            "qom-get" => json!(model),
            _ => json!({}),
        }
    }

    #[tokio::test]
    async fn a_running_vm_is_not_measured() {
        let error = failure(|_, _| json!({ "status": "running" })).await;
        assert!(matches!(error, MeasureError::NotPaused { status } if status == "running"));
    }

    #[tokio::test]
    async fn a_vm_without_vcpus_is_refused() {
        let error = failure(|command, _| paused_with(command, json!([]), "")).await;
        assert!(matches!(error, MeasureError::VcpuCount { count: 0 }));
    }

    #[tokio::test]
    async fn a_model_without_signature_is_refused() {
        let error = failure(|command, _| {
            let cpus = json!([{ "cpu-index": 0, "qom-path": "/cpu" }]);
            paused_with(command, cpus, "host-x86_64-cpu")
        })
        .await;
        assert!(matches!(error, MeasureError::Model(_)), "{error}");
    }

    #[tokio::test]
    async fn mixed_models_are_refused() {
        let error = failure(|command, arguments| {
            let cpus = json!([
                { "cpu-index": 0, "qom-path": "/a" }, { "cpu-index": 1, "qom-path": "/b" },
            ]);
            let first = arguments["path"] == "/a";
            let model = if first { "EPYC-v4-x86_64-cpu" } else { "EPYC-Milan-x86_64-cpu" };
            paused_with(command, cpus, model)
        })
        .await;
        assert!(matches!(error, MeasureError::MixedModels), "{error}");
    }

    #[tokio::test]
    async fn a_short_copy_is_refused() {
        let error = failure(|command, arguments| {
            if command == "pmemsave" {
                std::fs::write(arguments["filename"].as_str().unwrap(), [0; 4095]).unwrap();
            }
            let cpus = json!([{ "cpu-index": 0, "qom-path": "/cpu" }]);
            paused_with(command, cpus, "EPYC-v4-x86_64-cpu")
        })
        .await;
        assert!(matches!(error, MeasureError::CopySize), "{error}");
    }
}
