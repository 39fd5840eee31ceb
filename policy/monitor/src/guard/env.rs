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
        // Lengths are quicker to compare, and tell most names apart.
        names.push((name.len(), name, index));
    }
    names.sort_unstable();
    let twice = names.windows(2).filter_map(|pair| match pair {
        [(_, name, _), (_, again, index)] if name == again => Some((*name, *index)),
        _ => None,
    });
    // Of several the first by name, whatever their lengths.
    match twice.min() {
        Some((_, index)) => deny(index, "occurs twice"),
        None => Ok(()),
    }
}

/// A7: a variable of the policy has the policy's value, another fits a hole.
pub(crate) fn check_values(variables: &Variables<'_>) -> Result<(), Denial> {
    let is_wrong = |variable: &&Variable<'_>| match variable.place {
        Place::Exact(expected) => expected.value != variable.value,
        Place::Hole(_) => false,
        Place::Nowhere => true,
    };
    let wrong = variables.list.iter().filter(is_wrong).min_by_key(|variable| variable.name);
    let Some(variable) = wrong else { return Ok(()) };
    let text = match variable.place {
        Place::Nowhere => {
            format!("{} is not in the policy and fits no hole", Quoted(variable.name))
        }
        Place::Exact(_) | Place::Hole(_) => {
            format!("the value of {} is not the policy's", Quoted(variable.name))
        }
    };
    Err(Denial::new(Rule::Env, format!("env[{}]", variable.index), text))
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
    if let Some(index) = (0..container.env.len()).find(|index| !variables.has(*index)) {
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

/// The host's variables, each with its place in the policy.
pub(crate) struct Variables<'a> {
    list: Vec<Variable<'a>>,
    /// Which of the policy's variables are among them.
    given: Vec<bool>,
}

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
        // Lengths are quicker to compare, and tell most names apart.
        let key = |name: &'a str| (name.len(), name);
        let mut exact: Vec<(usize, &EnvVar)> = container.env.iter().enumerate().collect();
        exact.sort_unstable_by_key(|(_, variable)| key(&variable.name));
        let mut given = vec![false; container.env.len()];
        let place = |(index, entry): (usize, &'a String)| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            let found = exact.binary_search_by_key(&key(name), |(_, v)| key(&v.name));
            let place = match found.ok().and_then(|found| exact.get(found)) {
                Some((number, variable)) => {
                    given.get_mut(*number).into_iter().for_each(|given| *given = true);
                    Place::Exact(variable)
                }
                None => container
                    .env_holes
                    .iter()
                    .position(|hole| hole.name.matches(name) && hole.value.matches(value))
                    .map_or(Place::Nowhere, Place::Hole),
            };
            Variable { name, value, index, place }
        };
        let list = list.iter().enumerate().map(place).collect();
        Self { list, given }
    }

    /// The environment that is granted: the policy's variables in the policy's order, then those that
    /// fill holes, hole by hole.
    pub(crate) fn granted(&self, container: &Container) -> Vec<String> {
        let holes = self.list.iter().filter_map(|variable| match variable.place {
            Place::Hole(index) => Some((index, variable.name, variable.value)),
            Place::Exact(_) | Place::Nowhere => None,
        });
        let mut holes: Vec<(usize, &str, &str)> = holes.collect();
        // The variables of one hole by their names.
        holes.sort_unstable();
        let exact = container.env.iter().map(|v| joined(&v.name, &v.value));
        exact.chain(holes.iter().map(|(_, name, value)| joined(name, value))).collect()
    }

    fn has(&self, number: usize) -> bool {
        self.given.get(number).is_some_and(|given| *given)
    }

    fn fill(&self, hole: usize) -> bool {
        self.list.iter().any(|v| matches!(v.place, Place::Hole(index) if index == hole))
    }
}

/// `NAME=value`, in one allocation.
pub(crate) fn joined(name: &str, value: &str) -> String {
    [name, "=", value].concat()
}
