// SPDX-License-Identifier: Apache-2.0
//! Event logs replayed against the registers that hardware signed.

use casemate_evidence::event_log::Event;
use casemate_evidence::event_log::EventKind;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::tdx::TdBody;
use ring::digest;

use super::events;
use super::events::Text;
use super::requirements::Requirements;
use super::rules;
use crate::Source;
use crate::verdict::Findings;

/// D20: what the log says, and that nothing is missing from it, added to it or changed in it.
pub(super) fn check(
    findings: &mut Findings,
    body: &TdBody,
    log: Option<&EventLog>,
    requirements: &Requirements,
) {
    let Some(log) = log else {
        absent(findings, requirements);
        return;
    };
    let replay = Replay::of(log);
    let value = match &replay.problem {
        Some(problem) => problem.clone(),
        None => format!("{} events, the text of {} is covered", log.events().len(), replay.bound),
    };
    findings.check(&rules::EVENT_LOG, value, None, Source::EventLog, replay.problem.is_none());
    for ((rule, signed), replayed) in rules::REPLAYS.iter().zip(body.rtmrs()).zip(&replay.registers)
    {
        findings.check(
            rule,
            hex::encode(signed),
            hex::encode(replayed),
            Source::EventLog,
            signed == replayed,
        );
    }
    check_runtime(findings, &replay, requirements);
}

fn absent(findings: &mut Findings, requirements: &Requirements) {
    let demanded = requirements.require_event_log
        || requirements.runtime_events.is_some()
        || requirements.last_event.is_some();
    if demanded {
        findings.check(&rules::EVENT_LOG, "none", None, Source::EventLog, false);
    } else {
        findings.not_checked(&rules::EVENT_LOG, "none", Source::EventLog);
    }
}

/// What was measured into RTMR3, which is the running system's.
fn check_runtime(findings: &mut Findings, replay: &Replay, requirements: &Requirements) {
    let named = &requirements.runtime_events;
    for entry in replay.runtime.iter().take(MAX_RUNTIME_LINES) {
        let text = entry.as_deref().unwrap_or("something that the log does not say");
        match (named, entry) {
            (None, _) => findings.not_checked(&rules::RUNTIME_EVENT, text, Source::EventLog),
            (Some(named), Some(text)) => findings.check(
                &rules::RUNTIME_EVENT,
                text.as_str(),
                None,
                Source::EventLog,
                named.contains(text),
            ),
            (Some(_), None) => {
                findings.check(&rules::RUNTIME_EVENT, text, None, Source::EventLog, false);
            }
        }
    }
    let hidden = replay.runtime.len().saturating_sub(MAX_RUNTIME_LINES);
    if hidden > 0 {
        let value = format!("{hidden} more events");
        match named {
            Some(_) => findings.check(&rules::RUNTIME_EVENT, value, None, Source::EventLog, false),
            None => findings.not_checked(&rules::RUNTIME_EVENT, value, Source::EventLog),
        }
    }
    if let Some(last) = &requirements.last_event {
        let found = replay.runtime.last().cloned().flatten();
        let count = replay.runtime.iter().flatten().filter(|text| *text == last).count();
        findings.check(
            &rules::LAST_EVENT,
            found.clone().unwrap_or_else(|| "none".to_owned()),
            last.clone(),
            Source::EventLog,
            found.as_ref() == Some(last) && count == 1,
        );
    }
}

/// What a log replays to.
struct Replay {
    registers: [[u8; 48]; 4],
    bound: usize,
    /// Events of RTMR3 in order: their text, where the digest covers it.
    runtime: Vec<Option<String>>,
    problem: Option<String>,
}

impl Replay {
    fn of(log: &EventLog) -> Self {
        let mut replay =
            Self { registers: [[0; 48]; 4], bound: 0, runtime: Vec::new(), problem: None };
        for (index, event) in log.events().iter().enumerate() {
            if let Err(what) = replay.take(event) {
                let problem = || format!("event {index} ({}): {what}", event.kind);
                replay.problem.get_or_insert_with(problem);
            }
        }
        replay
    }

    fn take(&mut self, event: &Event) -> Result<(), &'static str> {
        if event.kind == EventKind::NO_ACTION {
            let zero = event.digests.iter().all(|d| d.bytes.iter().all(|byte| *byte == 0));
            return if zero { Ok(()) } else { Err("measures nothing and has a digest") };
        }
        // MRTD, register 0, is closed when the TD starts.
        let index = event.register.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let register = index.and_then(|index| self.registers.get_mut(index));
        let register = register.ok_or("is of a register that cannot be extended")?;
        let digest = events::digest_of(event).ok_or("has no SHA-384 digest")?;
        let mut context = digest::Context::new(&digest::SHA384);
        context.update(register);
        context.update(&digest);
        for (to, from) in register.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        let text = events::text(event, &digest);
        if event.register == RTMR3 {
            self.runtime.push(match &text {
                Text::Bound(covered) => Some(events::runtime_text(event, covered)),
                Text::Opaque | Text::Broken => None,
            });
        }
        match text {
            Text::Bound(_) => self.bound = self.bound.saturating_add(1),
            Text::Opaque => {}
            Text::Broken => return Err("its digest is not of its text"),
        }
        Ok(())
    }
}

/// RTMR3's number in a log.
const RTMR3: u32 = 4;
/// Most runtime events with a line of their own.
const MAX_RUNTIME_LINES: usize = 64;
