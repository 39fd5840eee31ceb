// SPDX-License-Identifier: Apache-2.0
//! The command line of QEMU, a pure function of configuration, image and platform.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_launch_digest::InitdataDigest;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::plan::TdAttributes;

use crate::config::{
    Acceleration, ConfigError, Network, Nic, QuoteSocket, SnpOptions, TdxOptions, VmConfig,
};
use crate::image::GuestImage;

/// The CPU model of SNP guests. It is fixed because its signature is part of the launch digest.
pub const CPU_MODEL: &str = "EPYC-v4";

/// What protects the VM, with the host's facts that its command line needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// SEV-SNP.
    Snp {
        /// What the host's processor says.
        host: SnpHost,
        /// The operator's choices.
        options: SnpOptions,
        /// ID block and authentication, with which the PSP starts no other launch.
        identity: Option<Box<Identity>>,
    },
    /// TDX, with the operator's choices.
    Tdx(TdxOptions),
    /// No hardware: the hash table is put into memory by QEMU's loader device.
    Sim {
        /// KVM or TCG.
        acceleration: Acceleration,
        /// File with the hash table.
        hash_table: PathBuf,
        /// Guest-physical address of the table.
        hash_table_address: u64,
    },
}

/// What a processor with SNP says of memory encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpHost {
    /// Position of the encryption bit (CPUID 0x8000001f, EBX bits 5 to 0).
    pub cbitpos: u8,
    /// Physical address bits that encryption takes (EBX bits 11 to 6).
    pub reduced_phys_bits: u8,
}

/// Unix sockets that QEMU listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// Port `casemate.agent`.
    pub agent: PathBuf,
    /// Port `casemate.psp`, simulated platform only.
    pub psp: PathBuf,
    /// Control socket of the software PSP, simulated platform only.
    pub psp_control: PathBuf,
}

impl Sockets {
    /// Longest path of a Unix socket, without its NUL.
    pub const PATH_MAX: usize = 107;

    /// Names the sockets in the VM's private folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            agent: folder.join("agent.sock"),
            psp: folder.join("psp.sock"),
            psp_control: folder.join("psp-qmp.sock"),
        }
    }
}

/// The arguments of QEMU. It finds a connected control socket as its standard input, and starts
/// with its vCPUs paused.
///
/// # Errors
///
/// [`ConfigError`], when a path or a name could not be handed over unchanged.
pub fn command_line(
    config: &VmConfig,
    image: &GuestImage,
    sockets: &Sockets,
    platform: &Platform,
) -> Result<Vec<String>, ConfigError> {
    let mut line = Arguments::default();
    line.add("-name", config.name.as_str());
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot", "-S"] {
        line.flag(flag);
    }
    line.add("-display", "none");
    line.add("-vga", "none");
    line.add("-sandbox", SANDBOX);
    line.add("-rtc", "base=utc");
    add_machine(&mut line, config, platform)?;
    line.add("-bios", text(&image.firmware)?);
    line.add("-kernel", text(&image.kernel)?);
    line.add("-initrd", text(&image.initramfs)?);
    line.add("-append", image.cmdline.as_str());
    line.add("-chardev", "socket,id=control,fd=0");
    line.add("-mon", "chardev=control,mode=control");
    add_ports(&mut line, sockets, platform)?;
    if let Some(file) = &config.initdata {
        let file = escaped(file)?;
        line.add(
            "-blockdev",
            format!(
                "driver=raw,node-name=initdata,read-only=on,file.driver=file,file.filename={file}"
            ),
        );
        line.add(
            "-device",
            format!("virtio-blk-pci,drive=initdata,serial=casemate-initdata,{VIRTIO}"),
        );
    }
    if let Some(network) = &config.network {
        add_network(&mut line, network)?;
    }
    if let Platform::Sim { hash_table, hash_table_address, .. } = platform {
        let file = escaped(hash_table)?;
        line.add(
            "-device",
            format!("loader,file={file},addr={hash_table_address:#x},force-raw=on"),
        );
    }
    if let Some(file) = &config.console {
        line.add("-chardev", format!("file,id=console,path={}", escaped(file)?));
        line.add("-serial", "chardev:console");
    }
    Ok(line.0)
}

/// No process is started, no privilege gained, no resource limit changed by a taken-over QEMU.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Properties of all virtio devices: no option ROM that firmware would run (E3), and the modern
/// interface with DMA through the guest's bounce buffers, which an encrypted guest needs.
const VIRTIO: &str = "romfile=,disable-legacy=on,iommu_platform=on";

/// Legacy devices that no guest of ours drives.
const WITHOUT: &str = "usb=off,vmport=off,hpet=off,smm=off,sata=off,smbus=off,i8042=off,\
                       graphics=off,dump-guest-core=off";

fn add_machine(
    line: &mut Arguments,
    config: &VmConfig,
    platform: &Platform,
) -> Result<(), ConfigError> {
    let epyc_on_kvm = format!("{CPU_MODEL},pmu=off");
    let (machine, acceleration, cpu) = match platform {
        Platform::Snp { .. } => {
            (",kernel-irqchip=split,confidential-guest-support=tee", Acceleration::Kvm, epyc_on_kvm)
        }
        Platform::Tdx(_) => (
            ",kernel-irqchip=split,confidential-guest-support=tee,pic=off",
            Acceleration::Kvm,
            "host,pmu=off".to_owned(),
        ),
        Platform::Sim { acceleration: Acceleration::Kvm, .. } => {
            (",kernel-irqchip=split", Acceleration::Kvm, epyc_on_kvm)
        }
        Platform::Sim { acceleration: Acceleration::Tcg, .. } => {
            ("", Acceleration::Tcg, CPU_MODEL.to_owned())
        }
    };
    line.add("-machine", format!("q35,memory-backend=ram,{WITHOUT}{machine}"));
    line.add(
        "-accel",
        match acceleration {
            Acceleration::Kvm => "kvm",
            Acceleration::Tcg => "tcg,thread=multi,tb-size=128",
        },
    );
    line.add("-cpu", cpu);
    line.add("-smp", config.vcpus.get().to_string());
    let mib = config.memory.get();
    line.add("-m", format!("{mib}M"));
    line.add("-object", format!("memory-backend-memfd,id=ram,size={mib}M,share=on"));
    match platform {
        Platform::Snp { host, options, identity } => {
            let object = snp_object(*host, *options, identity.as_deref(), &config.initdata_digest);
            line.add("-object", object);
        }
        Platform::Tdx(options) => {
            line.add("-object", tdx_object(options, &config.initdata_digest)?);
        }
        Platform::Sim { .. } => {}
    }
    Ok(())
}

/// The parameters of the SNP launch (QEMU, `qapi/qom.json`, `SevSnpGuestProperties`).
fn snp_object(
    host: SnpHost,
    options: SnpOptions,
    identity: Option<&Identity>,
    initdata: &InitdataDigest,
) -> String {
    let SnpHost { cbitpos, reduced_phys_bits } = host;
    let mut object = vec![
        "sev-snp-guest,id=tee".to_owned(),
        format!("cbitpos={cbitpos},reduced-phys-bits={reduced_phys_bits}"),
        format!("policy={},kernel-hashes=on", options.policy.get()),
        format!("host-data={}", STANDARD.encode(initdata.host_data().0)),
    ];
    if let Some(identity) = identity {
        let author = if identity.auth().author_key().is_some() { "on" } else { "off" };
        object.extend([
            format!("id-block={}", STANDARD.encode(identity.block().to_bytes())),
            format!("id-auth={}", STANDARD.encode(identity.auth().to_bytes().as_slice())),
            format!("author-key-enabled={author}"),
        ]);
    }
    if options.vcek_disabled {
        object.push("vcek-disabled=on".to_owned());
    }
    object.join(",")
}

/// The parameters of the TDX launch (QEMU, `qapi/qom.json`, `TdxGuestProperties`).
///
/// MRCONFIGID has 48 bytes; a shorter digest is padded with zeros (initdata specification 0.1.0).
fn tdx_object(options: &TdxOptions, initdata: &InitdataDigest) -> Result<String, ConfigError> {
    let quote_socket = match &options.quote_socket {
        QuoteSocket::Unix(path) => {
            serde_json::json!({ "type": "unix", "path": socket_text(path)? })
        }
        QuoteSocket::Vsock { cid, port } => {
            serde_json::json!({ "type": "vsock", "cid": cid.to_string(), "port": port.to_string() })
        }
    };
    let object = serde_json::json!({
        "qom-type": "tdx-guest",
        "id": "tee",
        "attributes": TD_ATTRIBUTES.bits(),
        "mrconfigid": STANDARD.encode(initdata.mr_config_id()),
        "mrowner": STANDARD.encode(options.mr_owner.0),
        "mrownerconfig": STANDARD.encode(options.mr_owner_config.0),
        "quote-generation-socket": quote_socket,
    });
    Ok(object.to_string())
}

/// No debugging; no #VE that the host could cause by taking a page away.
const TD_ATTRIBUTES: TdAttributes = TdAttributes::DEFAULT;

fn add_ports(
    line: &mut Arguments,
    sockets: &Sockets,
    platform: &Platform,
) -> Result<(), ConfigError> {
    line.add("-device", format!("virtio-serial-pci,id=ports,max_ports=3,{VIRTIO}"));
    let mut ports = vec![("agent", &sockets.agent)];
    if matches!(platform, Platform::Sim { .. }) {
        let control = socket(&sockets.psp_control)?;
        line.add("-chardev", format!("socket,id=psp-control,path={control},server=on,wait=off"));
        line.add("-mon", "chardev=psp-control,mode=control");
        ports.push(("psp", &sockets.psp));
    }
    for (nr, (name, path)) in (1..).zip(ports) {
        let path = socket(path)?;
        line.add("-chardev", format!("socket,id={name},path={path},server=on,wait=off"));
        line.add(
            "-device",
            format!("virtserialport,bus=ports.0,nr={nr},chardev={name},name=casemate.{name}"),
        );
    }
    Ok(())
}

fn add_network(line: &mut Arguments, network: &Network) -> Result<(), ConfigError> {
    if network.nics.len() > Network::MAX_NICS {
        let count = network.nics.len();
        return Err(ConfigError::TooManyNics { count, cap: Network::MAX_NICS });
    }
    for (index, nic) in network.nics.iter().enumerate() {
        nic.check()?;
        let Nic { tap, mac, mtu } = nic;
        line.add(
            "-netdev",
            format!("tap,id=nic{index},ifname={tap},script=no,downscript=no,vhost=off"),
        );
        line.add(
            "-device",
            format!("virtio-net-pci,netdev=nic{index},mac={mac},host_mtu={mtu},{VIRTIO}"),
        );
    }
    Ok(())
}

/// A path as one argument.
fn text(path: &Path) -> Result<&str, ConfigError> {
    let printable = |text: &&str| !text.chars().any(char::is_control);
    path.to_str()
        .filter(|_| path.is_absolute())
        .filter(printable)
        .ok_or_else(|| ConfigError::Path { path: path.to_owned() })
}

/// A path as a value inside an argument, where a comma ends the value and two stand for one.
fn escaped(path: &Path) -> Result<String, ConfigError> {
    text(path).map(|text| text.replace(',', ",,"))
}

fn socket(path: &Path) -> Result<String, ConfigError> {
    socket_text(path).map(|text| text.replace(',', ",,"))
}

fn socket_text(path: &Path) -> Result<&str, ConfigError> {
    if path.as_os_str().len() > Sockets::PATH_MAX {
        return Err(ConfigError::SocketPath { path: path.to_owned(), cap: Sockets::PATH_MAX });
    }
    text(path)
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }

    fn flag(&mut self, option: &str) {
        self.0.push(option.to_owned());
    }
}
