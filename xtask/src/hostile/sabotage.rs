// SPDX-License-Identifier: Apache-2.0
//! A copy of the sources whose guards can be turned off, one case at a time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::PACKAGE;
use super::SWITCH;
use super::guard::Crates;
use super::json_lines;
use crate::step;
use crate::step::Steps;

/// A case with a guard.
struct Target {
    case: String,
    guard: String,
    expression: String,
}

/// What became of a case whose guard was off.
struct Finding {
    case: String,
    guard: String,
    result: &'static str,
    detail: String,
}

/// Sabotages one case or all, and says which are hollow.
pub(super) fn run(
    steps: &Steps,
    honest: &Path,
    wanted: &str,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let listed = json_lines(honest, &["--list"], "")?;
    let mut targets = Vec::new();
    let mut findings = Vec::new();
    let selected = listed.iter().filter(|line| wanted == "all" || text(line, "case") == wanted);
    for line in selected {
        let case = text(line, "case");
        match (line.get("guard").and_then(Value::as_str), text(line, "sabotage")) {
            (Some(guard), expression) => {
                targets.push(Target { case, guard: guard.to_owned(), expression });
            }
            (None, _) => findings.push(Finding {
                case,
                guard: "-".to_owned(),
                result: "no-guard",
                detail: "what is attacked does not exist here, so there is no guard".to_owned(),
            }),
        }
    }
    ensure!(!(targets.is_empty() && findings.is_empty()), "no case {wanted}");
    if !targets.is_empty() {
        let program = steps.step("sabotage a copy of the sources and build it", || {
            // Every guard, whichever case is wanted: the next run then has nothing to build.
            let all = listed.iter().filter_map(|line| {
                let guard = line.get("guard").and_then(Value::as_str)?.to_owned();
                Some(Target { case: text(line, "case"), guard, expression: text(line, "sabotage") })
            });
            build(&all.collect::<Vec<_>>())
        })?;
        for target in targets {
            findings.push(judge(&program, target)?);
            show(findings.last(), json);
        }
    }
    findings.iter().filter(|f| f.result == "no-guard").for_each(|f| show(Some(f), json));
    let count = |result| findings.iter().filter(|finding| finding.result == result).count();
    let hollow = count("hollow");
    let broken = count("broken");
    eprintln!(
        "{} cases: {} turn red without their guard, {hollow} are hollow, {broken} fail already \
         with it, {} have none",
        findings.len(),
        count("red"),
        count("no-guard"),
    );
    Ok(if hollow + broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a case with its guard on and then off: it must pass, and then fail.
fn judge(program: &Path, target: Target) -> anyhow::Result<Finding> {
    let arguments = ["--case", &target.case, "--mode", "policy"];
    let outcome = |sabotaged| -> anyhow::Result<(String, String)> {
        let lines = json_lines(program, &arguments, sabotaged)?;
        let [line] = lines.as_slice() else { bail!("{}: {} lines", target.case, lines.len()) };
        Ok((text(line, "result"), text(line, "detail")))
    };
    let (before, why) = outcome("")?;
    let (result, detail) = match before.as_str() {
        "pass" => match outcome(&target.case)? {
            (result, detail) if result == "fail" => ("red", detail),
            (result, detail) => ("hollow", format!("{result} without its guard: {detail}")),
        },
        _ => ("broken", format!("{before}: {why}")),
    };
    Ok(Finding { case: target.case, guard: target.guard, result, detail })
}

fn show(finding: Option<&Finding>, json: bool) {
    let Some(Finding { case, guard, result, detail }) = finding else { return };
    match json {
        true => println!(
            "{}",
            json!({"case": case, "guard": guard, "sabotage": result, "detail": detail})
        ),
        false => println!("{case:<4} {result:<9} {guard}\n       {detail}"),
    }
}

/// Copies the sources, puts a switch into each guard, and builds the suite from them.
fn build(targets: &[Target]) -> anyhow::Result<PathBuf> {
    let folder = step::build_folder().join("sabotage");
    let copy = folder.join("sources");
    let crates = Crates::read(&step::workspace())?;
    let mut switches: BTreeMap<PathBuf, BTreeMap<usize, String>> = BTreeMap::new();
    let mut faults = Vec::new();
    for target in targets {
        match crates.find(&target.guard) {
            Ok(place) => {
                let text = switches.entry(place.file).or_default().entry(place.body).or_default();
                *text += &format!(
                    " if ::std::env::var_os({SWITCH:?}).is_some_and(|case| case == {:?}) {{ return \
                     {}; }}",
                    target.case, target.expression
                );
            }
            Err(error) => faults.push(format!("{}: {error:#}", target.case)),
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));

    let mut kept = BTreeSet::new();
    mirror(&step::workspace(), &copy, &switches, &mut kept)?;
    sweep(&copy, &kept)?;
    let products = folder.join("target");
    seed(&step::target().join("debug"), &products.join("debug"))?;
    let mut cargo = step::cargo();
    cargo
        .current_dir(&copy)
        .env("CARGO_TARGET_DIR", &products)
        .args(["build", "--locked", "-p", PACKAGE]);
    step::show(cargo)?;
    // Cases look for guest images below the target directory that they run from.
    let images = products.join("casemate");
    if !images.exists() {
        std::os::unix::fs::symlink(step::build_folder(), &images)
            .context("link the build folder")?;
    }
    Ok(products.join("debug").join(PACKAGE))
}

/// Begins the products with the third-party crates that are built already: they hold no guard, and
/// cargo knows them by their own fingerprints. What is large and never written again is linked.
fn seed(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() || !from.join("deps").is_dir() {
        return Ok(());
    }
    for folder in [".fingerprint", "build", "deps"] {
        let place = to.join(folder);
        fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        let mut copied = Vec::new();
        let mut linked = Vec::new();
        for entry in fs::read_dir(from.join(folder)).context("read what cargo has built")? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if OWN.iter().any(|own| name.trim_start_matches("lib").starts_with(own)) {
                continue;
            }
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if folder != "deps" => copied.push(path),
                Some("rlib" | "rmeta" | "so") => linked.push(path),
                Some("d") => copied.push(path),
                _ => {}
            }
        }
        for (files, option) in [(copied, "--recursive"), (linked, "--link")] {
            for some in files.chunks(500) {
                let mut copy = Command::new("cp");
                copy.args(["--preserve=all", "--no-clobber", option]).args(some).arg(&place);
                step::quiet(copy)?;
            }
        }
    }
    Ok(())
}

/// Copies the sources with their switches; a file that is as it was keeps its time, so that nothing
/// is built anew for it.
fn mirror(
    from: &Path,
    to: &Path,
    switches: &BTreeMap<PathBuf, BTreeMap<usize, String>>,
    kept: &mut BTreeSet<PathBuf>,
) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if name == "target" || hidden {
            continue;
        }
        let (source, destination) = (entry.path(), to.join(&name));
        kept.insert(destination.clone());
        if entry.file_type()?.is_dir() {
            mirror(&source, &destination, switches, kept)?;
            continue;
        }
        let mut bytes = fs::read(&source).with_context(|| format!("read {}", source.display()))?;
        if let Some(switches) = switches.get(&source) {
            bytes = switched(bytes, switches)?;
        }
        if fs::read(&destination).ok().as_ref() != Some(&bytes) {
            fs::write(&destination, bytes)
                .with_context(|| format!("write {}", destination.display()))?;
        }
    }
    Ok(())
}

/// The file with each switch behind the brace that opens its guard's body.
fn switched(bytes: Vec<u8>, switches: &BTreeMap<usize, String>) -> anyhow::Result<Vec<u8>> {
    let mut text = String::from_utf8(bytes).context("a source file is not UTF-8")?;
    for (place, switch) in switches.iter().rev() {
        ensure!(text.get(..*place).is_some_and(|before| before.ends_with('{')), "no body there");
        text.insert_str(*place, switch);
    }
    Ok(text.into_bytes())
}

/// Removes what the sources no longer have.
fn sweep(folder: &Path, kept: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        match (kept.contains(&path), path.is_dir()) {
            (true, true) => sweep(&path, kept)?,
            (true, false) => {}
            (false, true) => fs::remove_dir_all(&path).context("remove an old folder")?,
            (false, false) => fs::remove_file(&path).context("remove an old file")?,
        }
    }
    Ok(())
}

fn text(line: &Value, key: &str) -> String {
    line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// How the names of this workspace's crates begin, as packages and as files.
const OWN: &[&str] =
    &["casemate", "containerd-shim-casemate", "containerd_shim_casemate", "vm", "xtask"];
