// SPDX-License-Identifier: Apache-2.0
//! What a policy answers to a list of requests, and why.

mod example;
mod look;
mod strict;

use std::fmt;

use casemate_policy_monitor::Denial;
use casemate_policy_monitor::Grant;
use casemate_policy_monitor::ProcessRef;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;
use casemate_policy_rules::AskError;
use casemate_policy_rules::Asked;
use casemate_policy_rules::Request;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::Document;
use crate::Place;
use crate::words;

pub use example::NoExample;
pub use example::example;

/// One entry of the list: a request, or the end of a process, which the guest sees by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub event: Event,
    /// What the writer of the list expects; absent = that it is granted.
    pub expect: Option<Expectation>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The host asks.
    Request(Box<Request>),
    /// A process ends.
    Exited(Exited),
}

/// The end of a process: `{"Exited": {"container_id": "c1", "code": 0}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exited {
    /// The container.
    pub container_id: String,
    /// The process of an exec; empty for the container's first process.
    pub exec_id: String,
    /// Its exit code.
    pub code: u32,
}

/// What a list expects of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// It is granted.
    Allow,
    /// It is denied, with any code.
    Deny,
    /// It is denied with the code of this rule.
    Code(Rule),
}

impl Step {
    /// Reads a list of steps, JSON: each entry is an object with one call of the agent's API and its
    /// fields, and beside it perhaps `expect` (`"allow"`, `"deny"` or a code) and `note`.
    ///
    /// # Errors
    ///
    /// The text is no JSON list, a key stands twice in an object of it, it is too long, or an entry is
    /// none.
    pub fn read_list(text: &str) -> Result<Vec<Self>, StepError> {
        let list = strict::objects(text).map_err(|source| StepError::List { source })?;
        if list.len() > MAX_STEPS {
            return Err(StepError::TooMany);
        }
        let read = |(index, entry)| {
            Self::read(entry).map_err(|problem| StepError::Entry { index, problem })
        };
        list.into_iter().enumerate().map(read).collect()
    }

    fn read(mut entry: Map<String, Value>) -> Result<Self, Problem> {
        let expect = match entry.remove("expect") {
            None => None,
            Some(Value::String(word)) => {
                Some(Expectation::read(&word).ok_or(Problem::UnknownCode { code: word })?)
            }
            Some(_) => return Err(Problem::Expect),
        };
        if !matches!(entry.remove("note"), None | Some(Value::String(_))) {
            return Err(Problem::Note);
        }
        if entry.len() != 1 {
            return Err(Problem::NotOneCall { count: entry.len() });
        }
        let fields = |source| Problem::Fields { source };
        let event = match entry.remove("Exited") {
            Some(exited) => Event::Exited(serde_json::from_value(exited).map_err(fields)?),
            None => Event::Request(serde_json::from_value(Value::Object(entry)).map_err(fields)?),
        };
        Ok(Self { event, expect })
    }

    /// The entry of the list, without an expectation.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let value = match &self.event {
            Event::Request(request) => serde_json::to_value(request),
            Event::Exited(exited) => serde_json::to_value(exited)
                .map(|exited| Value::Object(Map::from_iter([("Exited".to_owned(), exited)]))),
        };
        value.unwrap_or_default()
    }
}

impl Expectation {
    fn read(word: &str) -> Option<Self> {
        match word {
            "allow" => Some(Self::Allow),
            "deny" => Some(Self::Deny),
            _ => Rule::ALL.iter().find(|rule| rule.code() == word).map(|rule| Self::Code(*rule)),
        }
    }
}

/// The answer to one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Number of the entry in the list, from 0.
    pub index: usize,
    /// Name of the call, or `Exited`.
    pub request: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Stable code of a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The field of the request that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What happens, and why.
    pub sentence: String,
    /// The field of the policy to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_field: Option<String>,
    /// Where that field, or what it would belong to, stands in the policy's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Whether it is what the list expects.
    pub as_expected: bool,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The request is granted.
    Granted,
    /// The request is denied.
    Denied,
    /// Not a request: nothing is judged.
    Happened,
}

/// Asks a monitor of the document's policy all steps in their order. What is granted counts as
/// carried out.
///
/// The monitor alone is asked: the guest refuses malformed requests, loopback addresses and the like
/// before it, whatever a policy says.
pub fn simulate(
    document: &Document,
    monitor: &mut dyn ReferenceMonitor,
    steps: &[Step],
) -> Vec<Answer> {
    let places = document.places();
    let mut answers = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let mut answer = match &step.event {
            Event::Exited(exited) => happened(exited, monitor),
            Event::Request(request) => judge(document, request, monitor),
        };
        answer.index = index;
        answer.place = answer.policy_field.as_deref().and_then(|field| places.find(field));
        answer.as_expected = is_expected(&answer, step.expect.as_ref());
        answers.push(answer);
    }
    answers
}

fn is_expected(answer: &Answer, expect: Option<&Expectation>) -> bool {
    match (expect.unwrap_or(&Expectation::Allow), answer.verdict) {
        (Expectation::Allow, verdict) => verdict != Verdict::Denied,
        (Expectation::Deny, verdict) => verdict == Verdict::Denied,
        (Expectation::Code(rule), _) => answer.code == Some(rule.code()),
    }
}

fn happened(exited: &Exited, monitor: &mut dyn ReferenceMonitor) -> Answer {
    let Exited { container_id, exec_id, code } = exited.clone();
    let process = ProcessRef { container_id, exec_id: Some(exec_id).filter(|id| !id.is_empty()) };
    monitor.exited(&process, code);
    let id = words::quoted(&process.container_id);
    answer("Exited", Verdict::Happened, format!("A process of {id} ends with exit code {code}."))
}

fn judge(document: &Document, request: &Request, monitor: &mut dyn ReferenceMonitor) -> Answer {
    let name = look::container_name(request, monitor);
    let about = match &name {
        Some(name) => format!("{} of container {}", request.name(), words::quoted(name)),
        None => request.name().to_owned(),
    };
    match request.ask(monitor) {
        Ok(Asked::Done) => answer(request.name(), Verdict::Granted, format!("{about} is granted.")),
        Ok(Asked::Reserved { pending, grant }) => {
            monitor.commit(pending);
            let gets = grant.as_ref().map(grant_words).unwrap_or_default();
            answer(request.name(), Verdict::Granted, format!("{about} is granted.{gets}"))
        }
        Err(AskError::Malformed(bad)) => Answer {
            code: Some(Rule::Invalid.code()),
            field: Some(bad.field.clone()),
            ..answer(
                request.name(),
                Verdict::Denied,
                format!("{about} is refused: {} {}.", bad.field, bad.problem),
            )
        },
        Err(AskError::Denied(denial)) => {
            let Denial { rule, field, text } = &denial;
            let sentence = format!("{about} is denied: {field}: {text}. {}", why(*rule));
            Answer {
                code: Some(rule.code()),
                field: Some(field.clone()),
                policy_field: look::policy_field(
                    &document.policy,
                    name.as_deref(),
                    request,
                    &denial,
                ),
                ..answer(request.name(), Verdict::Denied, sentence)
            }
        }
    }
}

fn answer(request: &'static str, verdict: Verdict, sentence: String) -> Answer {
    Answer {
        index: 0,
        request,
        verdict,
        code: None,
        field: None,
        sentence,
        policy_field: None,
        place: None,
        as_expected: true,
    }
}

fn grant_words(grant: &Grant) -> String {
    let streams = [
        (grant.stdio.stdin, "writes its stdin"),
        (grant.stdio.stdout, "reads its stdout"),
        (grant.stdio.stderr, "reads its stderr"),
    ];
    let streams: Vec<&str> = streams.iter().filter(|(on, _)| *on).map(|(_, what)| *what).collect();
    let host = if streams.is_empty() {
        "the host gets none of its streams".to_owned()
    } else {
        format!("the host {}", words::all(&streams))
    };
    format!(
        " It runs as {} with {}; {host}.",
        crate::explain::user(&grant.user),
        words::count(grant.env.len(), "environment variable")
    )
}

/// The rule in a sentence, for somebody who meets it for the first time.
fn why(rule: Rule) -> &'static str {
    match rule {
        Rule::Argv => "The argument list must be the policy's, entry by entry.",
        Rule::Container => "Only containers that the policy names can be created.",
        Rule::Count => {
            "The policy says how often a container may start; one of a name is alive at a time."
        }
        Rule::Cwd => "The working directory must be the policy's.",
        Rule::Env => {
            "Every variable must be the policy's or match one of its holes, and none may be missing."
        }
        Rule::Exec => "Only commands on the container's exec list can be run in it.",
        Rule::Id => {
            "An id must be new where a thing is made, and known and in a fitting state elsewhere."
        }
        Rule::Image => "The image must have the digest that the policy pins.",
        Rule::Invalid => "The request is not well-formed.",
        Rule::Message => "The host reads a termination message only where the policy lets it out.",
        Rule::Metrics => "The host reads usage figures only where the policy lets them out.",
        Rule::Mount => "Every mount must be one that the policy has, with the same kind.",
        Rule::Network => "The network values must lie within the policy's ranges and patterns.",
        Rule::Order => "Containers start in the policy's order.",
        Rule::Phase => "The request does not fit what has happened so far.",
        Rule::Poisoned => "Nothing changes any more after a failure that could not be undone.",
        Rule::Resources => "Limits can be changed only within the ranges of the policy.",
        Rule::Rootfs => "The read-only flag of the root must be the policy's.",
        Rule::Rules => "The policy would grant it; the extra rules in policy.rego do not.",
        Rule::Signal => "Only signals that the policy lists can be sent.",
        Rule::Stdio => "Terminal and stdin must be as the policy grants them.",
        Rule::Volume => {
            "A volume's content must be what the policy pins, or fit its limits, and be there in time."
        }
        _ => "",
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, code) = (self.index + 1, self.code.unwrap_or_default());
        let verdict = match self.verdict {
            Verdict::Granted => "granted",
            Verdict::Denied => "denied",
            Verdict::Happened => "-",
        };
        let mark = if self.as_expected { "" } else { "  (not as expected)" };
        let head = format!("{number:>3}  {verdict:<8} {:<18} {code}", self.request);
        writeln!(f, "{}{mark}", head.trim_end())?;
        writeln!(f, "     {}", self.sentence.trim_end())?;
        if let (Some(place), Some(field)) = (&self.place, &self.policy_field) {
            let whole = place.field == *field;
            let lack = if whole { "" } else { " (not in this policy; it would stand here)" };
            writeln!(f, "     look at {field}{lack}")?;
            for line in place.to_string().lines() {
                writeln!(f, "     {line}")?;
            }
        }
        Ok(())
    }
}

/// A list of steps cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// An entry is none.
    #[error("entry {number} of the list: {problem}", number = .index + 1)]
    Entry {
        /// Its number, from 0.
        index: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The text is no list.
    #[error("no JSON list of objects: {source}")]
    List {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The list is over its cap.
    #[error("the list has more than {MAX_STEPS} entries")]
    TooMany,
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The expectation is no word.
    #[error("`expect` is not \"allow\", \"deny\" or a code")]
    Expect,
    /// The call is unknown or has other fields.
    #[error("{source}")]
    Fields {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The note is no text.
    #[error("`note` is no text")]
    Note,
    /// An entry holds exactly one call.
    #[error("it has {count} calls, not one")]
    NotOneCall {
        /// How many.
        count: usize,
    },
    /// No denial has this code.
    #[error("`expect` is {code:?}, and no request is ever denied with that code")]
    UnknownCode {
        /// The code.
        code: String,
    },
}

/// Most entries of a list.
const MAX_STEPS: usize = 100_000;
