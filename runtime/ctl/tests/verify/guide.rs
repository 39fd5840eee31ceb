// SPDX-License-Identifier: Apache-2.0
//! What the guides show.

use super::*;

fn guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/how-to/verify-evidence.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_guide_shows_options_that_exist() {
    let guide = guide().replace("\\\n", " ");
    let mut commands = 0;
    for line in guide.lines().filter(|line| line.starts_with("casemate verify ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let help = String::from_utf8(run(&[words[2], "--help"]).stdout).unwrap();
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{option} ")), "{option} of {line}");
        }
        commands += 1;
    }
    assert_eq!(commands, 5);
}

#[test]
fn the_guides_policy_is_one_and_has_every_rule_that_it_lists() {
    let guide = guide();
    let example = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let digits = |count: usize| format!("<{count} hexadecimal digits>");
    let policy = [128, 96, 64, 32].iter().fold(example.to_owned(), |text, count| {
        text.replace(&digits(*count), &"ab".repeat(count / 2))
    });
    let policy = casemate_verifier::Policy::parse(&policy).unwrap();
    assert!(policy.snp.is_some() && policy.tdx.is_some() && policy.reference_values.is_some());
}
