// SPDX-License-Identifier: Apache-2.0
//! A7, A8: each variable is the policy's or fills a hole, none twice, none missing.
//!
//! The order of the host's list does not matter: names are unique and the grant has the policy's order.

use casemate_policy::Container;
use casemate_policy::EnvVar;

use crate::CreateRequest;
use crate::Denial;
use crate::Rule;
use crate::denial::Quoted;

/// A7: each entry is `NAME=value` and no name stands twice.
pub(crate) fn check_form(list: &[String]) -> Result<(), Denial> {
    let deny = |index: usize, text: &str| {
        Err(Denial::new(Rule::Env, format!("env[{index}]"), text.to_owned()))
    };
    let mut names = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let Some((name, _)) = entry.split_once('=') else { return deny(index, "has no '='") };
        if name.is_empty() || entry.contains('\0') {
            return deny(index, "has no name or holds a NUL");
        }
        names.push((name, index));
    }
    names.sort_unstable();
    for pair in names.windows(2) {
        if let [(name, _), (again, index)] = pair
            && name == again
        {
            return deny(*index, "occurs twice");
        }
    }
    Ok(())
}

/// A7: a variable of the policy has the policy's value, another fits a hole.
pub(crate) fn check_values(variables: &Variables<'_>) -> Result<(), Denial> {
    for variable in &variables.0 {
        let text = match variable.place {
            Place::Exact(expected) if expected.value == variable.value => continue,
            Place::Hole(_) => continue,
            Place::Exact(_) => {
                format!("the value of {} is not the policy's", Quoted(variable.name))
            }
            Place::Nowhere => {
                format!("{} is not in the policy and fits no hole", Quoted(variable.name))
            }
        };
        return Err(Denial::new(Rule::Env, format!("env[{}]", variable.index), text));
    }
    Ok(())
}

/// A8: every variable and every required hole of the policy is there.
pub(crate) fn check_complete(
    container: &Container,
    request: &CreateRequest,
    variables: &Variables<'_>,
) -> Result<(), Denial> {
    let deny = |list: &str, index: usize, text: &str| {
        let field = format!("containers.{}.{list}[{index}]", request.name);
        Err(Denial::new(Rule::Env, field, text))
    };
    if let Some(index) = container.env.iter().position(|v| !variables.has(&v.name)) {
        return deny("env", index, "the policy's variable is missing in the request");
    }
    let open = |(index, hole): (usize, &casemate_policy::EnvHole)| {
        (hole.required && !variables.fill(index)).then_some(index)
    };
    match container.env_holes.iter().enumerate().find_map(open) {
        Some(index) => deny("env_holes", index, "the required hole is not filled by the request"),
        None => Ok(()),
    }
}

/// The host's variables, sorted by name, each with its place in the policy.
pub(crate) struct Variables<'a>(Vec<Variable<'a>>);

struct Variable<'a> {
    name: &'a str,
    value: &'a str,
    /// Where it stands in the host's list.
    index: usize,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    /// A variable of the policy has its name.
    Exact(&'a EnvVar),
    /// It fits the hole of this number, the first one that it fits.
    Hole(usize),
    Nowhere,
}

impl<'a> Variables<'a> {
    /// Finds each variable's place.
    pub(crate) fn place(container: &'a Container, list: &'a [String]) -> Self {
        let mut exact: Vec<&EnvVar> = container.env.iter().collect();
        exact.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut variables: Vec<Variable<'a>> = list
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                let place = match exact.binary_search_by(|v| v.name.as_str().cmp(name)) {
                    Ok(found) => exact.get(found).map_or(Place::Nowhere, |v| Place::Exact(v)),
                    Err(_) => container
                        .env_holes
                        .iter()
                        .position(|hole| hole.name.matches(name) && hole.value.matches(value))
                        .map_or(Place::Nowhere, Place::Hole),
                };
                Variable { name, value, index, place }
            })
            .collect();
        variables.sort_unstable_by(|a, b| a.name.cmp(b.name));
        Self(variables)
    }

    /// The environment that is granted: the policy's variables in the policy's order, then those that
    /// fill holes, hole by hole.
    pub(crate) fn granted(&self, container: &Container) -> Vec<String> {
        let holes = self.0.iter().filter_map(|variable| match variable.place {
            Place::Hole(index) => Some((index, variable)),
            Place::Exact(_) | Place::Nowhere => None,
        });
        let mut holes: Vec<(usize, &Variable<'_>)> = holes.collect();
        // Stable: the variables of one hole stay sorted by name.
        holes.sort_by_key(|(index, _)| *index);
        let exact = container.env.iter().map(|v| joined(&v.name, &v.value));
        exact.chain(holes.iter().map(|(_, v)| joined(v.name, v.value))).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.binary_search_by(|variable| variable.name.cmp(name)).is_ok()
    }

    fn fill(&self, hole: usize) -> bool {
        self.0.iter().any(|v| matches!(v.place, Place::Hole(index) if index == hole))
    }
}

/// `NAME=value`, in one allocation.
pub(crate) fn joined(name: &str, value: &str) -> String {
    [name, "=", value].concat()
}
