// SPDX-License-Identifier: Apache-2.0
//! The last words of a guest, and how long its VM lives to say them.

use super::*;

#[tokio::test]
async fn the_guests_audit_log_outlives_its_pod() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    let log = shim.audit_log();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(&log).unwrap_or_default().lines().count() < 3 {
        assert!(std::time::Instant::now() < deadline, "no audit log");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shim.client.kill(context(), &kill(POD, 9)).await.unwrap();
    shim.client.wait(context(), &wait(POD)).await.unwrap();
    shim.client.delete(context(), &delete(POD, "")).await.unwrap();
    assert!(!shim.state_dir().exists());
    // "boot", "first", "second" in base64url.
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "Ym9vdA\nZmlyc3Q\nc2Vjb25k\n");
}

/// Kills the sandbox as containerd does, with as many signals; how long that takes.
async fn time_to_die(shim: &Shim, signals: u32) -> Duration {
    let begun = std::time::Instant::now();
    for _ in 0..signals {
        shim.client.kill(context(), &kill(POD, 9)).await.unwrap();
    }
    let ended = shim.client.wait(context(), &wait(POD)).await.unwrap();
    assert_eq!(ended.exit_status, 137);
    begun.elapsed()
}

async fn ending(end: double::End) -> Shim {
    let script = Script { end, ..Default::default() };
    let mut shim = Shim::with(Setup { script, ..Default::default() }).await;
    shim.run_sandbox().await;
    shim
}

#[tokio::test]
async fn the_guests_last_record_is_kept_before_its_vm_is_killed() {
    let shim = ending(double::End::LastWords).await;
    time_to_die(&shim, 1).await;
    let log = std::fs::read_to_string(shim.audit_log()).unwrap();
    // "boot", "first", "second", "third" in base64url.
    assert_eq!(log, "Ym9vdA\nZmlyc3Q\nc2Vjb25k\ndGhpcmQ\n");
}

#[tokio::test]
async fn a_guest_without_last_words_is_killed_at_once() {
    let shim = ending(double::End::Silent).await;
    let time = time_to_die(&shim, 1).await;
    assert!(time < Duration::from_secs(2), "{time:?}");
}

#[tokio::test]
async fn a_guest_that_does_not_end_is_killed_after_seconds_or_by_a_second_signal() {
    // E19.
    for end in [double::End::Deaf, double::End::Lingers] {
        let shim = ending(end).await;
        let time = time_to_die(&shim, 2).await;
        assert!(time < Duration::from_secs(2), "{time:?}");
    }
    let shim = ending(double::End::Lingers).await;
    let time = time_to_die(&shim, 1).await;
    assert!(Duration::from_secs(4) < time && time < Duration::from_secs(20), "{time:?}");
}
