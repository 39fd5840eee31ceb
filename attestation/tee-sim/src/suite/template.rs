// SPDX-License-Identifier: Apache-2.0
//! The verifier's command: a program and arguments with placeholders, run without a shell.

use std::ffi::OsString;
use std::path::Path;

use crate::mint::fault::Need;
use crate::mint::{Minted, Role, Tee};

/// A command with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    program: String,
    arguments: Vec<Vec<Piece>>,
    /// No placeholder stands anywhere: arguments as of `casemate verify` are appended.
    appends: bool,
}

/// Why a text is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no program.
    #[error("the command is empty")]
    Empty,
    /// A quotation mark has no partner.
    #[error("a quotation mark of the command is not closed")]
    Quote,
    /// A placeholder is not known, or its brace has no partner.
    #[error("the command has the unknown placeholder {{{name}}}; known are {}", known())]
    Placeholder {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    File(Role),
    At,
    ReportData,
    HostData,
    Measurement,
    /// A register of a TPM.
    Pcr(usize),
    Folder,
    Tee,
}

/// Placeholders by name; TDX's names of two values are others than SNP's, and so are a TPM's.
const KNOWN: [(&str, Place); 23] = [
    ("report", Place::File(Role::Report)),
    ("vcek", Place::File(Role::Vcek)),
    ("chain", Place::File(Role::Chain)),
    ("ask", Place::File(Role::Ask)),
    ("root", Place::File(Role::Root)),
    ("crl", Place::File(Role::Crl)),
    ("quote", Place::File(Role::Quote)),
    ("evidence", Place::File(Role::Evidence)),
    ("collateral", Place::File(Role::Collateral)),
    ("event_log", Place::File(Role::EventLog)),
    ("policy", Place::File(Role::Policy)),
    ("at", Place::At),
    ("report_data", Place::ReportData),
    ("nonce", Place::ReportData),
    ("host_data", Place::HostData),
    ("init_data", Place::HostData),
    ("mr_config_id", Place::HostData),
    ("measurement", Place::Measurement),
    ("mrtd", Place::Measurement),
    ("pcr4", Place::Pcr(4)),
    ("pcr9", Place::Pcr(9)),
    ("dir", Place::Folder),
    ("tee", Place::Tee),
];

/// The placeholders there are, for a person.
fn known() -> String {
    KNOWN.map(|(name, _)| format!("{{{name}}}")).join(" ")
}

impl Template {
    /// Reads a command: words apart by spaces, `'…'` and `"…"` as in a shell, nothing else of a
    /// shell. `{{` and `}}` are braces.
    ///
    /// # Errors
    ///
    /// [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut words = words(text)?.into_iter();
        let program = words.next().ok_or(TemplateError::Empty)?;
        let arguments = words.map(|word| pieces(&word)).collect::<Result<Vec<_>, _>>()?;
        let is_place = |piece: &Piece| matches!(piece, Piece::Place(_));
        let appends = !arguments.iter().flatten().any(is_place);
        Ok(Self { program, arguments, appends })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Whether the command can be given evidence of this technology.
    #[must_use]
    pub fn takes(&self, tee: Tee) -> bool {
        let file = match tee {
            Tee::Snp => Role::Report,
            Tee::Tdx => Role::Quote,
            Tee::AzSnpVtpm | Tee::AzTdxVtpm => Role::Evidence,
        };
        self.appends || self.has(Place::File(file)) || self.has(Place::Folder)
    }

    /// Whether the verifier is given this.
    #[must_use]
    pub fn gives(&self, need: Need) -> bool {
        let policy = Place::File(Role::Policy);
        let place = match need {
            // Either of the two says which registers are good.
            Need::Pcrs if self.has(policy) => policy,
            Need::Pcrs => Place::Pcr(4),
            Need::At => Place::At,
            Need::Crl => Place::File(Role::Crl),
            Need::ReportData => Place::ReportData,
            Need::HostData => Place::HostData,
            Need::Measurement => Place::Measurement,
            Need::EventLog => Place::File(Role::EventLog),
            Need::Collateral => Place::File(Role::Collateral),
            Need::Policy => policy,
        };
        self.appends || self.has(place) || self.has(Place::Folder)
    }

    /// The arguments for a case whose files lie in `folder`. One that names a file that the case
    /// has not gives an empty word.
    #[must_use]
    pub fn arguments(&self, minted: &Minted, folder: &Path) -> Vec<OsString> {
        let own = self.arguments.iter().map(|pieces| {
            let mut word = OsString::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => word.push(text),
                    Piece::Place(place) => word.push(value(*place, minted, folder)),
                }
            }
            word
        });
        let mut arguments: Vec<OsString> = own.collect();
        if self.appends {
            let tee = minted.told.tee;
            let (kind, flags) = match tee {
                Tee::Snp => (vec![tee.name()], SNP_FLAGS),
                Tee::Tdx => (vec![tee.name()], TDX_FLAGS),
                Tee::AzSnpVtpm => (vec!["evidence", "--tee", tee.name()], AZ_SNP_FLAGS),
                Tee::AzTdxVtpm => (vec!["evidence", "--tee", tee.name()], AZ_TDX_FLAGS),
            };
            arguments.extend(kind.into_iter().map(OsString::from));
            for (flag, place) in flags {
                let value = value(*place, minted, folder);
                if value.is_empty() {
                    continue;
                }
                arguments.push(flag.into());
                arguments.push(match place {
                    Place::Pcr(index) => {
                        let mut pair = OsString::from(format!("{index}="));
                        pair.push(value);
                        pair
                    }
                    _ => value,
                });
            }
            arguments.push("--json".into());
        }
        arguments
    }

    fn has(&self, place: Place) -> bool {
        self.arguments.iter().flatten().any(|piece| *piece == Piece::Place(place))
    }
}

const SNP_FLAGS: &[(&str, Place)] = &[
    ("--report", Place::File(Role::Report)),
    ("--vcek", Place::File(Role::Vcek)),
    ("--chain", Place::File(Role::Chain)),
    ("--trust-root", Place::File(Role::Root)),
    ("--crl", Place::File(Role::Crl)),
    ("--at", Place::At),
    ("--report-data", Place::ReportData),
    ("--host-data", Place::HostData),
    ("--measurement", Place::Measurement),
    ("--policy", Place::File(Role::Policy)),
];

const TDX_FLAGS: &[(&str, Place)] = &[
    ("--quote", Place::File(Role::Quote)),
    ("--collateral", Place::File(Role::Collateral)),
    ("--trust-root", Place::File(Role::Root)),
    ("--event-log", Place::File(Role::EventLog)),
    ("--at", Place::At),
    ("--report-data", Place::ReportData),
    ("--mr-config-id", Place::HostData),
    ("--mrtd", Place::Measurement),
    ("--policy", Place::File(Role::Policy)),
];

const AZ_SNP_FLAGS: &[(&str, Place)] = &[
    ("--file", Place::File(Role::Evidence)),
    ("--chain", Place::File(Role::Chain)),
    ("--trust-root", Place::File(Role::Root)),
    ("--crl", Place::File(Role::Crl)),
    ("--at", Place::At),
    ("--report-data", Place::ReportData),
    ("--host-data", Place::HostData),
    ("--measurement", Place::Measurement),
    ("--pcr", Place::Pcr(4)),
    ("--pcr", Place::Pcr(9)),
    ("--policy", Place::File(Role::Policy)),
];

const AZ_TDX_FLAGS: &[(&str, Place)] = &[
    ("--file", Place::File(Role::Evidence)),
    ("--collateral", Place::File(Role::Collateral)),
    ("--trust-root", Place::File(Role::Root)),
    ("--at", Place::At),
    ("--report-data", Place::ReportData),
    ("--host-data", Place::HostData),
    ("--mrtd", Place::Measurement),
    ("--pcr", Place::Pcr(4)),
    ("--pcr", Place::Pcr(9)),
    ("--policy", Place::File(Role::Policy)),
];

fn value(place: Place, minted: &Minted, folder: &Path) -> OsString {
    let told = &minted.told;
    match place {
        Place::File(role) => minted.path(folder, role).unwrap_or_default().into_os_string(),
        Place::At => (&told.at).into(),
        Place::ReportData => (&told.report_data).into(),
        Place::HostData => (&told.host_data).into(),
        Place::Measurement => (&told.measurement).into(),
        Place::Pcr(index) => told.pcrs.get(&index).map(OsString::from).unwrap_or_default(),
        Place::Folder => folder.into(),
        Place::Tee => told.tee.name().into(),
    }
}

fn words(text: &str) -> Result<Vec<String>, TemplateError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (letter, quote) {
            (_, Some(mark)) if letter == mark => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (' ' | '\t' | '\n', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(TemplateError::Quote);
    }
    words.extend(word);
    Ok(words)
}

fn pieces(word: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            text.push_str(from.get(..1).unwrap_or_default());
            rest = after;
            continue;
        }
        let inside = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, after) = inside.unwrap_or((from, ""));
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let unknown = || TemplateError::Placeholder { name: name.to_owned() };
        let (_, place) = known.ok_or_else(unknown)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Place(*place));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let split = |text| words(text).unwrap();
        assert_eq!(split("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(split("a 'b c' \"d 'e\" f\"\"g ''"), ["a", "b c", "d 'e", "fg", ""]);
        assert_eq!(words("a 'b"), Err(TemplateError::Quote));
        assert_eq!(Template::parse(" "), Err(TemplateError::Empty));
    }

    #[test]
    fn placeholders_are_known_or_refused() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let place = Piece::Place(Place::File(Role::Report));
        assert_eq!(pieces("--x={report}!").unwrap(), [text("--x="), place, text("!")]);
        assert_eq!(pieces("{{a}}").unwrap(), [text("{a}")]);
        assert_eq!(pieces("").unwrap(), [text("")]);
        for bad in ["{vcec}", "{report", "report}", "{}"] {
            assert!(matches!(pieces(bad), Err(TemplateError::Placeholder { .. })), "{bad}");
        }
        let message = pieces("{vcec}").unwrap_err().to_string();
        assert!(message.contains("{vcec}; known are {report} {vcek} "), "{message}");
    }

    #[test]
    fn what_a_command_gives_is_what_it_names() {
        let plain = Template::parse("verify").unwrap();
        assert!(plain.takes(Tee::Snp) && plain.takes(Tee::Tdx) && plain.gives(Need::Policy));
        let snp = Template::parse("verify {report} {vcek} {root}").unwrap();
        assert!(snp.takes(Tee::Snp) && !snp.takes(Tee::Tdx));
        assert!(!snp.gives(Need::Policy) && !snp.gives(Need::At));
        let both = Template::parse("verify {dir} {at}").unwrap();
        assert!(both.takes(Tee::Tdx) && both.gives(Need::At));
        let tpm = Template::parse("verify {evidence} {pcr4} {pcr9}").unwrap();
        assert!(tpm.takes(Tee::AzSnpVtpm) && tpm.takes(Tee::AzTdxVtpm) && !tpm.takes(Tee::Snp));
        assert!(tpm.gives(Need::Pcrs) && !tpm.gives(Need::Policy));
        let policy = Template::parse("verify {evidence} {policy}").unwrap();
        assert!(policy.gives(Need::Pcrs));
        assert!(!Template::parse("verify {evidence}").unwrap().gives(Need::Pcrs));
    }
}
