// SPDX-License-Identifier: Apache-2.0
//! The owner's side: the broker, the keys, and the `casemate` tool as a person would call it.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::bail;

use crate::artifacts::Artifacts;
use crate::daemon::Daemon;
use crate::registry::Registry;
use crate::world;
use crate::world::World;

/// The owner's side of a world.
#[derive(Debug)]
pub struct Owner {
    artifacts: Artifacts,
    dir: PathBuf,
    broker: Daemon,
    /// The public key that policies made now name for audit logs.
    audit_key: Option<PathBuf>,
}

/// A pod that is ready to be applied: its YAML carries the initdata.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The annotated YAML.
    pub pod: PathBuf,
    /// The initdata document.
    pub initdata: PathBuf,
    /// Digest of the initdata, hex.
    pub initdata_digest: String,
}

/// The key that images are encrypted with, as a broker resource.
pub const IMAGE_KEY: &str = "default/key/image";

impl Owner {
    /// Starts the broker. It trusts the root in `root_chain` under the name `demo`.
    ///
    /// # Errors
    ///
    /// When a command fails.
    pub fn start(world: &World, artifacts: &Artifacts, root_chain: &Path) -> anyhow::Result<Self> {
        let dir = world.root().join("owner");
        fs::create_dir_all(&dir).context("create the owner's directory")?;
        let broker = dir.join("broker");
        let broker_text = broker.display().to_string();
        let program = artifacts.program("casemate-broker")?;
        let call = |args: &[&str]| world::run(&program.display().to_string(), args);
        call(&["init", "--dir", &broker_text, "--host", world::HOST_ADDRESS])?;
        let chain = root_chain.display().to_string();
        call(&[
            "root",
            "add",
            "--dir",
            &broker_text,
            "--name",
            ROOT,
            "--kind",
            "simulated",
            &chain,
        ])?;
        let daemon = serve(world, artifacts, &broker)?;
        let owner = Self { artifacts: artifacts.clone(), dir, broker: daemon, audit_key: None };
        let mut key = [0_u8; 32];
        fs::File::open("/dev/urandom")
            .and_then(|mut f| f.read_exact(&mut key))
            .context("make a key")?;
        fs::write(owner.key_file(), key).context("write the image key")?;
        owner.put_image_key()?;
        Ok(owner)
    }

    /// Calls the broker's administration.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn broker(&self, args: &[&str]) -> anyhow::Result<String> {
        let program = self.artifacts.program("casemate-broker")?;
        let dir = self.dir.join("broker").display().to_string();
        // `<noun> <verb> --dir D <rest>`
        let (verb, rest) = args.split_at(2.min(args.len()));
        let mut all = verb.to_vec();
        all.extend(["--dir", dir.as_str()]);
        all.extend(rest);
        world::run(&program.display().to_string(), &all)
    }

    /// Calls the `casemate` tool.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn casemate(&self, args: &[&str]) -> anyhow::Result<String> {
        world::run(&self.artifacts.program("casemate")?.display().to_string(), args)
    }

    /// Encrypts an OCI layout and returns the encrypted one.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn encrypt(&self, layout: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let dest = self.dir.join("encrypted").join(name);
        fs::create_dir_all(self.dir.join("encrypted")).context("create a directory")?;
        if dest.exists() {
            fs::remove_dir_all(&dest).context("remove an older encrypted image")?;
        }
        self.casemate(&[
            "image",
            "encrypt",
            "--key-file",
            &self.key_file().display().to_string(),
            "--key-id",
            &format!("kbs:///{IMAGE_KEY}"),
            "--source",
            &layout.display().to_string(),
            "--dest",
            &dest.display().to_string(),
        ])?;
        Ok(dest)
    }

    /// Generates policy and initdata for a pod. `images` maps image names of the YAML to OCI layouts
    /// that the world's registry serves in the place of the named registry.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn generate(
        &self,
        pod: &Path,
        registry: &Registry,
        mirrored_hosts: &[String],
        name: &str,
    ) -> anyhow::Result<Prepared> {
        let out = self.dir.join(format!("{name}.yaml"));
        let initdata = self.dir.join(format!("{name}.initdata.toml"));
        let policy = self.dir.join(format!("{name}.policy.toml"));
        let ca = registry.ca().display().to_string();
        let mut args = vec![
            "policy".to_owned(),
            "generate".to_owned(),
            "-f".to_owned(),
            pod.display().to_string(),
            "--broker-url".to_owned(),
            format!("https://{}", Self::address()),
            "--broker-ca".to_owned(),
            self.dir.join("broker/ca.pem").display().to_string(),
            "--registry-ca".to_owned(),
            format!("{}={ca}", Registry::address()),
            "--image-key".to_owned(),
            format!("kbs:///{IMAGE_KEY}={}", self.key_file().display()),
            "-o".to_owned(),
            out.display().to_string(),
            "--policy-out".to_owned(),
            policy.display().to_string(),
            "--initdata-out".to_owned(),
            initdata.display().to_string(),
        ];
        if let Some(key) = &self.audit_key {
            args.extend(["--audit-key".to_owned(), key.display().to_string()]);
        }
        for host in mirrored_hosts {
            args.push("--registry-ca".to_owned());
            args.push(format!("{host}={ca}"));
            args.push("--registry-mirror".to_owned());
            args.push(format!("{host}={}", Registry::address()));
        }
        self.casemate(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        let digest = self.casemate(&["measure", "initdata", &initdata.display().to_string()])?;
        let digest = digest.split_whitespace().last().unwrap_or_default().to_owned();
        if digest.len() != 64 {
            bail!("unexpected initdata digest {digest:?}");
        }
        Ok(Prepared { pod: out, initdata, initdata_digest: digest })
    }

    /// Has the audit logs of pods that are generated from now on sealed to a key of the owner's; the
    /// file of the private key.
    ///
    /// # Errors
    ///
    /// When the key cannot be made.
    pub fn seal_audits(&mut self) -> anyhow::Result<PathBuf> {
        let (private, public) =
            (self.dir.join("audit-key.pem"), self.dir.join("audit-key.pub.pem"));
        if !private.exists() {
            let text = self.casemate(&["audit", "key", "--out", &private.display().to_string()])?;
            fs::write(&public, text).context("write the public key")?;
        }
        self.audit_key = Some(public);
        Ok(private)
    }

    /// Has no key named for audit logs from now on.
    pub fn stop_sealing_audits(&mut self) {
        self.audit_key = None;
    }

    /// The broker's audit records as a file.
    #[must_use]
    pub fn broker_log(&self) -> PathBuf {
        self.dir.join("broker/audit.jsonl")
    }

    /// Releases the image key to guests with this initdata.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn allow_image_key(&self, initdata_digest: &str) -> anyhow::Result<()> {
        self.broker(&["resource", "allow", IMAGE_KEY, "--initdata", initdata_digest]).map(drop)
    }

    /// Accepts a launch digest as a reference value.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn accept(&self, launch_digest: &str) -> anyhow::Result<()> {
        self.broker(&["reference", "add", "--measurement", launch_digest]).map(drop)
    }

    /// The broker's audit records so far, oldest first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds something else than JSON lines.
    pub fn audit(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let path = self.broker_log();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        text.lines().map(|line| serde_json::from_str(line).context("parse the audit log")).collect()
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn address() -> String {
        format!("{}:{PORT}", world::HOST_ADDRESS)
    }

    /// Ends the broker, as an outage does.
    ///
    /// # Errors
    ///
    /// When it cannot be ended.
    pub fn stop_broker(&mut self) -> anyhow::Result<()> {
        self.broker.stop()
    }

    /// Starts the broker again.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_broker(&mut self, world: &World) -> anyhow::Result<()> {
        self.broker = serve(world, &self.artifacts, &self.dir.join("broker"))?;
        Ok(())
    }

    /// Stores the image key at the broker.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn put_image_key(&self) -> anyhow::Result<()> {
        let file = self.key_file().display().to_string();
        self.broker(&["resource", "put", IMAGE_KEY, &file]).map(drop)
    }

    fn key_file(&self) -> PathBuf {
        self.dir.join("image.key")
    }
}

fn serve(world: &World, artifacts: &Artifacts, dir: &Path) -> anyhow::Result<Daemon> {
    let mut serve = Command::new(artifacts.program("casemate-broker")?);
    serve.arg("serve").arg("--dir").arg(dir).args(["--listen", &Owner::address()]);
    Daemon::start("broker", serve, &world.logs(), || TcpStream::connect(Owner::address()).is_ok())
}

/// Name of the simulated root at the broker.
pub const ROOT: &str = "demo";

const PORT: u16 = 8081;
