// SPDX-License-Identifier: Apache-2.0
//! A container's files.

use anyhow::Context;
use anyhow::ensure;
use casemate_containers::CreateError;
use casemate_containers::FilesError;
use casemate_containers::SecretFile;
use casemate_containers::SpecError;
use casemate_containers::VolumeError;
use casemate_containers::VolumeFile;
use casemate_policy::User;
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

fn part(destination: &str, volume: &str, sub_path: Option<&str>, readonly: bool) -> Value {
    json!({
        "destination": destination, "kind": "volume", "volume": volume, "sub_path": sub_path,
        "readonly": readonly
    })
}

pub(super) async fn a_volume_may_be_small(h: &Harness) -> anyhow::Result<()> {
    let mounts = json!({ "mounts": [part("/data", "small", None, false)] });
    let script = "head -c 500000 /dev/zero >/data/a && echo fits; \
                  head -c 2000000 /dev/zero 2>/dev/null >/data/b || echo full";
    let output = h.run(&["sh", "-c", script], mounts.clone()).await?;
    equal!(output.stdout, "fits\nfull\n", "{}", output.stderr);
    let output = h.run(&["ls", "/data"], mounts).await?;
    equal!(output.stdout, "a\nb\n", "the same volume");
    Ok(())
}

fn put(h: &Harness, volume: &str, files: &[(&str, &str)]) -> anyhow::Result<u64> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, content)| VolumeFile { name, content: content.as_bytes() })
        .collect();
    h.runtime.volumes().put(volume, &files).context("put")
}

pub(super) async fn content_of_volumes_is_swapped_under_readers(h: &Harness) -> anyhow::Result<()> {
    let without = json!({ "mounts": [part("/etc/conf", "none", None, true)] });
    let error = h.runtime.create(spec(h.id(), &["true"], without)?).await.err();
    let none = matches!(
        error,
        Some(CreateError::Files(FilesError::Volume(VolumeError::NoContent { .. })))
    );
    ensure!(none, "a volume without content: {error:?}");

    put(h, "conf", &[("app.conf", "one\n"), ("gone", "x")])?;
    // B13: read-only even if the mount does not say so.
    let mounts = json!({ "mounts": [
        part("/etc/conf", "conf", None, false),
        part("/etc/app.conf", "conf", Some("app.conf"), true),
    ] });
    let id = h.sleeper(mounts).await?;
    let read = ["sh", "-c", "cat /etc/conf/app.conf /etc/app.conf; ls /etc/conf"];
    equal!(h.exec(&id, &read).await?.stdout, "one\none\napp.conf\ngone\n", "first revision");
    for script in [
        "echo x >/etc/conf/app.conf",
        "echo x >/etc/conf/new",
        "rm /etc/conf/app.conf",
        "ln -s /etc /etc/conf/..3",
        "echo x >/etc/app.conf",
    ] {
        let output = h.exec(&id, &["sh", "-c", script]).await?;
        ensure!(output.code != 0 && output.stderr.contains("Read-only"), "{script}: {output:?}");
    }
    // A14: a reader that is in the middle.
    let reader = "exec 3</etc/conf/app.conf; touch /dev/shm/open; \
                  until test -e /dev/shm/swapped; do sleep 0.05; done; cat <&3";
    let reader = ["sh", "-c", reader];
    let reading = h.exec(&id, &reader);
    let swapping = async {
        while h.exec(&id, &["test", "-e", "/dev/shm/open"]).await?.code != 0 {}
        put(h, "conf", &[("app.conf", "two\n"), ("new", "y")])?;
        h.exec(&id, &["touch", "/dev/shm/swapped"]).await
    };
    let (read_on, swapped) = tokio::join!(reading, swapping);
    equal!(swapped?.code, 0, "swap");
    equal!(read_on?.stdout, "one\n", "an open file");
    // A part of a volume stays as it was at the create, as under kubelet.
    equal!(h.exec(&id, &read).await?.stdout, "two\none\napp.conf\nnew\n", "second revision");
    h.exec(&id, &["rm", "/dev/shm/open", "/dev/shm/swapped"]).await?;
    h.runtime.delete(&id).await?;
    equal!(put(h, "conf", &[("app.conf", "three\n")])?, 3, "the volume outlives the container");
    Ok(())
}

pub(super) async fn parts_of_volumes_are_mounted(h: &Harness) -> anyhow::Result<()> {
    let whole = json!({ "mounts": [part("/data", "parts", None, false)] });
    let piece = json!({ "mounts": [part("/mine", "parts", Some("a/b"), false)] });
    let write = ["sh", "-c", "echo here >/mine/file; pwd"];
    equal!(h.run(&write, piece.clone()).await?.code, 0, "write");
    // The delete of that container has left the volume alone.
    let output = h.run(&["cat", "/data/a/b/file"], whole.clone()).await?;
    equal!(output.stdout, "here\n", "the part in the whole");
    // A13: a container puts a link where the next one's part will be (CVE-2021-25741).
    let evil = ["sh", "-c", "rm -r /data/a/b && ln -s / /data/a/b"];
    equal!(h.run(&evil, whole).await?.code, 0, "link");
    let error = h.runtime.create(spec(h.id(), &["ls", "/mine"], piece)?).await.err();
    let refused = matches!(error, Some(CreateError::Files(FilesError::Volume(_))));
    ensure!(refused, "a link in the place of a part: {error:?}");
    Ok(())
}

pub(super) async fn secrets_are_seen_by_their_container_alone(h: &Harness) -> anyhow::Result<()> {
    // D19.
    let user = json!({ "user": { "uid": 5, "gid": 5 }, "capabilities": [] });
    let id = h.id();
    let mut create = spec(id.clone(), &["sleep", "1000"], user.clone())?;
    create.secrets = vec![SecretFile {
        path: "/run/secrets/db".to_owned(),
        mode: 0o400,
        content: b"canary-4711".to_vec().into(),
    }];
    h.start(create).await?;
    let output = h.exec(&id, &["cat", "/run/secrets/db"]).await?;
    equal!(output.stdout, "canary-4711", "{}", output.stderr);
    let nobody = User { uid: 6, gid: 6, groups: vec![] };
    let output = h.exec_as(&id, &["cat", "/run/secrets/db"], Some(nobody)).await?;
    ensure!(output.stderr.contains("Permission denied"), "another user: {output:?}");
    let output = h.exec(&id, &["sh", "-c", "echo x >/run/secrets/db"]).await?;
    ensure!(output.code != 0, "a secret was written");
    // Not in another container, and nowhere in the guest's own file systems that it could reach.
    let output = h.run(&["ls", "-R", "/run"], json!({})).await?;
    ensure!(!output.stdout.contains("db"), "{}", output.stdout);
    h.runtime.delete(&id).await?;
    ensure!(!std::path::Path::new("/run/casemate/containers/bundles").join(id.as_str()).exists());
    Ok(())
}

pub(super) async fn proc_may_be_unmasked(h: &Harness) -> anyhow::Result<()> {
    let script = "ls /proc/dynamic_debug | head -n 1; cat /proc/interrupts | head -n 1 | wc -l; \
                  ls /sys/class/virtio-ports";
    let masked = h.run(&["sh", "-c", script], json!({})).await?;
    equal!(masked.stdout, "0\n", "masked: {}", masked.stderr);
    let open = h.run(&["sh", "-c", script], json!({ "proc_mount": "unmasked" })).await?;
    ensure!(open.stdout.ends_with("1\n"), "unmasked: {open:?}");
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
