// SPDX-License-Identifier: Apache-2.0
//! Stable error codes: what a person or a script sees in a CRI error, on a command line and in
//! `docs/errors.md`.

use std::fmt;

use casemate_boot_formats::initdata::InitdataError;

/// Declares [`Code`] and, for each variant, its text and the next step for the reader.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, next: $next:literal;)+) => {
        /// A stable error code.
        ///
        /// # Security
        ///
        /// Codes and their advice are public and hold nothing of the workload: the host reads them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in the order of `docs/errors.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as text, for example `policy.argv`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What the reader can do next, one sentence without a full stop.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$variant => $next,)+ }
            }
        }
    };
}

codes! {
    /// The request is malformed or over a cap.
    RequestInvalid = "request.invalid", next: "compare the versions of shim and guest image; this is not caused by the pod";
    /// The call is not allowed in the guest's present phase.
    RequestPhase = "request.phase", next: "the shim must set the network and wait for attestation first";
    /// An id is unknown, used before or in the wrong state.
    RequestId = "request.id", next: "delete the pod and create it again";
    /// The guest has no initdata.
    InitdataMissing = "initdata.missing", next: "run `casemate policy generate` and apply the pod that it writes";
    /// The initdata is not well-formed.
    InitdataInvalid = "initdata.invalid", next: "run `casemate policy generate` again and do not edit its output";
    /// The guest's initdata disk cannot be read.
    InitdataUnreadable = "initdata.unreadable", next: "look at the node's disk and VMM logs, then delete the pod and create it again";
    /// Bytes follow the initdata, on its disk or behind the compressed document.
    InitdataTrailing = "initdata.trailing", next: "run `casemate policy generate` again and do not edit its output; if it was not edited, treat the node as hostile or broken";
    /// The initdata has a key that its format does not know.
    InitdataUnknownKey = "initdata.unknown-key", next: "remove the key, or run a guest image that knows it";
    /// A key stands twice in the initdata.
    InitdataDuplicateKey = "initdata.duplicate-key", next: "run `casemate policy generate` again and do not edit its output";
    /// The initdata has rules in Rego and the guest image cannot evaluate them.
    InitdataRego = "initdata.rego", next: "run a guest image whose agent is built with feature rego, or take policy.rego out of the initdata";
    /// The digest of the initdata is not the one the VM was launched with.
    InitdataMismatch = "initdata.mismatch", next: "the initdata was changed after launch parameters were fixed: treat the node as hostile or broken";
    /// The guest's TEE device gives no report.
    TeeReport = "tee.report", next: "run `casemate check` on the node";
    /// The host's quote service gives the TDX guest no quote.
    TeeQuote = "tee.quote", next: "restart the quote generation service (QGS) on the node and read its log";
    /// The TEE that the configuration requires is missing on the node.
    TeeMissing = "tee.missing", next: "schedule the pod to a node with this TEE, or fix what `casemate check` names";
    /// The host asked for a network that could capture loopback or is malformed.
    NetworkRefused = "network.refused", next: "check the node's CNI configuration";
    /// No container of this name is in the policy.
    PolicyContainer = "policy.container", next: "run `casemate policy generate` on the pod as it is now";
    /// The image digest differs from the policy's.
    PolicyImage = "policy.image", next: "the tag was moved: generate the policy again if the new image is wanted";
    /// The argument list differs.
    PolicyArgv = "policy.argv", next: "generate the policy again if the new command is wanted";
    /// An environment variable is missing, added or differs.
    PolicyEnv = "policy.env", next: "generate the policy again, or declare a hole for the variable";
    /// The working directory differs.
    PolicyCwd = "policy.cwd", next: "generate the policy again if the new directory is wanted";
    /// Terminal or stdin differ from what is granted.
    PolicyStdio = "policy.stdio", next: "set tty or stdin in the pod and generate the policy again";
    /// A mount differs from the policy's.
    PolicyMount = "policy.mount", next: "generate the policy again if the new mount is wanted";
    /// The read-only flag of the root differs.
    PolicyRootfs = "policy.rootfs", next: "generate the policy again if the new setting is wanted";
    /// The command is not on the container's exec list.
    PolicyExec = "policy.exec", next: "add the command to the container's exec list and generate the policy again";
    /// The signal is not granted.
    PolicySignal = "policy.signal", next: "add the signal to the policy";
    /// The container was started as often as the policy allows, or one of its name is alive.
    PolicyCount = "policy.count", next: "delete the pod and create it again";
    /// A container that must complete first has not, or has and may not run again.
    PolicyOrder = "policy.order", next: "wait for the init containers; delete the pod and create it again if one of them failed";
    /// A limit that the host wants is outside the policy's range.
    PolicyResources = "policy.resources", next: "keep the new limit within the policy's range, or generate the policy again";
    /// A volume is not in the policy, or its content is missing, too large or not the policy's.
    PolicyVolume = "policy.volume", next: "the ConfigMap was changed or is not there: generate the policy again if the new content is wanted";
    /// Usage figures and process ids of the container stay in the guest.
    PolicyMetrics = "policy.metrics", next: "grant metrics in the policy if the cluster may see them";
    /// The termination message of the container stays in the guest.
    PolicyTerminationMessage = "policy.termination-message", next: "grant termination_message in the policy if the cluster may see it";
    /// The network values do not fit the policy.
    PolicyNetwork = "policy.network", next: "check the pod's hostname and DNS settings against the policy";
    /// The owner's extra rules do not allow the request.
    PolicyRules = "policy.rules", next: "ask the owner: the rules in the initdata (policy.rego) narrow what the policy grants";
    /// The broker cannot be reached.
    BrokerUnreachable = "broker.unreachable", next: "check that the broker runs and that the pod's network reaches it";
    /// The broker's certificate does not chain to the CA in the initdata.
    BrokerUntrusted = "broker.untrusted", next: "put the broker's CA into the initdata, or look for an interceptor";
    /// The broker has as many sessions as it takes, or failed for a moment.
    BrokerBusy = "broker.busy", next: "wait and try again; if it lasts, see the broker's log";
    /// The broker's folder cannot be used.
    BrokerStore = "broker.store", next: "check rights and free space of the broker's folder, and which version wrote it";
    /// A command of the broker's owner cannot be carried out.
    BrokerCommand = "broker.command", next: "correct what the message names and run the command again";
    /// The broker does not accept the evidence.
    AttestRefused = "attest.refused", next: "ask the broker's owner for the verdict (`casemate-broker` audit log)";
    /// The broker accepted the evidence but not the request for this resource.
    ResourceDenied = "resource.denied", next: "allow this initdata digest for the resource in the broker";
    /// The resource does not exist in the broker.
    ResourceMissing = "resource.missing", next: "store the key in the broker under the name in the image's annotation";
    /// The registry cannot be reached or breaks off.
    ImageUnreachable = "image.unreachable", next: "check the registry and the pod's network";
    /// The registry's certificate does not chain to the CA that is trusted for it.
    ImageUntrusted = "image.untrusted", next: "put the registry's CA into the guest configuration, or look for an interceptor";
    /// The registry refuses access.
    ImageDenied = "image.denied", next: "give the guest credentials for the registry";
    /// A digest of manifest, config, layer or unpacked content differs.
    ImageDigest = "image.digest", next: "the registry or the network altered the image: push it again or look for an interceptor";
    /// Manifest, config or layer are malformed, unsupported or over a cap.
    ImageInvalid = "image.invalid", next: "check the image with another tool, for example skopeo inspect";
    /// A layer does not decrypt: wrong key or altered content.
    ImageDecrypt = "image.decrypt", next: "check that the broker holds the key that the image was encrypted with";
    /// The policy demands an encrypted image and this one is not.
    ImageNotEncrypted = "image.not-encrypted", next: "push the encrypted image, or generate the policy for the plain one";
    /// The image does not carry the signature that the policy demands.
    ImageSignature = "image.signature", next: "sign the image with the key that the policy names, or look for an interceptor";
    /// A volume that the container mounts has no content yet, or content that the node cannot send.
    VolumeContent = "volume.content", next: "check the volume's ConfigMap, Secret or projection: at most 1 MiB in 1024 files without folders";
    /// The guest has no room left.
    GuestFull = "guest.full", next: "give the pod more memory";
    /// An earlier failure in the guest could not be undone.
    GuestPoisoned = "guest.poisoned", next: "delete the pod and create it again";
    /// The guest's clock is before its image was made and cannot be set.
    GuestClock = "guest.clock", next: "set the node's clock; if it is right, treat the node as hostile or broken";
    /// The guest's kernel does not take a sysctl of the policy.
    GuestSysctl = "guest.sysctl", next: "remove the sysctl from the pod, or use a guest image whose kernel has it";
    /// The guest has a device that it does not use and cannot turn off.
    GuestDevice = "guest.device", next: "look at the VMM's command line on the node: only the shim may add devices";
    /// The image pull goes on; ask again.
    PullInProgress = "pull.in-progress", next: "no action: kubelet asks again";
    /// A container could not be created or started inside the guest.
    ContainerFailed = "container.failed", next: "check the container's command and image";
    /// The VM did not reach the agent in time.
    VmBoot = "vm.boot", next: "firmware refused kernel, initramfs or command line, or the guest image is broken: run `casemate guest-image verify`";
    /// The VM ended or its agent fell silent.
    VmDied = "vm.died", next: "see the shim's log on the node";
    /// The VMM could not be started.
    VmStart = "vm.start", next: "run `casemate check` on the node";
    /// The shim's configuration is missing or wrong.
    ConfigInvalid = "config.invalid", next: "correct the file that the message names";
    /// Something inside the guest failed that no request should cause.
    Internal = "internal", next: "report this as a bug of Casemate";
}

/// One code for host, guest and tool, whoever reads the document first.
impl From<&InitdataError> for Code {
    fn from(error: &InitdataError) -> Self {
        match error {
            InitdataError::TrailingData { .. } | InitdataError::DirtyPadding { .. } => {
                Self::InitdataTrailing
            }
            InitdataError::UnknownKey { .. } => Self::InitdataUnknownKey,
            InitdataError::DuplicateKey { .. } => Self::InitdataDuplicateKey,
            _ => Self::InitdataInvalid,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|c| c.as_str() == s).ok_or(UnknownCode)
    }
}

/// The text is no code of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown error code")]
pub struct UnknownCode;
