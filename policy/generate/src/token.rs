// SPDX-License-Identifier: Apache-2.0
//! The service account's token, for pods that want it.
//!
//! The API server would add a volume with a random name to such a pod. The generator adds the same
//! volume with a name of its own instead, so that the policy can name it.

use std::collections::BTreeMap;

use casemate_policy::Role;
use casemate_policy::Volume;
use serde_json::Value;
use serde_json::json;

use crate::container::ContainerSpec;
use crate::container::VolumeMount;
use crate::container::clean_path;
use crate::edit::Edit;
use crate::edit::Step;
use crate::error::Warning;
use crate::volume::Content;
use crate::volume::MAX_UNTRUSTED;
use crate::volume::PodVolume;
use crate::volume::Volumes;

/// Adds to the pod what the API server would add.
pub(crate) fn mount(containers: &mut [ContainerSpec], volumes: &mut Volumes, path: String) {
    let text = "the host chooses the service account's token and the API server's CA; containers see \
                them read-only, in the volume kube-api-access that is added in the cluster's place";
    volumes.insert(
        VOLUME.to_owned(),
        PodVolume {
            content: Content::Known(Volume::Untrusted {
                max_bytes: MAX_UNTRUSTED,
                files: BTreeMap::new(),
            }),
            warnings: vec![Warning::new(path, text)],
        },
    );
    for container in containers.iter_mut().filter(|c| c.role != Role::Ephemeral) {
        // A mount of the pod's own at this place keeps it.
        if container.mounts.iter().all(|mount| mount.destination != PLACE) {
            container.mounts.push(VolumeMount {
                path: format!("{}.volumeMounts", container.path),
                volume: VOLUME.to_owned(),
                destination: PLACE.to_owned(),
                readonly: true,
                sub_path: None,
            });
        }
    }
}

/// The same in the YAML: `spec` is the pod's, at `way`.
pub(crate) fn edits(spec: &Value, way: &[Step]) -> Vec<Edit> {
    let set = |path: Vec<Step>, key: &str, value: Value| Edit { path, key: key.to_owned(), value };
    let entries = |object: &Value, key: &str| -> Vec<Value> {
        object.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let text = |object: &Value, key: &str| {
        object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut edits = vec![set(way.to_vec(), "automountServiceAccountToken", Value::Bool(false))];
    let mut volumes = entries(spec, "volumes");
    if volumes.iter().all(|volume| text(volume, "name") != VOLUME) {
        volumes.push(volume());
        edits.push(set(way.to_vec(), "volumes", Value::Array(volumes)));
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in entries(spec, list).iter().enumerate() {
            let mut mounts = entries(container, "volumeMounts");
            if mounts.iter().all(|mount| clean_path(&text(mount, "mountPath")) != PLACE) {
                mounts.push(json!({"mountPath": PLACE, "name": VOLUME, "readOnly": true}));
                let path = way.iter().copied().chain([Step::Key(list), Step::Entry(index)]);
                edits.push(set(path.collect(), "volumeMounts", Value::Array(mounts)));
            }
        }
    }
    edits
}

/// What the API server's admission plugin `ServiceAccount` adds (Kubernetes 1.31).
fn volume() -> Value {
    json!({
        "name": VOLUME,
        "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {
                "items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"
            }},
            {"downwardAPI": {"items": [{
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                "path": "namespace"
            }]}},
        ]},
    })
}

/// The API server's name for the volume, without the random letters that it puts behind.
const VOLUME: &str = "kube-api-access";
const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
