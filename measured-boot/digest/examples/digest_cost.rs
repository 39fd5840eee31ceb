// SPDX-License-Identifier: Apache-2.0
//! What a prediction costs, against the hashing that no implementation can avoid.
//!
//! `cargo run --release -p casemate-launch-digest --example digest_cost -- FIRMWARE [KERNEL [INITRD]]`
//! prints one line of JSON; times are the least of several rounds, in microseconds.

use std::hint::black_box;
use std::num::NonZeroU16;
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

    let mut times = [f64::MAX; 3];
    for _ in 0..ROUNDS {
        let [floor, one, many] = &mut times;
        time(floor, || {
            for file in [&kernel, &initrd] {
                black_box(digest::digest(&digest::SHA256, file));
            }
            for page in firmware.chunks(4096) {
                black_box(digest::digest(&digest::SHA384, page));
            }
        });
        time(one, || black_box(predict(NonZeroU16::MIN)).is_ok());
        time(many, || black_box(predict(all)).is_ok());
    }
    let [floor, one, many] = times;
    println!(
        "{{\"hash_floor_us\":{floor:.0},\"one_count_us\":{one:.0},\"all_counts_us\":{many:.0},\
         \"one_over_floor\":{:.3},\"all_over_one\":{:.3}}}",
        one / floor,
        many / one,
    );
    Ok(())
}

fn time<T>(least: &mut f64, action: impl FnOnce() -> T) {
    let start = Instant::now();
    black_box(action());
    *least = least.min(start.elapsed().as_secs_f64() * 1e6);
}

const ROUNDS: usize = 60;
