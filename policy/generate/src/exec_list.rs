// SPDX-License-Identifier: Apache-2.0
//! The commands that `kubectl exec` may run, from an annotation of the pod.

use std::collections::BTreeMap;

use casemate_policy::Exec;
use casemate_policy::open_shell;
use serde_json::Value;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::json;
use crate::reader::Reader;

/// The annotation that lists commands for `kubectl exec`.
///
/// JSON: a list of commands for every container, or an object from container name to such a list. A
/// command is a list of arguments, or `{"argv": [...], "tty": true, "stdin": true}`.
pub const EXEC_ANNOTATION: &str = "io.casemate.exec";

/// Commands for `kubectl exec`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecList {
    everywhere: Vec<Exec>,
    by_container: BTreeMap<String, Vec<Exec>>,
}

impl ExecList {
    pub(crate) fn read(annotations: &BTreeMap<String, String>) -> Result<Self, GenerateError> {
        let Some(text) = annotations.get(EXEC_ANNOTATION) else { return Ok(Self::default()) };
        let path = format!("metadata.annotations[{EXEC_ANNOTATION}]");
        let document = json::parse(text, &path)?;
        match &document {
            Value::Array(list) => {
                Ok(Self { everywhere: commands(&path, list)?, ..Self::default() })
            }
            Value::Object(map) => {
                let mut by_container = BTreeMap::new();
                for (name, value) in map {
                    let path = format!("{path}.{name}");
                    let list = value.as_array().ok_or_else(|| no_command(&path))?;
                    by_container.insert(name.clone(), commands(&path, list)?);
                }
                Ok(Self { by_container, ..Self::default() })
            }
            _ => Err(no_command(&path)),
        }
    }

    /// Fails if the annotation names a container that the pod does not have.
    pub(crate) fn check_names<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), GenerateError> {
        let names: Vec<_> = names.collect();
        match self.by_container.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(GenerateError::invalid(
                format!("metadata.annotations[{EXEC_ANNOTATION}]"),
                Invalid::Unknown { value: name.clone() },
            )),
            None => Ok(()),
        }
    }

    /// Says which commands leave to the host what is run.
    pub(crate) fn warn_of_shells(&self, warnings: &mut Vec<Warning>) {
        let own = self.by_container.iter().map(|(name, list)| (name.as_str(), list));
        for (container, list) in std::iter::once(("every container", &self.everywhere)).chain(own) {
            for shell in list.iter().filter_map(open_shell) {
                let text = format!(
                    "lets whoever runs the cluster do in {container} whatever {shell} can; list the \
                     few commands that are needed in its place"
                );
                let path = format!("metadata.annotations[{EXEC_ANNOTATION}]");
                warnings.push(Warning::new(path, text));
            }
        }
    }

    /// The commands for one container.
    pub(crate) fn of(&self, container: &str) -> impl Iterator<Item = Exec> + '_ {
        let own = self.by_container.get(container).into_iter().flatten();
        self.everywhere.iter().chain(own).cloned()
    }
}

fn commands(path: &str, list: &[Value]) -> Result<Vec<Exec>, GenerateError> {
    list.iter()
        .enumerate()
        .map(|(index, value)| command(&format!("{path}[{index}]"), value))
        .collect()
}

fn command(path: &str, value: &Value) -> Result<Exec, GenerateError> {
    if let Value::Array(list) = value {
        let argv: Option<Vec<_>> = list.iter().map(|v| v.as_str().map(str::to_owned)).collect();
        let argv = argv.filter(|argv| !argv.is_empty()).ok_or_else(|| no_command(path))?;
        return Ok(Exec { argv, ..Exec::default() });
    }
    let mut reader = Reader::new(path, value)?;
    let exec = Exec {
        argv: reader.texts("argv")?.unwrap_or_default(),
        terminal: reader.flag("tty")?.unwrap_or(false),
        stdin: reader.flag("stdin")?.unwrap_or(false),
        ..Exec::default()
    };
    reader.finish_strictly()?;
    if exec.argv.is_empty() { Err(no_command(path)) } else { Ok(exec) }
}

fn no_command(path: &str) -> GenerateError {
    GenerateError::invalid(path, Invalid::Type { expected: "a command, a list of texts" })
}
