// SPDX-License-Identifier: Apache-2.0
//! A wrong call, in the words of every other failure.

use std::process::ExitCode;

use clap::Error;
use clap::error::ErrorKind;

use crate::failure::Failure;

/// Prints help or version if that was asked for; else says in one line what is wrong with the call.
/// Exit code 2 tells a wrong call from a command that failed.
pub(crate) fn answer(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A page of help; the line comes last, where scripts and eyes look.
            let text = error.render().to_string();
            eprintln!("{}\n", text.trim_end());
            eprintln!("{}", failure("a subcommand or option is missing", &text));
        }
        _ => {
            let text = error.render().to_string();
            eprintln!("{}", failure(&message(&text), &text));
        }
    }
    ExitCode::from(WRONG_CALL)
}

fn failure(message: &str, text: &str) -> Failure {
    Failure::new("usage", message, &format!("see {} --help", command(text)))
}

/// What clap says before it repeats the usage, on one line.
fn message(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let said = lines.take_while(|line| !line.starts_with(USAGE) && !line.starts_with(MORE));
    let words: Vec<_> = said.flat_map(str::split_ascii_whitespace).collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// The command whose usage clap repeats: the words before its options.
fn command(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.trim().strip_prefix(USAGE));
    let words = usage.unwrap_or(NAME).split_ascii_whitespace();
    let words: Vec<_> = words.take_while(|word| !word.starts_with(['-', '<', '['])).collect();
    if words.is_empty() { NAME.to_owned() } else { words.join(" ") }
}

const NAME: &str = "casemate";
const USAGE: &str = "Usage:";
const MORE: &str = "For more information";
const WRONG_CALL: u8 = 2;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn line(call: &str) -> String {
        let error = Args::try_parse_from(call.split(' ')).unwrap_err();
        let text = error.render().to_string();
        failure(&message(&text), &text).to_string()
    }

    #[test]
    fn a_wrong_call_is_one_line_that_names_the_command() {
        assert_eq!(
            line("casemate guest-image verify"),
            "usage: the following required arguments were not provided: <DIR>; \
             next: see casemate guest-image verify --help"
        );
        let unknown = line("casemate fly");
        assert!(unknown.starts_with("usage: unrecognized subcommand 'fly'"), "{unknown}");
        assert!(unknown.ends_with("; next: see casemate --help"), "{unknown}");
        // E19: nor does the call itself drive the terminal.
        let escape = line("casemate fly\u{1b}[31m");
        assert!(!escape.contains('\u{1b}'), "{escape}");
    }
}
