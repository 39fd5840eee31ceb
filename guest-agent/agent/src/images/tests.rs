// SPDX-License-Identifier: Apache-2.0

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::*;
use crate::backend::PulledImage;

/// Gives prepared answers, in order; the last one for ever.
struct Fake {
    answers: Mutex<Vec<Result<PulledImage, PullFailure>>>,
    pulls: AtomicUsize,
    encryption: Mutex<Option<Encryption>>,
}

#[async_trait]
impl PullImages for Fake {
    async fn pull(
        &self,
        _: &ImageRef,
        encryption: Encryption,
        _: &PullProgress,
    ) -> Result<PulledImage, PullFailure> {
        self.pulls.fetch_add(1, Ordering::SeqCst);
        *self.encryption.lock().unwrap() = Some(encryption);
        let answer = self.answers.lock().unwrap().pop();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn policy(encryptions: &[&str]) -> Policy {
    let mut text = String::from("version = 1\n");
    for (index, encryption) in encryptions.iter().enumerate() {
        text.push_str(&format!(
            r#"
            [containers.c{index}]
            image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            encryption = "{encryption}"
            argv = ["/bin/web"]
            cwd = "/"
            user = {{ uid = 1, gid = 1 }}
            logs = "host-visible"
            no_new_privileges = true
            seccomp = "default"
            signals = [15]
            "#
        ));
    }
    Policy::parse(text.as_bytes()).unwrap()
}

fn images(
    encryptions: &[&str],
    mut answers: Vec<Result<PulledImage, PullFailure>>,
) -> (Images, Arc<Fake>) {
    answers.reverse();
    let fake = Arc::new(Fake {
        answers: Mutex::new(answers),
        pulls: AtomicUsize::new(0),
        encryption: Mutex::default(),
    });
    (Images::new(&policy(encryptions), fake.clone(), Arc::default()), fake)
}

fn ready() -> Result<PulledImage, PullFailure> {
    Ok(PulledImage { rootfs: "/image".into() })
}

fn failed(code: Code, is_transient: bool) -> Result<PulledImage, PullFailure> {
    Err(PullFailure { error: ApiError::new(code, "test"), is_transient })
}

#[tokio::test]
async fn one_image_of_two_containers_is_pulled_once_and_as_the_stricter_says() {
    let (images, fake) = images(&["optional", "required"], vec![ready()]);
    images.pull_all();
    assert_eq!(images.rootfs("c0").await.unwrap(), PathBuf::from("/image"));
    assert_eq!(images.rootfs("c1").await.unwrap(), PathBuf::from("/image"));
    assert_eq!(fake.pulls.load(Ordering::SeqCst), 1);
    assert_eq!(*fake.encryption.lock().unwrap(), Some(Encryption::Required));
    let marks = images.timeline.to_proto();
    let steps: Vec<_> = marks.iter().map(|m| m.step.as_str()).collect();
    assert_eq!(steps, ["pulled:c0", "pulled:c1"]);
}

#[tokio::test]
async fn a_slow_pull_answers_in_progress_within_the_deadline() {
    tokio::time::pause();
    let (images, _) = images(&["optional"], vec![]);
    images.pull_all();
    let error = images.rootfs("c0").await.unwrap_err();
    assert_eq!(error.code(), Code::PullInProgress);
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_when_asked_again() {
    let (images, fake) = images(&["optional"], vec![failed(Code::ImageUnreachable, true), ready()]);
    images.pull_all();
    while fake.pulls.load(Ordering::SeqCst) == 0
        || *images.images.values().next().unwrap().state.borrow() == State::Pulling
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(images.rootfs("c0").await.unwrap(), PathBuf::from("/image"));
}

#[tokio::test]
async fn a_final_failure_stays() {
    // C2: asking again does not make another image of it.
    let (images, fake) = images(&["optional"], vec![failed(Code::ImageDigest, false), ready()]);
    images.pull_all();
    for _ in 0..2 {
        assert_eq!(images.rootfs("c0").await.unwrap_err().code(), Code::ImageDigest);
    }
    assert_eq!(fake.pulls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unknown_container_has_no_image() {
    let (images, _) = images(&["optional"], vec![]);
    assert_eq!(images.rootfs("other").await.unwrap_err().code(), Code::PolicyContainer);
}

#[tokio::test]
async fn an_image_without_its_signature_is_not_fetched() {
    // C6: who cannot check a signature refuses, and no layer is asked for.
    let policy = policy(&["optional"]).to_toml();
    let signed = policy.replace("encryption =", "signature = \"owner\"\nencryption =");
    let policy = Policy::parse(signed.as_bytes()).unwrap();
    let fake = Arc::new(Fake {
        answers: Mutex::default(),
        pulls: AtomicUsize::new(0),
        encryption: Mutex::default(),
    });
    let images = Images::new(&policy, Arc::<Fake>::clone(&fake), Arc::default());
    let error = images.rootfs("c0").await.unwrap_err();
    assert_eq!(error.code(), Code::ImageSignature);
    assert_eq!(fake.pulls.load(Ordering::SeqCst), 0);
}
