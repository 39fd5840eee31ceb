// SPDX-License-Identifier: Apache-2.0
//! D15, D16: the owner's document, changed on its way through the host.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::ensure;
use casemate_agent::boot_steps;
use casemate_agent_api::Code;
use casemate_attester::OwnReport;
use casemate_attester::Report;
use casemate_attester::ReportData;
use casemate_attester::TdReport;
use casemate_boot_formats::initdata::Algorithm;
use casemate_boot_formats::initdata::Initdata;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

const COMPARE: Guard =
    Guard { function: "casemate_agent::boot::self_check::compare", sabotage: "Ok(())" };

pub(super) static D15: Case = Case {
    id: "D15",
    level: Level::P,
    attack: "rewrites the broker's address, its CA or where reports come from",
    defence: Defence::Code(COMPARE),
    run: |_| Box::pin(async { rewrite() }),
};

pub(super) static D16: Case = Case {
    id: "D16",
    level: Level::P,
    attack: "changes a byte of the initdata, adds to it, or gives a second document",
    defence: Defence::Code(COMPARE),
    run: |_| Box::pin(async { mutate() }),
};

const POLICY: &str = r#"version = 1
[containers.web]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/web"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = [15]
"#;
const CONFIG: &str = r#"version = 1
[broker]
url = "https://broker.example:8443"
ca = """
-----BEGIN CERTIFICATE-----
MIIB
-----END CERTIFICATE-----
"""
"#;

fn document(config: &str) -> anyhow::Result<Initdata> {
    Ok(Initdata::build(Algorithm::Sha256, [("policy.toml", POLICY), ("casemate.toml", config)])?)
}

/// The report of a guest that was launched with this document.
fn launched_with(initdata: &Initdata) -> [OwnReport; 2] {
    // SEV-SNP ABI, table 23: a report of version 2 whose only content is HOST_DATA.
    let mut snp = [0; 1184];
    (snp[0], snp[0x34]) = (2, 1);
    snp[0xc0..0xe0].copy_from_slice(&initdata.host_data());
    // TDX module ABI, TDREPORT_STRUCT: MRCONFIGID alone.
    let mut tdx = [0; TdReport::LEN];
    tdx[0] = 0x81;
    tdx[576..624].copy_from_slice(&initdata.mr_config_id());
    let tdx = TdReport::parse(&tdx, &ReportData([0; 64])).unwrap();
    [OwnReport::Snp(Report::from_bytes(snp)), OwnReport::Tdx(tdx)]
}

/// Fails unless the guest stops before it listens, and for this reason.
fn stops(initdata: &Initdata, launched: &Initdata, code: Code) -> anyhow::Result<()> {
    for report in launched_with(launched) {
        let found = boot_steps::self_check(initdata, &report).err();
        ensure!(found == Some(code), "expected {code}, and the boot says {found:?}");
    }
    Ok(())
}

fn rewrite() -> Verdict {
    let right = document(CONFIG)?;
    for report in launched_with(&right) {
        let boots = boot_steps::self_check(&right, &report);
        ensure!(boots.is_ok(), "the owner's document is refused: {boots:?}");
    }
    let other_ca = CONFIG.replace("MIIB", "MIIC");
    let other_url = CONFIG.replace("broker.example", "broker.host");
    for other in [&other_ca, &other_url, &format!("{CONFIG}\n")] {
        stops(&document(other)?, &right, Code::InitdataMismatch)?;
    }
    // Launched with a document that sends secrets in clear: no owner's, and refused all the same.
    let plain = document(&CONFIG.replace("https:", "http:"))?;
    stops(&plain, &plain, Code::InitdataInvalid)?;

    // The command line says where reports come from; two words are one too many, and no word
    // switches to something weaker.
    let folder = tempfile::tempdir()?;
    let source = |text: &str| -> anyhow::Result<_> {
        let path = folder.path().join("cmdline");
        fs::write(&path, text)?;
        Ok(boot_steps::report_source(&path))
    };
    ensure!(source("casemate.tee=snp quiet")?.is_ok());
    for bad in [
        "quiet",
        "casemate.tee=none",
        "casemate.tee=sim",
        "casemate.tee=snp casemate.tee=none",
        "casemate.tee=snp casemate.reports=sample",
        "casemate.tee=tdx casemate.reports=sev-guest",
    ] {
        ensure!(source(bad)?.is_err(), "{bad} boots");
    }
    Ok(Outcome::pass(
        "each rewritten document stops the boot before the agent listens; nothing is read from a \
         metadata service, and the command line has one source of reports",
    ))
}

fn mutate() -> Verdict {
    let right = document(CONFIG)?;
    let disk = Disk::new()?;
    let image = right.to_device_image()?;
    ensure!(disk.boot(&[&image], &right)?.is_ok(), "the owner's own disk is refused");
    let mut codes = std::collections::BTreeSet::new();

    // Every byte of the document, one bit each.
    let mut changed = 0;
    for at in 0..right.as_bytes().len() {
        let mut bytes = right.as_bytes().to_vec();
        bytes[at] ^= 1;
        let Ok(other) = Initdata::parse(&bytes) else { continue };
        stops(&other, &right, Code::InitdataMismatch)?;
        changed += 1;
    }
    // Every byte of the disk: another document, or none.
    for at in 0..image.len() {
        let mut bytes = image.clone();
        bytes[at] ^= 0x10;
        match disk.boot(&[&bytes], &right)? {
            // Header fields of gzip that say nothing of the document: the same bytes came out.
            Ok(read) => ensure!(read == right, "byte {at} gives another document that boots"),
            Err(code) => drop(codes.insert(code.as_str())),
        }
    }
    // A second document behind the first, on a second disk, in the same gzip; keys that nobody
    // knows, keys twice; and more than a cap.
    let behind = [&image[..], &image[..]].concat();
    let text = std::str::from_utf8(right.as_bytes())?;
    let unknown = format!("more = 1\n{text}");
    let twice = format!("version = \"0.1.0\"\n{text}");
    let (unknown, twice) = (device(unknown.as_bytes())?, device(twice.as_bytes())?);
    let bomb = device(&vec![b'#'; 8 << 20])?;
    let disks: [(&str, Vec<&[u8]>); 6] = [
        ("two documents on a disk", vec![&behind]),
        ("two disks", vec![&image, &image]),
        ("an unknown key", vec![&unknown]),
        ("a key twice", vec![&twice]),
        ("8 MiB in a few bytes", vec![&bomb]),
        ("no disk", vec![]),
    ];
    for (what, content) in &disks {
        match disk.boot(content, &right)? {
            Ok(_) => anyhow::bail!("{what} boots"),
            Err(code) => drop(codes.insert(code.as_str())),
        }
    }
    Ok(Outcome::pass(format!(
        "{changed} changed documents, {} changed disks and {} others stop the boot: {}",
        image.len(),
        disks.len(),
        codes.into_iter().collect::<Vec<_>>().join(", ")
    )))
}

/// The guest's view of its disks.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// What the guest boots with when the host gives these disks.
    fn boot(&self, disks: &[&[u8]], launched: &Initdata) -> anyhow::Result<Result<Initdata, Code>> {
        let folder = |name: &str| self.0.path().join(name);
        for name in ["sys", "dev"] {
            if folder(name).exists() {
                fs::remove_dir_all(folder(name))?;
            }
            fs::create_dir(folder(name))?;
        }
        for (index, content) in disks.iter().enumerate() {
            let sys = folder("sys").join(format!("vd{index}"));
            fs::create_dir(&sys)?;
            fs::write(sys.join("serial"), "casemate-initdata")?;
            fs::write(folder("dev").join(format!("vd{index}")), content)?;
        }
        Ok(boot(&folder("sys"), &folder("dev"), launched))
    }
}

fn boot(sys: &Path, dev: &Path, launched: &Initdata) -> Result<Initdata, Code> {
    let initdata = boot_steps::initdata(sys, dev)?;
    for report in launched_with(launched) {
        boot_steps::self_check(&initdata, &report)?;
    }
    Ok(initdata)
}

/// A disk of the document's form that holds any bytes.
fn device(document: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(document)?;
    let gzip = gzip.finish()?;
    let length = u64::try_from(gzip.len())?.to_le_bytes();
    let mut device = [b"initdata".as_slice(), &length, &gzip].concat();
    device.resize(device.len().next_multiple_of(512), 0);
    Ok(device)
}
