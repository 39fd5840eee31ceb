// SPDX-License-Identifier: Apache-2.0
//! PID 1 of a test guest: runs the container runtime through its cases and tells the serial console
//! what came of each. The same file, under another name, is the program inside the containers.

mod cases;
mod guest;
mod harness;
mod probe;

use std::process::ExitCode;
use std::time::Instant;

use harness::Harness;

fn main() -> ExitCode {
    if let Some(code) = casemate_containers::helper_main() {
        return code;
    }
    if !rustix::process::getpid().is_init() || std::env::args().next().as_deref() == Some("/probe")
    {
        return probe::main();
    }
    if let Err(error) = run() {
        println!("ABORT {error:#}");
    }
    guest::power_off()
}

fn run() -> anyhow::Result<()> {
    guest::set_up()?;
    let log = std::fs::read_to_string("/proc/cmdline")?.contains("test.log");
    if log {
        tracing_subscriber::fmt().with_ansi(false).init();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let harness = Harness::new().await?;
        // The firmware's last words to the console are no whole line.
        println!("\nPLAN {}", cases::ALL.len());
        for case in cases::ALL {
            let begin = Instant::now();
            let result = (case.run)(&harness).await;
            let ms = begin.elapsed().as_millis();
            match result {
                Ok(()) => println!("CASE {} ok {ms} ms", case.name),
                Err(error) => println!("CASE {} FAIL {ms} ms: {error:#}", case.name),
            }
        }
        println!("END");
        Ok(())
    })
}
