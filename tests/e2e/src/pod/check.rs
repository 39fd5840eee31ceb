// SPDX-License-Identifier: Apache-2.0
//! Whether a pod can run here, told before anything starts.

use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::generate;
use serde_json::Value;

use super::Pod;
use super::document;
use super::document::one_pod;
use crate::report::Failure;

/// Reads the Pod of a YAML file, refusing what cannot be carried out; gives the Pod's own YAML too.
///
/// The policy generator judges everything that would run in the guest, here with an image of which
/// nothing is known; the rest is what only this client, in kubelet's place, does not do.
///
/// # Errors
///
/// The first field that cannot be carried out, and what to do.
pub fn check(text: &str) -> Result<(Pod, String), Failure> {
    let yaml = one_pod(text).map_err(|error| {
        Failure::of_pod(format!("{error:#}"), "give one Pod of apiVersion v1 in a file of its own")
    })?;
    let refused = |error: GenerateError| Failure::of_pod(error.to_string(), error.next_step());
    let judged = Manifests::parse(&yaml).map_err(refused)?;
    let images = judged.images().into_iter().map(|name| (name, any_image())).collect();
    generate(&judged, &images, &any_config()).map(drop).map_err(refused)?;

    let invalid = |error: anyhow::Error| {
        let message = format!("{:#}", error).replace('\n', " ");
        Failure::of_pod(message, "correct the field")
    };
    let document: Value =
        serde_saphyr::from_str(&yaml).map_err(|error| invalid(anyhow::Error::new(error)))?;
    let document = document::without_nulls(document);
    let metadata = &document["metadata"];
    if metadata["name"].as_str().is_none_or(str::is_empty) {
        return Err(Failure::of_pod("metadata.name: is missing", "name the pod"));
    }
    for field in ["name", "namespace"] {
        if metadata[field].as_str().is_some_and(|name| !is_dns_name(name)) {
            let message = format!("metadata.{field}: Kubernetes has no such name");
            let next = "use lower-case letters, digits, dashes and dots, at most 63 characters";
            return Err(Failure::of_pod(message, next));
        }
    }
    check_spec(&document["spec"])?;
    for list in ["initContainers", "containers"] {
        for (index, container) in
            document["spec"][list].as_array().into_iter().flatten().enumerate()
        {
            check_container(container, &format!("spec.{list}[{index}]"))?;
        }
    }
    let pod = Pod::parse(&yaml).map_err(invalid)?;
    if pod.vcpus() > MAX_VCPUS {
        let message = format!("limits.cpu: a VM here has at most {MAX_VCPUS} virtual CPUs");
        return Err(Failure::of_pod(message, "lower the limits"));
    }
    Ok((pod, yaml))
}

/// Labels of RFC 1123, joined by dots.
fn is_dns_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(plain)
            && label.ends_with(plain)
            && label.chars().all(|c| plain(c) || c == '-')
    };
    name.len() <= 63 && name.split('.').all(is_label)
}

/// What the client does not do for a pod: it stands for kubelet alone, without an API server that has
/// further objects.
fn check_spec(spec: &Value) -> Result<(), Failure> {
    let refused = |message: String, next: &str| Err(Failure::of_pod(message, next));
    if spec["ephemeralContainers"].as_array().is_some_and(|list| !list.is_empty()) {
        let message = "spec.ephemeralContainers: this client does not add containers";
        return refused(message.to_owned(), "remove it");
    }
    if spec["automountServiceAccountToken"] == true {
        let message = "spec.automountServiceAccountToken: this client has no tokens";
        return refused(message.to_owned(), "set it to false");
    }
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let foreign: Vec<&str> = volumes
        .filter(|volume| !volume["emptyDir"].is_object())
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    for list in ["initContainers", "containers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.{list}[{index}]");
            if container["envFrom"].as_array().is_some_and(|list| !list.is_empty()) {
                let message = format!("{path}.envFrom: this client has no ConfigMaps");
                return refused(message, "write the variables out under env");
            }
            for (at, mount) in
                container["volumeMounts"].as_array().into_iter().flatten().enumerate()
            {
                let path = format!("{path}.volumeMounts[{at}]");
                if ["subPath", "subPathExpr"].iter().any(|field| mount[field].is_string()) {
                    let message = format!("{path}: this client mounts whole volumes");
                    return refused(message, "mount the whole volume");
                }
                if mount["name"].as_str().is_some_and(|name| foreign.contains(&name)) {
                    let message = format!("{path}: this client has no volumes but emptyDir");
                    return refused(message, "use an emptyDir volume");
                }
            }
        }
    }
    Ok(())
}

/// What the client does not do for a container.
fn check_container(container: &Value, path: &str) -> Result<(), Failure> {
    let handlers = [
        ("startupProbe", &container["startupProbe"]),
        ("readinessProbe", &container["readinessProbe"]),
        ("livenessProbe", &container["livenessProbe"]),
        ("lifecycle.postStart", &container["lifecycle"]["postStart"]),
        ("lifecycle.preStop", &container["lifecycle"]["preStop"]),
    ];
    for (field, handler) in handlers {
        if handler.is_null() {
            continue;
        }
        if !HANDLERS.iter().any(|known| handler[known].is_object()) {
            let message = format!("{path}.{field}: this client knows {} only", HANDLERS.join(", "));
            return Err(Failure::of_pod(message, "use one of these"));
        }
        if handler["httpGet"]["scheme"].as_str().is_some_and(|scheme| scheme != "HTTP") {
            let message = format!("{path}.{field}.httpGet.scheme: this client speaks HTTP only");
            return Err(Failure::of_pod(message, "use tcpSocket or exec"));
        }
    }
    if container["image"].as_str().is_some_and(|image| image.contains('@')) {
        let message = format!(
            "{path}.image: the image is encrypted on the way, which gives it another digest than the pod names"
        );
        return Err(Failure::of_pod(message, "name the image by a tag"));
    }
    Ok(())
}

/// An image of which nothing is known but that it can run.
fn any_image() -> Image {
    Image {
        digest: format!("sha256:{}", "0".repeat(64)),
        encrypted: true,
        config: ImageConfig {
            cmd: vec!["/".to_owned()],
            // Any user but root: whether the image's is allowed is seen when the image is.
            user: "65534".to_owned(),
            ..ImageConfig::default()
        },
        users: None,
    }
}

fn any_config() -> GuestConfig {
    let broker = Broker {
        url: "https://broker.invalid".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
    };
    GuestConfig::new(broker, Vec::new())
}

/// As many as launch digests are predicted for.
const MAX_VCPUS: u32 = 255;
const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str, container: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{spec} containers: \
             [{{name: c, image: x, {container}}}]}}}}"
        )
    }

    fn refused(yaml: &str, field: &str) {
        let failure = check(yaml).unwrap_err();
        let message = failure.message();
        assert!(message.starts_with(field) && !message.contains('\n'), "{yaml}: {message}");
        assert!(!failure.next().is_empty());
    }

    #[test]
    fn takes_what_can_run() {
        for yaml in [
            pod("", ""),
            pod("runtimeClassName: other,", ""),
            pod("restartPolicy: Never,", "resources: {limits: {memory: 64Mi}}"),
            pod(
                "",
                "livenessProbe: {httpGet: {port: 80}}, lifecycle: {preStop: {sleep: {seconds: 1}}}",
            ),
            // Nobody sees the volume.
            pod("volumes: [{name: v, configMap: {name: x}}],", ""),
            format!("{}\n---\n", pod("", "")),
        ] {
            let (pod, text) = check(&yaml).unwrap();
            assert_eq!(pod.metadata.name, "p");
            assert!(check(&text).is_ok());
        }
    }

    #[test]
    fn names_the_field_that_cannot_be_carried_out() {
        for name in ["../x", "Up", "a b", "-a", "a..b", &"a".repeat(64)] {
            let yaml = pod("", "").replace("name: p", &format!("name: '{name}'"));
            refused(&yaml, "metadata.name: ");
        }
        refused(&pod("", "resources: {limits: {cpu: '600'}}"), "limits.cpu: ");
        for volume in ["configMap: {name: x}", "secret: {secretName: x}", "hostPath: {path: /}"] {
            let yaml = pod(
                &format!("volumes: [{{name: v, {volume}}}],"),
                "volumeMounts: [{name: v, mountPath: /v}]",
            );
            refused(&yaml, "spec.containers[0].volumeMounts[0]: ");
        }
        refused(&pod("hostNetwork: true,", ""), "spec.hostNetwork: ");
        let field = "env: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: k}}}]";
        refused(&pod("", field), "spec.containers[0].env[0].valueFrom.configMapKeyRef: ");
        let field =
            "env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}], args: [$(IP)]";
        refused(&pod("", field), "spec.containers[0].args[0]: ");
        refused(&pod("automountServiceAccountToken: true,", ""), "spec.automount");
        let spec = "volumes: [{name: v, emptyDir: {}}],";
        let field = "volumeMounts: [{name: v, mountPath: /v, subPath: x}]";
        refused(&pod(spec, field), "spec.containers[0].volumeMounts[0]: ");
        let spec = "volumes: [{name: v, downwardAPI: {items: []}}],";
        let field = "volumeMounts: [{name: v, mountPath: /v}]";
        refused(&pod(spec, field), "spec.containers[0].volumeMounts[0]: ");
        let field = "envFrom: [{configMapRef: {name: x, optional: true}}]";
        refused(&pod("", field), "spec.containers[0].envFrom: ");
        refused(
            &pod("", "resources: {limits: {memory: much}}"),
            "spec.containers[0].resources.limits",
        );
        refused(&pod("", "startupProbe: {grpc: {port: 1}}"), "spec.containers[0].startupProbe: ");
        let https = "readinessProbe: {httpGet: {port: 1, scheme: HTTPS}}";
        refused(&pod("", https), "spec.containers[0].readinessProbe.httpGet.scheme: ");
        let pinned =
            pod("", "").replace("image: x", &format!("image: x@sha256:{}", "0".repeat(64)));
        refused(&pinned, "spec.containers[0].image: ");
        refused(&pod("", "").replace("{name: p}", "{}"), "metadata.name: ");
        refused("kind: Deployment\n", "kind: ");
        refused(&format!("{0}\n---\n{0}", pod("", "")), "there are several Pods");
    }

    #[test]
    fn every_amount_that_is_taken_can_be_read() {
        let yaml =
            pod("", "resources: {limits: {cpu: 1, example.com/x: 1}, requests: {memory: 1e3}}");
        assert!(check(&yaml).is_ok());
    }
}
