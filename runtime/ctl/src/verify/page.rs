// SPDX-License-Identifier: Apache-2.0
//! A verdict as one page for an auditor: no script, nothing loaded from elsewhere.

use casemate_verifier::Line;
use casemate_verifier::Outcome;
use casemate_verifier::Source;
use casemate_verifier::Status;

use super::html::Html;
use super::judgement::Judgement;
use super::judgement::detail;

/// The page of a judgement.
pub(crate) fn page(judgement: &Judgement) -> String {
    let mut html = Html::default();
    let verdict = &judgement.verdict;
    html.raw(HEAD).raw("<title>").text(judgement.kind).raw(": ");
    html.text(&verdict.status().to_string()).raw("</title>\n</head>\n<body>\n");
    banner(&mut html, judgement);
    reasons(&mut html, judgement);
    html.raw("<h2>From the root to each claim</h2>\n<ol class=\"chain\">\n");
    html.raw("<li id=\"root\"><strong>Root</strong> <code>");
    html.text(judgement.root().unwrap_or("none: the chain ends in no configured root"));
    html.raw("</code>");
    if let Some(key) = &judgement.root_key {
        html.raw(" whose public key has the SHA-256 <code>").text(key).raw("</code>");
    }
    html.raw("</li>\n");
    for (source, title, says) in SECTIONS {
        let lines: Vec<&Line> =
            verdict.lines().iter().filter(|line| line.source == source).collect();
        if !lines.is_empty() {
            section(&mut html, title, says, &lines);
        }
    }
    html.raw("</ol>\n");
    vector(&mut html, judgement);
    inputs(&mut html, judgement);
    html.raw("</body>\n</html>\n");
    html.finish()
}

fn banner(html: &mut Html, judgement: &Judgement) {
    let (class, words) = match judgement.verdict.status() {
        Status::Affirming => (
            "ok",
            "Affirming: every rule is kept, and what runs and for whom the \
                                     evidence was made were both compared with what they should be.",
        ),
        Status::Unbound => (
            "unbound",
            "Unbound: the evidence is genuine, but nothing said what it \
                                        should be. Do not release anything on it.",
        ),
        Status::Refused => ("refused", "Refused: at least one rule is broken."),
    };
    html.raw("<header class=\"").text(class).raw("\">\n<h1>").text(judgement.kind);
    html.raw(" <span id=\"verdict\">").text(&judgement.verdict.status().to_string());
    html.raw("</span></h1>\n<p>").text(words).raw("</p>\n<p>Judged for ");
    html.text(&judgement.time()).raw(" by casemate ").text(env!("CARGO_PKG_VERSION"));
    html.raw(".</p>\n</header>\n");
    for warning in judgement.warnings() {
        html.raw("<p class=\"warning\" role=\"alert\">Warning: ").text(&warning).raw("</p>\n");
    }
}

fn reasons(html: &mut Html, judgement: &Judgement) {
    let mut reasons = judgement.verdict.reasons().peekable();
    if reasons.peek().is_none() {
        return;
    }
    html.raw("<h2>Reasons</h2>\n<ul id=\"reasons\">\n");
    for line in reasons {
        html.raw("<li><code>").text(line.code.as_str()).raw("</code> <a href=\"#");
        html.text(line.claim).raw("\">").text(line.claim).raw("</a>: ").text(&detail(line));
        html.raw("<br><small>Next: ").text(line.code.next_step()).raw("</small></li>\n");
    }
    html.raw("</ul>\n");
}

fn section(html: &mut Html, title: &'static str, says: &'static str, lines: &[&Line]) {
    html.raw("<li><strong>").raw(title).raw("</strong> ").raw(says).raw(
        "\n<table>\n<thead><tr><th>Claim</th><th>Value</th><th>Compared with</th><th>Rule</th>\
         <th>Outcome</th></tr></thead>\n<tbody>\n",
    );
    for line in lines {
        let class = match line.outcome {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
            Outcome::NotChecked => "unbound",
        };
        html.raw("<tr id=\"")
            .text(line.claim)
            .raw("\" class=\"")
            .text(class)
            .raw("\"><th scope=\"row\">");
        html.text(line.claim)
            .raw("</th><td><code>")
            .text(&line.value)
            .raw("</code></td><td><code>");
        html.text(line.reference.as_deref().unwrap_or("-")).raw("</code></td><td>").text(line.rule);
        html.raw("</td><td>").text(&line.outcome.to_string()).raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table></li>\n");
}

fn vector(html: &mut Html, judgement: &Judgement) {
    html.raw("<h2>As an attestation result</h2>\n<p>The trustworthiness vector (AR4SI): 2 to 31 \
              affirms, 32 to 95 warns, 96 and more contraindicates, 0 says nothing.</p>\n<table>\n<tbody>\n");
    for (name, value) in judgement.verdict.vector().claims() {
        html.raw("<tr><th scope=\"row\">").text(name).raw("</th><td>").text(&value.to_string());
        html.raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n");
}

fn inputs(html: &mut Html, judgement: &Judgement) {
    html.raw(
        "<h2>Files</h2>\n<table>\n<thead><tr><th>Given as</th><th>File</th><th>SHA-256</th>\
              </tr></thead>\n<tbody>\n",
    );
    for input in &judgement.inputs {
        html.raw("<tr><th scope=\"row\">").text(input.role).raw("</th><td>").text(&input.path);
        html.raw("</td><td><code>").text(&input.sha256).raw("</code></td></tr>\n");
    }
    html.raw(
        "</tbody>\n</table>\n<p>The same files, time and options give the same verdict.</p>\n",
    );
}

/// In the order in which one vouches for the next.
const SECTIONS: [(Source, &str, &str); 7] = [
    (Source::Certificate, "Certificates", "vouch for the key that signed the evidence."),
    (Source::Collateral, "Collateral of the vendor", "says what has become of keys and firmware."),
    (Source::Report, "The signed report", "says what was launched, and where."),
    (Source::Quote, "The signed quote", "says what was launched, and where."),
    (Source::EventLog, "The event log", "says what was measured, as far as it replays."),
    (Source::Tpm, "The TPM's quote", "says what booted, as far as its key is bound to the report."),
    (
        Source::Appraisal,
        "The owner's Rego policy",
        "must affirm the guest too; it makes nothing better.",
    ),
];

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<meta name=\"viewport\" content=\"width=device-width\">
<meta name=\"referrer\" content=\"no-referrer\">
<style>
body { font: 15px/1.5 sans-serif; color: #222; background: #fff; margin: 2em auto; max-width: 75em; padding: 0 1em }
header { border-left: 8px solid; padding: .5em 1em; background: #f4f4f4 }
header.ok { border-color: #1a7f37 } header.unbound { border-color: #9a6700 } header.refused { border-color: #b3261e }
.warning { background: #fff3cd; border: 3px solid #9a6700; padding: .7em 1em; font-weight: bold }
table { border-collapse: collapse; width: 100%; margin: .5em 0 1em }
th, td { border: 1px solid #ccc; padding: .3em .5em; text-align: left; vertical-align: top; overflow-wrap: anywhere }
thead th { background: #eee } tbody th { font-weight: normal }
tr.refused { background: #fbe3e1 } tr.unbound { color: #555; background: #fafafa }
ol.chain table { table-layout: fixed }
ol.chain th:nth-child(1) { width: 16% } ol.chain th:nth-child(4) { width: 22% } ol.chain th:nth-child(5) { width: 8% }
ol.chain > li { margin-bottom: 1em } code { font: 13px/1.4 monospace }
@media print { body { max-width: none } }
</style>
";
