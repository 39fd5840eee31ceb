// SPDX-License-Identifier: Apache-2.0
//! The audit log, from the guest over the node to the owner.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;

use crate::pods;

/// A denied exec and the pod's end stand in the log that the node kept, under a head that the broker
/// attested; a cut tail shows.
pub(crate) async fn the_owner_reads_what_the_host_asked(stage: &mut Stage) -> anyhow::Result<()> {
    let recipe = image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() };
    pods::publish(stage, "audited", recipe)?;
    let key = stage.owner.seal_audits()?;
    let yaml = pods::yaml("audited", "audited", "{}", "echo up; sleep 3600");
    let prepared = pods::prepare(stage, "audited", &yaml);
    stage.owner.stop_sealing_audits();
    let (_, pod) = prepared?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let id = running.containers.get("main").context("container id")?.clone();
    let denied = stage.node.cri.exec_sync(&id, &["/bin/sh", "-c", "id"]).await;
    let attested = wait_for_heads(stage, 2).await;
    stage.node.cri.remove_pod(&running.id).await?;
    ensure!(denied.is_err(), "the exec ran: {denied:?}");
    attested?;

    let log = stage.node.audit_log(&running.id);
    let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
    let read = |log: &std::path::Path| {
        stage.owner.casemate(&[
            "audit",
            "read",
            "--key",
            &key.display().to_string(),
            "--broker-log",
            &stage.owner.broker_log().display().to_string(),
            &log.display().to_string(),
        ])
    };
    let shown = read(&log)?;
    let denial = ["DENIED     ExecProcess", "policy.exec"];
    for part in ["allowed    Start", denial[0], denial[1], END, ", attested"] {
        ensure!(shown.contains(part), "{part:?} is missing in\n{shown}");
    }
    // The host cuts off the end: the pod's, or more.
    let end = shown.lines().find(|line| line.contains(END)).context("no end")?;
    let end: usize = end.split_whitespace().next().context("no number")?.parse()?;
    let lines: Vec<_> = text.lines().collect();
    for records in [3, end] {
        // The first line is the boot's.
        let kept = lines.get(..=records).context("the log has fewer records")?;
        let cut = stage.world.root().join("cut.log");
        fs::write(&cut, kept.join("\n") + "\n").context("write the cut log")?;
        match read(&cut) {
            Ok(shown) => bail!("a log of {records} records is taken for whole:\n{shown}"),
            Err(error) => {
                let error = format!("{error:#}");
                ensure!(error.contains("tail of the log is cut off"), "another reason: {error}");
            }
        }
    }
    Ok(())
}

/// Waits until the broker has this many heads of one boot.
async fn wait_for_heads(stage: &Stage, count: usize) -> anyhow::Result<()> {
    let limit = Instant::now() + LIMIT;
    loop {
        let heads = stage.owner.audit()?;
        let heads = heads.iter().filter_map(|entry| entry.get("audit_head")?.as_str());
        let newest: Vec<_> = heads.filter_map(|head| head.split(':').next()).collect();
        let last = newest.last().copied();
        if newest.iter().filter(|boot| Some(**boot) == last).count() >= count {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "no new head within {} s", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How the pod's end looks to the owner.
const END: &str = "allowed    Shutdown";
/// A head follows a denial at once; the guest runs translated.
const LIMIT: Duration = Duration::from_secs(40);
