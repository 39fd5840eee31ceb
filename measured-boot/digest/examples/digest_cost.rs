// SPDX-License-Identifier: Apache-2.0
//! What a prediction costs, against the hashing that no implementation can avoid.
//!
//! `cargo run --release -p casemate-launch-digest --example digest_cost -- FIRMWARE [KERNEL [INITRD]]`
//! prints one line of JSON: least times in microseconds, and the medians of what each round gives,
//! which a processor that changes its clock between rounds does not disturb.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Instant;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::GuestFeatures;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::VcpuType;
use casemate_launch_digest::plan::Firmware;
use casemate_launch_digest::plan::PlanError;
use casemate_launch_digest::plan::SnpGuest;
use casemate_launch_digest::plan::SnpInputs;
use casemate_launch_digest::snp::VmmProfile;
use ring::digest;
use sev::measurement::snp::SnpMeasurementArgs;
use sev::measurement::snp::snp_calc_launch_digest;
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::GuestFeatures as SevFeatures;
use sev::measurement::vmsa::VMMType;
use sev::parser::ByteParser;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = std::env::args_os().skip(1);
    let firmware = std::fs::read(files.next().ok_or("no firmware file given")?)?;
    let kernel = files.next().map_or_else(|| Ok(Vec::new()), std::fs::read)?;
    let initrd = files.next().map_or_else(|| Ok(Vec::new()), std::fs::read)?;
    let model: VcpuType = "EPYC-v4".parse()?;
    let predict = |vcpus| -> Result<Vec<LaunchDigest>, Box<dyn std::error::Error>> {
        let inputs = SnpInputs {
            firmware: Firmware::parse(&firmware)?,
            hashes: Some(KernelHashes::of(&kernel, &initrd, b"quiet")?),
            vmm: VmmProfile::Qemu(model),
            features: GuestFeatures::SNP,
            vcpus,
            guest: SnpGuest::default(),
        };
        Ok(inputs.plan().map_err(Box::<PlanError>::new)?.digests_by_vcpus())
    };
    let all = NonZeroU16::new(255).ok_or("no count")?;
    predict(all)?;

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let floor = time(|| {
            for file in [&kernel, &initrd] {
                black_box(digest::digest(&digest::SHA256, file));
            }
            for page in firmware.chunks(4096) {
                black_box(digest::digest(&digest::SHA384, page));
            }
        });
        let one = time(|| predict(NonZeroU16::MIN).is_ok());
        let many = time(|| predict(all).is_ok());
        // It reads its files in each round; from the page cache that is a small part.
        let sev = time(|| sev_arguments().is_ok_and(|a| snp_calc_launch_digest(a).is_ok()));
        times.push([floor, one, many, sev]);
    }
    let [floor, one, many, sev] = [0, 1, 2, 3].map(|index: usize| {
        times.iter().filter_map(|round| round.get(index)).fold(f64::MAX, |a, b| a.min(*b))
    });
    println!(
        "{{\"hash_floor_us\":{floor:.0},\"one_count_us\":{one:.0},\"all_counts_us\":{many:.0},\
         \"sev_crate_us\":{sev:.0},\
         \"one_over_floor\":{:.3},\"all_over_one\":{:.3},\"sev_crate_over_one\":{:.3}}}",
        median(times.iter().map(|[floor, one, ..]| one / floor)),
        median(times.iter().map(|[_, one, many, _]| many / one)),
        median(times.iter().map(|[_, one, _, sev]| sev / one)),
    );
    Ok(())
}

/// The same launch for the crate `sev`, an independent implementation.
fn sev_arguments() -> Result<SnpMeasurementArgs<'static>, Box<dyn std::error::Error>> {
    let mut files = std::env::args_os().skip(1).map(PathBuf::from);
    Ok(SnpMeasurementArgs {
        vcpus: 1,
        vcpu_type: CpuType::EpycV4,
        ovmf_file: files.next().ok_or("no firmware file given")?,
        guest_features: SevFeatures::from_bytes(&1_u64.to_le_bytes())?,
        kernel_file: files.next(),
        initrd_file: files.next(),
        append: Some("quiet"),
        ovmf_hash_str: None,
        vmm_type: Some(VMMType::QEMU),
    })
}

fn time<T>(action: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(action());
    start.elapsed().as_secs_f64() * 1e6
}

fn median(ratios: impl Iterator<Item = f64>) -> f64 {
    let mut ratios: Vec<_> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

const ROUNDS: usize = 61;
