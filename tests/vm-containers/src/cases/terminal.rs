// SPDX-License-Identifier: Apache-2.0
//! Terminals.

use std::io::Write;

use anyhow::bail;
use anyhow::ensure;
use casemate_containers::ExecSpec;
use casemate_containers::ProcessId;
use casemate_containers::ResizeError;
use casemate_containers::Stdio;
use casemate_containers::StdioRequest;
use casemate_containers::WindowSize;
use serde_json::json;

use super::equal;
use crate::harness::Harness;
use crate::harness::spec;

const SIZE: WindowSize = WindowSize { columns: 132, rows: 43 };

pub(super) async fn a_terminal_has_a_size(h: &Harness) -> anyhow::Result<()> {
    let id = h.id();
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size </dev/tty; read line; \
                  stty size; echo got $line; exit 4";
    let user = json!({ "user": { "uid": 1000, "gid": 1000 } });
    let mut create = spec(id.clone(), &["sh", "-c", script], user)?;
    create.stdio = StdioRequest::Terminal(SIZE);
    let Stdio::Terminal(master) = h.start(create).await? else { bail!("no terminal") };
    // Wait for the first size, so that the new one comes after it.
    let mut bytes = [0; 256];
    let mut seen = String::new();
    while !seen.contains("43 132") {
        match rustix::io::read(&master, &mut bytes) {
            Ok(count) => {
                seen.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()))
            }
            Err(rustix::io::Errno::AGAIN) => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err(error) => bail!("{error} after {seen:?}"),
        }
    }
    let process = ProcessId::init(id.clone());
    h.runtime.resize(&process, WindowSize { columns: 80, rows: 24 })?;
    let mut file = std::fs::File::from(master);
    file.write_all(b"typed\n")?;
    let output = h.finish(&process, Stdio::Terminal(file.into())).await?;
    equal!(output.code, 4, "exit code");
    ensure!(output.stdout.contains("24 80\r\ngot typed\r\n"), "{:?}", output.stdout);
    h.runtime.delete(&id).await?;
    Ok(())
}

pub(super) async fn an_exec_may_have_a_terminal(h: &Harness) -> anyhow::Result<()> {
    let id = h.sleeper(json!({})).await?;
    let exec = h.id();
    let created = h
        .runtime
        .exec(ExecSpec {
            container: id.clone(),
            exec: exec.clone(),
            argv: ["sh", "-c", "test -t 0 && stty size; echo $TERM; exit 5"]
                .map(str::to_owned)
                .to_vec(),
            env: vec!["PATH=/bin".to_owned(), "TERM=xterm".to_owned()],
            user: None,
            stdio: StdioRequest::Terminal(SIZE),
        })
        .await?;
    let process = ProcessId::exec(id.clone(), exec.clone());
    let output = h.finish(&process, created.stdio).await?;
    equal!(
        (output.code, output.stdout.as_str()),
        (5, "43 132\r\nxterm\r\n"),
        "terminal of an exec"
    );
    let none = h.runtime.resize(&ProcessId::init(id.clone()), SIZE);
    ensure!(matches!(none, Err(ResizeError::NoTerminal)), "{none:?}");
    h.runtime.delete(&id).await?;
    Ok(())
}
