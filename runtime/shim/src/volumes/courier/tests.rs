// SPDX-License-Identifier: Apache-2.0
use super::super::tests::Kubelet;
use super::*;

#[tokio::test]
async fn content_is_read_once_for_each_revision() {
    let kubelet = Kubelet::new();
    let folder = kubelet.volume("configmap", "conf");
    kubelet.write(&folder, "..1", &[("b", b"2"), ("a", b"1")]);
    let mut known = Known { folder: folder.clone(), ..Known::default() };
    let (request, mark) = known.look("conf").await.unwrap().unwrap();
    let files: Vec<_> = request.files.iter().map(|f| (f.name.as_str(), &*f.content)).collect();
    assert_eq!(files, [("a", b"1".as_slice()), ("b", b"2")]);
    assert_eq!(request.volume, "conf");
    // Not sent: it is found again.
    assert!(known.look("conf").await.unwrap().is_some());
    known.note(mark);
    assert!(known.look("conf").await.unwrap().is_none());
    // kubelet swaps the link.
    kubelet.write(&folder, "..2", &[("a", b"3")]);
    let (request, mark) = known.look("conf").await.unwrap().unwrap();
    assert_eq!((request.files.len(), &*request.files[0].content), (1, b"3".as_slice()));
    known.note(mark);
    // The same content behind another link is no change.
    kubelet.write(&folder, "..3", &[("a", b"3")]);
    assert!(known.look("conf").await.unwrap().is_none());
}

/// A guest that takes some content.
#[derive(Default)]
struct Choosy {
    asked: std::sync::Mutex<Vec<Vec<u8>>>,
}

impl Recipient for Choosy {
    async fn put(&self, request: &proto::PutVolumeRequest) -> Result<(), ApiError> {
        let content = request.files[0].content.clone();
        self.asked.lock().unwrap().push(content.clone());
        match content.as_slice() {
            b"evil" => Err(ApiError::new(Code::PolicyVolume, "is not the policy's")),
            b"late" => Err(ApiError::new(Code::GuestFull, "no room")),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_change_is_sent_once_and_a_denied_one_only_for_a_container() {
    let kubelet = Kubelet::new();
    let folder = kubelet.volume("configmap", "conf");
    kubelet.write(&folder, "..1", &[("a", b"good")]);
    let mut known = Known { folder: folder.clone(), ..Known::default() };
    let guest = Choosy::default();
    let asked = || guest.asked.lock().unwrap().len();
    bring(&guest, &mut known, Occasion::Order).await.unwrap();
    bring(&guest, &mut known, Occasion::Order).await.unwrap();
    bring(&guest, &mut known, Occasion::Refresh).await.unwrap();
    assert_eq!(asked(), 1);
    kubelet.write(&folder, "..2", &[("a", b"evil")]);
    assert!(bring(&guest, &mut known, Occasion::Refresh).await.is_err());
    for _ in 0..3 {
        bring(&guest, &mut known, Occasion::Refresh).await.unwrap();
    }
    assert_eq!(asked(), 2);
    assert!(bring(&guest, &mut known, Occasion::Order).await.is_err());
    assert_eq!(asked(), 3);
    assert!(known.is_there, "what the guest has from before stays in force");
    // What may go well later is tried again.
    kubelet.write(&folder, "..3", &[("a", b"late")]);
    for _ in 0..2 {
        assert!(bring(&guest, &mut known, Occasion::Refresh).await.is_err());
    }
    assert_eq!(asked(), 5);
    kubelet.write(&folder, "..4", &[("a", b"new")]);
    bring(&guest, &mut known, Occasion::Refresh).await.unwrap();
    assert_eq!(guest.asked.lock().unwrap().last().unwrap(), b"new");
}

#[tokio::test]
async fn a_folder_without_kubelets_link_is_read_as_it_is() {
    let kubelet = Kubelet::new();
    let folder = kubelet.volume("secret", "s");
    std::fs::write(folder.join("a"), "1").unwrap();
    let mut known = Known { folder: folder.clone(), ..Known::default() };
    let (_, mark) = known.look("s").await.unwrap().unwrap();
    known.note(mark);
    assert!(known.look("s").await.unwrap().is_none());
    std::fs::write(folder.join("a"), "2").unwrap();
    assert!(known.look("s").await.unwrap().is_some());
}
