// SPDX-License-Identifier: Apache-2.0
//! Which TCB level a platform reaches, and what follows for the TD.
//!
//! Source: Intel PCS API 4, "Get TDX TCB Info", steps to determine the status; for TDX 1.5 also
//! the current versions, `TEE_TCB_SVN2`, after updates under the running TD.

use casemate_evidence::collateral::QeLevel;
use casemate_evidence::collateral::TcbInfo;
use casemate_evidence::collateral::TcbStatus;
use casemate_evidence::tdx::PckExtension;
use casemate_evidence::tdx::TdBody;

/// What Intel says of this TD's TCB: of platform, module and quoting enclave together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evaluation {
    pub(super) status: TcbStatus,
    pub(super) advisories: Vec<String>,
}

/// Why no status can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoLevel {
    #[error("no TCB level is reached")]
    Platform,
    #[error("TDX modules of version {version} are not known")]
    Module { version: u8 },
    #[error("no level of the TDX module is reached")]
    ModuleLevel,
    #[error("no level of the quoting enclave is reached")]
    QuotingEnclave,
}

/// The status of a TD on a platform, with the level that its quoting enclave reaches.
pub(super) fn evaluate(
    info: &TcbInfo,
    pck: &PckExtension,
    body: &TdBody,
    qe: Option<&QeLevel>,
) -> Result<Evaluation, NoLevel> {
    let qe = qe.ok_or(NoLevel::QuotingEnclave)?;
    let mut launched = platform(info, pck, body.tee_tcb_svn())?;
    launched.merge(qe.status, &qe.advisories);
    let Some(svn) = body.tee_tcb_svn2() else { return Ok(launched) };
    let mut current = platform(info, pck, svn)?;
    current.merge(qe.status, &qe.advisories);
    if current.status == TcbStatus::Revoked {
        return Ok(current);
    }
    launched.status = relaunch(launched.status, current.status);
    Ok(launched)
}

/// The level that the platform and one set of TDX versions reach.
fn platform(info: &TcbInfo, pck: &PckExtension, svn: &[u8; 16]) -> Result<Evaluation, NoLevel> {
    let [module_svn, version, ..] = *svn;
    // Since TDX 1.5 the module's own levels judge the first two components.
    let judged_apart = if version == 0 { 0 } else { 2 };
    let level = info
        .levels
        .iter()
        .find(|level| {
            reaches(&pck.components, &level.sgx)
                && pck.pce_svn >= level.pce_svn
                && svn.iter().zip(&level.tdx).skip(judged_apart).all(|(have, need)| have >= need)
        })
        .ok_or(NoLevel::Platform)?;
    let mut evaluation = Evaluation { status: level.status, advisories: level.advisories.clone() };
    if version > 0 {
        let module = info
            .modules
            .iter()
            .find(|module| module.version == version)
            .ok_or(NoLevel::Module { version })?;
        let level = module
            .levels
            .iter()
            .find(|level| module_svn >= level.security_version)
            .ok_or(NoLevel::ModuleLevel)?;
        evaluation.merge(level.status, &level.advisories);
    }
    Ok(evaluation)
}

fn reaches(have: &[u8; 16], need: &[u8; 16]) -> bool {
    have.iter().zip(need).all(|(have, need)| have >= need)
}

impl Evaluation {
    /// Takes in the status of a part: only an old or a revoked part makes the whole worse, and a
    /// status that a part cannot have counts as old.
    fn merge(&mut self, part: TcbStatus, advisories: &[String]) {
        self.status = match part {
            TcbStatus::UpToDate => self.status,
            TcbStatus::Revoked => TcbStatus::Revoked,
            _ => aged(self.status),
        };
        for advisory in advisories {
            if !self.advisories.contains(advisory) {
                self.advisories.push(advisory.clone());
            }
        }
    }
}

/// A status, when updates are missing too.
fn aged(status: TcbStatus) -> TcbStatus {
    match status {
        TcbStatus::UpToDate | TcbStatus::SwHardeningNeeded => TcbStatus::OutOfDate,
        TcbStatus::ConfigurationNeeded | TcbStatus::ConfigurationAndSwHardeningNeeded => {
            TcbStatus::OutOfDateConfigurationNeeded
        }
        other => other,
    }
}

/// A TD that was launched on an old TCB and runs on a newer one should be launched anew.
fn relaunch(launched: TcbStatus, current: TcbStatus) -> TcbStatus {
    use TcbStatus::*;
    match (launched, current) {
        (OutOfDate, UpToDate | SwHardeningNeeded) => TdRelaunchAdvised,
        (OutOfDate, ConfigurationNeeded | ConfigurationAndSwHardeningNeeded)
        | (
            OutOfDateConfigurationNeeded,
            UpToDate | SwHardeningNeeded | ConfigurationNeeded | ConfigurationAndSwHardeningNeeded,
        ) => TdRelaunchAdvisedConfigurationNeeded,
        (launched, _) => launched,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_part_makes_the_whole_old() {
        use TcbStatus::*;
        for (whole, part, expected) in [
            (UpToDate, UpToDate, UpToDate),
            (UpToDate, OutOfDate, OutOfDate),
            (SwHardeningNeeded, UpToDate, SwHardeningNeeded),
            (SwHardeningNeeded, OutOfDate, OutOfDate),
            (ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (ConfigurationAndSwHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDate, OutOfDate, OutOfDate),
            (OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (UpToDate, ConfigurationNeeded, OutOfDate),
            (Revoked, UpToDate, Revoked),
            (Revoked, OutOfDate, Revoked),
        ] {
            let mut evaluation = Evaluation { status: whole, advisories: vec!["A".into()] };
            evaluation.merge(part, &["A".into(), "B".into()]);
            assert_eq!(evaluation.status, expected, "{whole} {part}");
            assert_eq!(evaluation.advisories, ["A", "B"]);
        }
        for whole in TcbStatus::ALL {
            let mut evaluation = Evaluation { status: whole, advisories: vec![] };
            evaluation.merge(Revoked, &[]);
            assert_eq!(evaluation.status, Revoked);
        }
    }

    #[test]
    fn a_relaunch_helps_only_where_the_platform_is_newer_now() {
        use TcbStatus::*;
        for (launched, current, expected) in [
            (OutOfDate, UpToDate, TdRelaunchAdvised),
            (OutOfDate, SwHardeningNeeded, TdRelaunchAdvised),
            (OutOfDate, ConfigurationNeeded, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDateConfigurationNeeded, UpToDate, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDate, OutOfDate, OutOfDate),
            (OutOfDate, OutOfDateConfigurationNeeded, OutOfDate),
            (OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (UpToDate, OutOfDate, UpToDate),
            (Revoked, UpToDate, Revoked),
        ] {
            assert_eq!(relaunch(launched, current), expected, "{launched} {current}");
        }
    }
}
