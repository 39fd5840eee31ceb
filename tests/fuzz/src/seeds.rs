// SPDX-License-Identifier: Apache-2.0
//! Writes first inputs for the targets into `corpus/`, so that they start behind the magics.
//!
//! Arguments are firmware images (`*.fd`), Intel's collateral (`*.json`, the form of `dcap-qvl`) and
//! kernels; what they lack is left out.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use casemate_audit::Log;
use casemate_audit::Record;
use casemate_audit::Verdict;
use casemate_audit::line;
use casemate_boot_formats::igvm::IgvmPage;
use casemate_boot_formats::igvm::IgvmPlan;
use casemate_boot_formats::igvm::KVM_VMSA_ADDRESS;
use casemate_boot_formats::igvm::PageKind;
use casemate_boot_formats::igvm::RequiredMemory;
use casemate_boot_formats::igvm::Tee;
use casemate_boot_formats::igvm::VpContext;
use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;
use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_collateral::Answer;
use casemate_collateral::Bundle;
use casemate_collateral::Item;
use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::snp::GuestPolicy;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let entries = [("policy.toml", "containers = []\n"), ("casemate.toml", "")];
    let initdata = Initdata::build(Algorithm::Sha384, entries)?;
    seed("initdata_document", initdata.as_bytes())?;
    seed("initdata_annotation", initdata.to_annotation()?.as_bytes())?;
    seed("initdata_device", &initdata.to_device_image()?)?;
    seed("sev_hashes", &KernelHashes::of(b"kernel", b"initrd", b"quiet")?.to_table())?;
    seed("acpi", &acpi())?;
    seed("igvm", &plan(Tee::Snp).to_bytes()?)?;
    seed("igvm", &plan(Tee::Tdx).to_bytes()?)?;
    let (alone, with_author) = identities()?;
    for identity in [&alone, &with_author] {
        let (block, auth) = (identity.block().to_bytes(), identity.auth().to_bytes());
        seed("id_block", &[block.as_slice(), auth.as_slice()].concat())?;
    }
    seed("id_block", &alone.auth().id_key().to_bytes())?;
    seed("id_block", &alone.auth().signature().to_bytes())?;
    seed("mux", b"CASEMUX\n\x01\0\x01\0\x01\0\0\0\0\0\0\0")?;
    // A frame of ttrpc: length of the message, stream, kind "request", flags; then the message.
    seed("ttrpc_frames", &[0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0x0a, 0])?;
    seed("agent_requests", b"\x0a\x04conf\x12\x09\x0a\x04name\x12\x01x")?;
    seed("image_reference", b"registry.example:5000/team/app:1.2")?;
    seed("guest_reports", &event_log())?;
    seed("policy", POLICY.as_bytes())?;
    seed("policy", CONFIG.as_bytes())?;
    seed("policy_review", POLICY.as_bytes())?;
    for request in [CREATE, SIGNAL, PUT_VOLUME] {
        seed("rego_input", request.as_bytes())?;
        let reviewed = format!("{POLICY}\0[{request}]");
        seed("policy_review", reviewed.as_bytes())?;
    }
    audit_log()?;
    seed("kbs_messages", b"kbs:///default/key/1")?;
    verdicts()?;
    seed("kbs_messages", br#"{"nonce":"bm9uY2U=","extra-params":{}}"#)?;

    for file in std::env::args_os().skip(1).map(PathBuf::from) {
        let bytes = fs::read(&file)?;
        if file.extension().is_some_and(|extension| extension == "fd") {
            let end = bytes.get(bytes.len().saturating_sub(4096)..).unwrap_or_default();
            seed("ovmf", end)?;
            seed("tdvf", end)?;
        } else if file.extension().is_some_and(|extension| extension == "json") {
            collateral(&bytes)?;
        } else {
            seed("bzimage", &small_kernel(&bytes))?;
            seed("pe", &small_image(&bytes))?;
        }
    }
    Ok(())
}

fn seed(target: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    let number = fs::read_dir(&folder)?.count();
    fs::write(folder.join(format!("seed-{number}")), bytes)
}

/// A log without an owner, whose frames anybody can make, and a record.
fn audit_log() -> Result<(), Box<dyn std::error::Error>> {
    let mut log = Log::unsealed();
    let record = Record::new("Start", Verdict::Denied, 1).with_name("container_id", "c1");
    log.append(&record)?;
    let frames = std::iter::once(log.boot_frame()).chain(log.frames_from(0));
    let lines: String = frames.map(line).collect();
    seed("audit_log", lines.as_bytes())?;
    seed("audit_log", log.boot_frame())?;
    seed("audit_log", &record.to_json()?)?;
    Ok(seed("audit_log", log.head().to_string().as_bytes())?)
}

/// Tokens' claims, policies for verdicts and bundles of reference values.
fn verdicts() -> io::Result<()> {
    seed("ear_token", EAR.as_bytes())?;
    seed("ear_token", br#"{"typ":"JWT","alg":"ES256","kid":"KID"}"#)?;
    seed("ear_token", JWKS.as_bytes())?;
    let measurement = "5a".repeat(48);
    for policy in [VERDICTS_SNP, VERDICTS_TDX] {
        seed("verdict_policy", policy.replace("MEASUREMENT", &measurement).as_bytes())?;
    }
    seed("reference_bundle", REFERENCES.replace("MEASUREMENT", &measurement).as_bytes())?;
    seed("collateral_bundle", br#"{"fetched":7,"answer":{"body":"MAA=","issuer_chain":"x"}}"#)?;
    seed("collateral_bundle", br#"{"marks":{"a":{"number":"12","made":7}},"waits":{"b":9}}"#)
}

/// A bundle of what a vendor signed, and each item as it is kept.
fn collateral(file: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let file: Value = serde_json::from_slice(file)?;
    let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
    let document = |member: &str, name: &str| {
        let signature = text(&format!("{name}_signature"));
        format!("{{\"{member}\":{},\"signature\":\"{signature}\"}}", text(name)).into_bytes()
    };
    let fmspc: Value = serde_json::from_str(text("tcb_info"))?;
    let fmspc = fmspc.get("fmspc").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let chain = |name: &str| Some(text(name).to_owned());
    let items = [
        (
            format!("tcb-info-{fmspc}-early"),
            document("tcbInfo", "tcb_info"),
            chain("tcb_info_issuer_chain"),
        ),
        (
            "qe-identity-early".into(),
            document("enclaveIdentity", "qe_identity"),
            chain("qe_identity_issuer_chain"),
        ),
        ("pck-crl-platform".into(), hex::decode(text("pck_crl"))?, chain("pck_crl_issuer_chain")),
        ("intel-root-crl".into(), hex::decode(text("root_ca_crl"))?, None),
    ];
    let mut all = Vec::new();
    for (name, body, issuer_chain) in items {
        let item: Item = name.parse()?;
        let answer = Answer { body, issuer_chain };
        let kept = serde_json::json!({ "fetched": 7, "answer": &answer });
        seed("collateral_bundle", kept.to_string().as_bytes())?;
        let alone = Bundle::new([(item.clone(), answer.clone())]);
        seed("collateral_bundle", alone.to_json().as_bytes())?;
        all.push((item, answer));
    }
    Ok(seed("collateral_bundle", Bundle::new(all).to_json().as_bytes())?)
}

/// A table and the table of tables, with the commands that complete them and the root pointer.
fn acpi() -> Vec<u8> {
    let name = |name: &str| format!("{name:\0<56}").into_bytes();
    let [rsdp, tables] = ["etc/acpi/rsdp", "etc/acpi/tables"].map(name);
    let command = |code: u32, fields: &[&[u8]]| {
        let mut entry = code.to_le_bytes().to_vec();
        entry.extend(fields.concat());
        entry.resize(128, 0);
        entry
    };
    let words = |numbers: [u32; 3]| numbers.map(u32::to_le_bytes).concat();
    let loader = [
        command(1, &[&rsdp, &[16, 0, 0, 0, 2]]),
        command(1, &[&tables, &[64, 0, 0, 0, 1]]),
        command(3, &[&tables, &words([9, 0, 40])]),
        command(2, &[&tables, &tables, &[76, 0, 0, 0, 4]]),
        command(3, &[&tables, &words([49, 40, 40])]),
        command(2, &[&rsdp, &tables, &[16, 0, 0, 0, 4]]),
        command(3, &[&rsdp, &words([8, 0, 20])]),
    ]
    .concat();
    let table = |signature: &[u8]| [signature, &[40, 0, 0, 0], &[0; 32]].concat();
    let root = b"RSD PTR \0BOCHS \0\x28\0\0\0";
    let size = u16::try_from(loader.len()).unwrap_or_default().to_le_bytes();
    [&[20], &size[..], root, &loader, &table(b"DSDT"), &table(b"RSDT")].concat()
}

/// The start of a CCEL: the event that states SHA-384, one event of one digest, and unused bytes.
fn event_log() -> Vec<u8> {
    let mut log = vec![1, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend([33, 0, 0, 0]);
    log.extend(b"Spec ID Event03\0");
    log.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 12, 0, 48, 0, 0]);
    log.extend([1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 12, 0]);
    log.extend([0x5a; 48]);
    log.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    log.extend([0xff; 16]);
    log
}

fn plan(tee: Tee) -> IgvmPlan<'static> {
    const PAGE: [u8; 4096] = [0x90; 4096];
    let mut plan = IgvmPlan::new(tee, 0x3_0000);
    let page = |gpa, kind, contents| IgvmPage { gpa, kind, contents };
    plan.pages.push(page(0xffff_f000, PageKind::Measured, Some(&PAGE)));
    plan.pages.push(page(0x80_0000, PageKind::Unmeasured, None));
    if tee == Tee::Snp {
        plan.pages.push(page(0x80_d000, PageKind::Secrets, None));
        plan.pages.push(page(0x80_e000, PageKind::Cpuid, None));
        plan.vp_contexts.push(VpContext { gpa: KVM_VMSA_ADDRESS, vp_index: 0, vmsa: &PAGE });
    }
    plan.required_memory.push(RequiredMemory { gpa: 0, size: 4096, vtl2_protectable: false });
    plan
}

/// A guest that an ID key signed, and one whose ID key an author key signed.
fn identities() -> Result<(Identity, Identity), Box<dyn std::error::Error>> {
    let random = SystemRandom::new();
    let key = || -> Result<SigningKey, Box<dyn std::error::Error>> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random)
            .map_err(|_| "no randomness for a key")?;
        Ok(SigningKey::from_pkcs8(pkcs8.as_ref(), &random)?)
    };
    let block = IdBlock {
        launch_digest: LaunchDigest::from_bytes([0x5a; 48]),
        family_id: *b"casemate guests\0",
        image_id: [0; 16],
        guest_svn: 1,
        policy: GuestPolicy::from_bits(0x3_0000)?,
    };
    let (id_key, author_key) = (key()?, key()?);
    let alone = block.sign(&id_key, None, &random)?;
    Ok((alone, block.sign(&id_key, Some(&author_key), &random)?))
}

/// The header of a kernel with one sector of real-mode code and a small payload.
fn small_kernel(file: &[u8]) -> Vec<u8> {
    let mut kernel = file.get(..0x400).unwrap_or_default().to_vec();
    kernel.resize(0x600, 0);
    put(&mut kernel, 0x1f1, &[1]);
    put(&mut kernel, 0x1f4, &32_u32.to_le_bytes());
    put(&mut kernel, 0x20e, &0x0100_u16.to_le_bytes());
    put(&mut kernel, 0x248, &[0, 0, 0, 0, 64, 0, 0, 0]);
    put(&mut kernel, 0x300, b"6.12.1 \0");
    put(&mut kernel, 0x400, b"\x28\xb5\x2f\xfd");
    kernel
}

/// The headers of an image without sections and certificates.
fn small_image(file: &[u8]) -> Vec<u8> {
    let mut image = file.get(..0x400).unwrap_or_default().to_vec();
    let Some(start) = image.get(0x3c).map(|at| usize::from(*at)) else { return image };
    put(&mut image, start + 6, &[0, 0]);
    put(&mut image, start + 24 + 60, &0x200_u32.to_le_bytes());
    put(&mut image, start + 24 + 144, &[0; 8]);
    image
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

const POLICY: &str = r#"version = 1
[sandbox]
hostname = "web-[0-9]+"
sysctls = { "kernel.sem" = "1" }
hosts = [{ ip = "10.1.2.3", names = ["db"] }]
[sandbox.network]
addresses = ["10.0.0.0/8"]
dns_searches = ["[a-z.]+"]
[volumes.cache]
kind = "empty-dir"
size_limit = 4096
[volumes.conf]
kind = "config"
files = { "a" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
[volumes.info]
kind = "untrusted"
max_bytes = 9
[containers.init]
role = "init"
image = "a.b/c@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
signature = "owner"
encryption = "required"
argv = ["/x"]
cwd = "/"
user = { uid = 1, gid = 1, groups = [2] }
env = [{ name = "A", value = "b" }]
env_holes = [{ name = "H", value = "[a-z]+", required = true }]
terminal = true
stdin = true
logs = "host-visible"
metrics = "host-visible"
termination_message = "none"
readonly_rootfs = true
mounts = [{ destination = "/c", kind = "volume", volume = "cache", sub_path = "x" }]
secrets = [{ resource = "kbs:///a/b/c", path = "/s", mode = 0o400 }]
capabilities = ["CAP_KILL"]
no_new_privileges = true
seccomp = "default"
proc_mount = "unmasked"
rlimits = [{ kind = "nofile", soft = 1, hard = "unlimited" }]
resources = { memory = { min = 1048576, max = 2097152 }, pids = 9 }
exec = [{ argv = ["/y"], env = [], user = { uid = 0, gid = 0 }, purpose = "pre-stop" }]
signals = [9]
restart = "on-failure"
max_starts = 2
"#;

const CONFIG: &str = r#"version = 1
[broker]
url = "https://broker.example:8443"
ca = """
-----BEGIN CERTIFICATE-----
AAAA
-----END CERTIFICATE-----
"""
[image_signatures.owner]
key = """
-----BEGIN PUBLIC KEY-----
AAAA
-----END PUBLIC KEY-----
"""
"#;

const CREATE: &str = r#"{"CreateContainer":{"id":"c1","name":"init","image_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","argv":["/x"],"env":["H=x"],"cwd":"/","mounts":[{"destination":"/c","kind":"EMPTY_DIR"}]}}"#;
const SIGNAL: &str = r#"{"Signal":{"process":{"container_id":"c1"},"signal":9}}"#;
const PUT_VOLUME: &str = r#"{"PutVolume":{"volume":"conf","files":[{"name":"a","content":"hi"}]}}"#;

const EAR: &str = r#"{"eat_profile":"tag:github.com,2024:confidential-containers/Trustee",
"iss":"issuer","aud":"audience","iat":1795000000,"nbf":1795000000,"exp":1795000300,"jti":"7",
"eat_nonce":"bm9uY2U=","cnf":{"jwk":{"kty":"EC"}},"ear.verifier-id":{"developer":"d","build":"b"},
"submods":{"cpu0":{"ear.status":"affirming","ear.trustworthiness-vector":{"hardware":2,"executables":3},
"ear.appraisal-policy-id":"p","ear.casemate.root":"simulated:test","ear.veraison.annotated-evidence":
{"init_data":"00","report_data":"01","runtime_data_claims":{"nonce":"x"},"snp":{"measurement":"02"}}}}}"#;

/// The key of RFC 7515, appendix A.3.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a",
"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"r"}]}"#;

const VERDICTS_SNP: &str = r#"[snp]
where = { any-genuine-chip = true, providers = ["x"] }
measurement = ["MEASUREMENT"]
host-data = "initdata"
allow-products = ["milan"]
deny-products = ["siena"]
require-crl = true
vmpl = [0, 1]
guest-svn = ">= 3"
abi = ">= 1.55"
forbid-provisional = true
[snp.guest]
forbid-smt = true
[snp.platform]
require-alias-check = false
accept-bits = 64
launch-mitigations = 1
[snp.id-block]
image-id = "00000000000000000000000000000000"
[snp.tcb.genoa]
floor = { snp = ">= 20", microcode = ">= 72" }
launch-floor = { snp = ">= 1" }
[snp.tcb.genoa.grace]
until = 2027-01-01T00:00:00Z
floor = { snp = ">= 19" }
[reference-values]
bundle = "b.json"
signatures = ["b.sig"]
keys = ["-----BEGIN PUBLIC KEY-----"]
threshold = 1
"#;

const VERDICTS_TDX: &str = r#"[tdx]
where = { platforms = ["00000000000000000000000000000000"] }
mrtd = { reference = "a" }
mr-config-id = "initdata"
rtmr1 = "MEASUREMENT"
tcb-evaluation-number = ">= 17"
[az-vtpm]
pcr.4 = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
pcr.11 = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
"#;

const REFERENCES: &str = r#"{"format":1,"name":"guest","version":7,"expires":"2027-01-01T00:00:00Z",
"images":[{"format":1,"kind":"production","parts":{"kernel":{"sha256":"00","size":1}},"descriptions":{},
"snp":[{"vcpu_types":["EPYC-v4"],"guest_features":1,"launch_digests":["MEASUREMENT"]}],
"tdx":{"mrtd":"MEASUREMENT","mrtd_two_pass":"MEASUREMENT","rtmrs":{"rtmr2":"MEASUREMENT"},
"not_shown":{"rtmr0":"why"}}}],"values":{"tdx_mrtd":["MEASUREMENT"]}}"#;
