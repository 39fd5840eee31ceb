// SPDX-License-Identifier: Apache-2.0
//! The input that policies of the ecosystem expect.

use casemate_evidence::snp::Report;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use serde_json::Value;
use serde_json::json;

/// The input for an SNP guest: `{"snp": claims, "init_data", "report_data", …}`.
///
/// # Errors
///
/// The verdict is refused: no policy is asked about such evidence.
pub fn snp_input(
    report: &Report,
    verdict: &Verdict,
    runtime_data: &Value,
    init_data: &Value,
) -> Result<Value, InputError> {
    genuine(verdict)?;
    let (policy, tcb, platform) = (report.policy(), report.reported_tcb(), report.platform_info());
    let (abi_major, abi_minor) = policy.abi();
    let claims = json!({
        "measurement": hex::encode(report.measurement()),
        "report_data": hex::encode(report.report_data()),
        "init_data": hex::encode(report.host_data()),
        "chip_id": hex::encode(report.chip_id()),
        "policy_abi_major": abi_major,
        "policy_abi_minor": abi_minor,
        "policy_smt_allowed": policy.smt(),
        "policy_migrate_ma": policy.migration_agent(),
        "policy_debug_allowed": policy.debug(),
        "policy_single_socket": policy.single_socket(),
        "reported_tcb_bootloader": tcb.bootloader,
        "reported_tcb_tee": tcb.tee,
        "reported_tcb_snp": tcb.snp,
        "reported_tcb_microcode": tcb.microcode,
        "platform_tsme_enabled": platform.tsme(),
        "platform_smt_enabled": platform.smt(),
    });
    Ok(input("snp", &claims, runtime_data, init_data))
}

/// The input for a TD: `{"tdx": claims, …}`.
///
/// # Errors
///
/// As [`snp_input`].
pub fn tdx_input(
    quote: &Quote,
    verdict: &Verdict,
    runtime_data: &Value,
    init_data: &Value,
) -> Result<Value, InputError> {
    genuine(verdict)?;
    let body = quote.body();
    let mut registers = body.rtmrs().iter().map(hex::encode);
    let mut register = || registers.next().unwrap_or_default();
    let status = verdict.lines().iter().find(|line| line.claim == "tcb.status");
    // The name of the status stands first in the line's value.
    let status = status.and_then(|line| line.value.split([' ', ',', ':']).next());
    let attributes = body.td_attributes().0;
    let bit = |n: u32| attributes >> n & 1 == 1;
    let claims = json!({
        "quote": {
            "header": { "tee_type": "81000000", "vendor_id": "939a7233f79c4ca9940a0db3957f0607" },
            "body": {
                "mr_seam": hex::encode(body.mr_seam()),
                "mr_td": hex::encode(body.mr_td()),
                "mr_config_id": hex::encode(body.mr_config_id()),
                "mr_owner": hex::encode(body.mr_owner()),
                "mr_owner_config": hex::encode(body.mr_owner_config()),
                "rtmr_0": register(),
                "rtmr_1": register(),
                "rtmr_2": register(),
                "rtmr_3": register(),
                "report_data": hex::encode(body.report_data()),
                "td_attributes": hex::encode(attributes.to_le_bytes()),
                "xfam": hex::encode(body.xfam().to_le_bytes()),
            },
        },
        "td_attributes": {
            "debug": bit(0),
            "septve_disable": bit(28),
            "protection_keys": bit(30),
            "key_locker": bit(31),
            "perfmon": bit(63),
        },
        "report_data": hex::encode(body.report_data()),
        "init_data": hex::encode(body.mr_config_id()),
        "tcb_status": status,
        // Expired collateral is refused before.
        "collateral_expiration_status": "0",
    });
    Ok(input("tdx", &claims, runtime_data, init_data))
}

fn genuine(verdict: &Verdict) -> Result<(), InputError> {
    if verdict.status() == Status::Refused { Err(InputError) } else { Ok(()) }
}

fn input(tee: &str, claims: &Value, runtime_data: &Value, init_data: &Value) -> Value {
    json!({
        tee: claims,
        "init_data": claims.get("init_data"),
        "init_data_claims": init_data,
        "report_data": claims.get("report_data"),
        "runtime_data_claims": runtime_data,
    })
}

/// The evidence is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the evidence is refused: no policy is asked about it")]
pub struct InputError;
