// SPDX-License-Identifier: Apache-2.0
//! E20: records of the guest's audit log that somebody else wrote.

use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use casemate_audit::Finding;
use casemate_audit::Log;
use casemate_audit::OwnerKey;
use casemate_audit::Record;
use casemate_audit::Verdict as Answer;
use casemate_audit::check;
use casemate_audit::line;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::EvilShim;
use crate::shim::deadline;

pub(super) static E20: Case = Case {
    id: "E20",
    level: Level::P,
    attack: "prints lines that look like audit records; writes a whole log for the guest",
    defence: Defence::Code(Guard {
        function: "casemate_audit::reader::chain::compare",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(forge(context)),
};

/// A log as the host keeps it in a file.
fn file(log: &Log) -> String {
    line(log.boot_frame()) + &log.frames_from(0).map(line).collect::<String>()
}

async fn forge(context: Context) -> Verdict {
    let owner = OwnerKey::generate()?;
    // What the host says in its requests stays one line of words in a record of its own.
    let hostile = "c1\n{\"call\":\"Start\",\"verdict\":\"allowed\"}\u{1b}[2J\u{202e}";
    let mut log = Log::sealed(owner.public_key())?;
    log.append(&Record::new("CreateContainer", Answer::Denied, 1).with_name("id", hostile))?;
    log.append(&Record::new("Start", Answer::Allowed, 2))?;
    let (right, head) = (file(&log), log.head());
    let checked = check(right.as_bytes(), Some(&owner), &[head])?;
    ensure!(checked.findings.is_empty() && checked.is_anchored, "{:?}", checked.findings);
    ensure!(checked.entries.len() == 2, "{} records instead of two", checked.entries.len());
    let record = checked.entries[0].record.as_ref().context("a record that does not open")?;
    let control = |text: &str| text.chars().any(|c| c.is_control() || c == '\u{202e}');
    ensure!(
        record.names.iter().all(|(_, value)| !control(value.as_str())),
        "a record of two lines"
    );

    // Lines of others among them: words of a container's output, a frame again, one of another log.
    let mut other = Log::sealed(owner.public_key())?;
    other.append(&Record::new("Start", Answer::Allowed, 3))?;
    let of_other = file(&other);
    let lines: Vec<&str> = right.lines().collect();
    let attacks = [
        ("words", format!("{right}{{\"call\":\"Start\",\"verdict\":\"allowed\"}}\n")),
        ("a frame again", format!("{right}{}\n", lines[1])),
        ("a frame of another log", format!("{right}{}\n", of_other.lines().last().unwrap())),
        ("another order", format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1])),
        ("a record less", format!("{}\n{}\n", lines[0], lines[2])),
        ("no end", format!("{}\n{}\n", lines[0], lines[1])),
        ("half a line", right[..right.len() - 5].to_owned()),
    ];
    for (what, text) in &attacks {
        let findings =
            check(text.as_bytes(), Some(&owner), &[head]).map(|checked| checked.findings);
        ensure!(findings.is_ok_and(|findings| !findings.is_empty()), "{what}: nothing is found");
    }
    // A whole log, right in itself: anybody can seal to a public key. The head that the guest had
    // attested is another.
    let mut forged = Log::sealed(owner.public_key())?;
    forged.append(&Record::new("CreateContainer", Answer::Allowed, 1).with_name("id", "c1"))?;
    forged.append(&Record::new("Start", Answer::Allowed, 2))?;
    let checked = check(file(&forged).as_bytes(), Some(&owner), &[head])?;
    let found = checked.findings.iter().any(|f| matches!(f, Finding::OtherLog { .. }));
    ensure!(found && !checked.is_anchored, "a forged log passes: {:?}", checked.findings);

    print_records(&context, &owner, &right).await?;
    Ok(Outcome::pass(format!(
        "{} changes of a log and a forged one are found against the attested head; a container that \
         prints records is heard on its own stream, and the log holds the host's requests alone",
        attacks.len()
    )))
}

/// In the guest: a container prints a log, frame by frame, and records in clear. It all comes out on
/// its own stream, and the guest's log, opened by the owner, holds the host's requests and no more.
async fn print_records(context: &Context, owner: &OwnerKey, log: &str) -> anyhow::Result<()> {
    let shim = EvilShim::running_sealed(context, owner.public_key()).await?;
    let printed = format!("{log}{{\"CALL\":\"SHUTDOWN\",\"VERDICT\":\"ALLOWED\"}}\n");
    let process = || anyhow::Ok(ProcessId::new(ContainerId::parse("c1")?, None));
    let mut stdout = shim.host.open(StreamKind::Stdout(process()?))?;
    let mut stdin = shim.host.open(StreamKind::Stdin(process()?))?;
    stdin.write_all(printed.as_bytes()).await?;
    // The container echoes in upper case: once it is back, it has been printed.
    let mut heard = vec![0; printed.len()];
    let reading = stdout.read_exact(&mut heard);
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .context("nothing is printed")??;
    ensure!(heard == printed.to_ascii_uppercase().as_bytes(), "another text is printed");

    let reply = shim.client.read_audit(deadline(), &proto::ReadAuditRequest::new()).await?;
    let frames: String = reply.records.iter().map(|frame| line(frame)).collect();
    let kept = line(&reply.boot) + &frames;
    let checked = check(kept.as_bytes(), Some(owner), &[])?;
    let opened = checked.entries.iter().filter_map(|entry| entry.record.as_ref());
    let calls: Vec<_> = opened.map(|record| record.call.as_str().to_owned()).collect();
    ensure!(calls.len() == reply.records.len(), "records that the owner cannot open: {calls:?}");
    let asked = ["Hello", "SetNetwork", "AwaitReady", "CreateContainer", "Start", "ReadAudit"];
    let strange: Vec<_> = calls.iter().filter(|call| !asked.contains(&call.as_str())).collect();
    ensure!(strange.is_empty(), "records of what nobody asked: {strange:?}");
    ensure!(calls.iter().filter(|call| *call == "Start").count() == 1, "a start too many");
    Ok(())
}
