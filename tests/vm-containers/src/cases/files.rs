// SPDX-License-Identifier: Apache-2.0
//! A container's files.

use anyhow::Context;
use anyhow::ensure;
use casemate_containers::CreateError;
use casemate_containers::SpecError;
use serde_json::Value;
use serde_json::json;

use super::equal;
use crate::guest::IMAGE;
use crate::harness::Harness;
use crate::harness::spec;

fn mount(destination: &str, kind: &str, readonly: bool) -> Value {
    json!({ "destination": destination, "kind": kind, "readonly": readonly })
}

pub(super) async fn mounts_are_the_policys(h: &Harness) -> anyhow::Result<()> {
    let mounts = json!({ "mounts": [
        mount("/etc/hosts", "hosts", true),
        mount("/etc/hostname", "hostname", true),
        mount("/etc/resolv.conf", "resolv-conf", false),
        mount("/dev/termination-log", "termination-log", false),
        mount("/dev/shm", "shm", false),
    ] });
    let script = "cat /etc/hosts /etc/hostname /etc/resolv.conf; \
                  echo x 2>/dev/null >>/etc/hosts || echo read-only; \
                  echo x >>/etc/resolv.conf && echo written; \
                  echo last words >/dev/termination-log && cat /dev/termination-log; \
                  echo shared >/dev/shm/$$ && cat /dev/shm/$$";
    let output = h.run(&["sh", "-c", script], mounts).await?;
    let expected = "127.0.0.1 localhost\npod-one\nnameserver 192.0.2.1\nread-only\nwritten\n\
                    last words\nshared\n";
    equal!(output.stdout, expected, "files: {}", output.stderr);

    for destination in ["/", "/proc/self", "/dev/null", "/sys", "/etc/../proc", "etc"] {
        // B1: over what the runtime puts in place.
        let create = json!({ "mounts": [mount(destination, "hosts", true)] });
        let error = h.runtime.create(spec(h.id(), &["true"], create)?).await.err();
        let refused = matches!(error, Some(CreateError::Spec(SpecError::Destination { .. })));
        ensure!(refused, "{destination}: {error:?}");
    }
    Ok(())
}

pub(super) async fn volumes_are_shared_by_name(h: &Harness) -> anyhow::Result<()> {
    let volume = |destination: &str, name: &str, readonly: bool| {
        json!({ "mounts": [{
            "destination": destination, "kind": "volume", "volume": name, "readonly": readonly
        }] })
    };
    let user = |mut changes: Value| -> anyhow::Result<Value> {
        changes
            .as_object_mut()
            .context("object")?
            .insert("user".to_owned(), json!({ "uid": 5, "gid": 5 }));
        Ok(changes)
    };
    let write = ["sh", "-c", "echo from one >/data/file"];
    equal!(h.run(&write, user(volume("/data", "cache", false))?).await?.code, 0, "write");
    let read = ["sh", "-c", "cat /elsewhere/file; echo x 2>/dev/null >/elsewhere/file || echo ro"];
    let output = h.run(&read, user(volume("/elsewhere", "cache", true))?).await?;
    equal!(output.stdout, "from one\nro\n", "the same volume, read-only");
    let output = h.run(&["ls", "/data"], volume("/data", "other", false)).await?;
    equal!(output.stdout, "", "another volume");
    Ok(())
}

pub(super) async fn the_root_may_be_read_only(h: &Harness) -> anyhow::Result<()> {
    let script = "echo x 2>/dev/null >/file || echo refused; echo x >/dev/shm/file && echo shm";
    let output = h.run(&["sh", "-c", script], json!({ "readonly_rootfs": true })).await?;
    equal!(output.stdout, "refused\nshm\n", "read-only root");
    Ok(())
}

pub(super) async fn the_image_stays_as_it_was(h: &Harness) -> anyhow::Result<()> {
    let script = "echo mine >/etc/passwd; echo new >/etc/new; cat /etc/new";
    equal!(h.run(&["sh", "-c", script], json!({})).await?.line(), "new", "own files");
    ensure!(std::fs::read_to_string(format!("{IMAGE}/etc/passwd"))?.starts_with("root:"));
    ensure!(!std::path::Path::new(IMAGE).join("etc/new").exists());
    let output = h.run(&["ls", "/etc"], json!({})).await?;
    equal!(output.line(), "passwd", "another container of the image");
    Ok(())
}

pub(super) async fn kernel_files_are_hidden_or_read_only(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({ "no_new_privileges": false })).await?;
    for script in [
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo h > /proc/sysrq-trigger",
        "echo 1 > /proc/irq/default_smp_affinity",
        "echo 1 > /sys/kernel/profiling",
    ] {
        let output = h.exec(&id, &["sh", "-c", script]).await?;
        ensure!(output.code != 0, "{script}");
        let reason = &output.stderr;
        ensure!(
            reason.contains("Read-only") || reason.contains("nonexistent"),
            "{script}: {reason}"
        );
    }
    for hidden in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"] {
        let output = h.exec(&id, &["cat", hidden]).await?;
        equal!(output.stdout, "", "{hidden}");
    }
    for hidden in
        ["/proc/dynamic_debug", "/sys/firmware", "/sys/kernel/config", "/sys/class/virtio-ports"]
    {
        equal!(h.exec(&id, &["ls", hidden]).await?.stdout, "", "{hidden}");
    }
    // CVE-2019-5736: the agent's file, as helpers run it, cannot be written.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let helper = mounts.lines().find(|l| l.contains("/run/casemate/containers/helper "));
    let options = helper.and_then(|l| l.split(' ').nth(5)).context("helper's mount")?;
    ensure!(options.split(',').any(|o| o == "ro"), "{options}");
    h.runtime.delete(&id).await?;
    Ok(())
}
