// SPDX-License-Identifier: Apache-2.0
//! The key broker's command line.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use casemate_broker::Broker;
use casemate_broker::BrokerError;
use casemate_broker::RootChoice;
use casemate_broker::Store;
use casemate_broker::SystemClock;
use casemate_broker::TdRegister;
use casemate_broker::init;
use casemate_broker::serve;
use casemate_kbs_protocol::MAX_RESOURCE_BYTES;
use casemate_kbs_protocol::ResourcePath;
use casemate_kbs_protocol::Secret;
use casemate_verifier::Measurement;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use zeroize::Zeroizing;

/// Key broker: verifies guests' evidence and releases resources to guests that their owner named.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a broker's folder: TLS CA and certificate, token key, empty database.
    Init {
        #[command(flatten)]
        folder: Folder,
        /// Host names and addresses that guests reach the broker by.
        #[arg(long, required = true, num_args = 1.., value_name = "NAME|IP")]
        host: Vec<String>,
    },
    /// Serve guests until SIGTERM or SIGINT.
    Serve {
        #[command(flatten)]
        folder: Folder,
        /// Address and port; port 0 takes a free one. The address in use is printed.
        #[arg(long, value_name = "ADDR:PORT")]
        listen: SocketAddr,
    },
    /// Roots of trust that evidence may end in.
    #[command(subcommand)]
    Root(RootCommand),
    /// Launch digests that guests may have.
    #[command(subcommand)]
    Reference(ReferenceCommand),
    /// Resources, and the initdata they are allowed to.
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Show roots, reference values, resources (never their values) and grants.
    List {
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Args)]
struct Folder {
    /// The broker's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum RootCommand {
    /// Trust a root. A simulated one proves nothing about hardware.
    Add {
        #[command(flatten)]
        folder: Folder,
        #[arg(long)]
        name: String,
        /// amd-milan, amd-genoa, amd-turin, intel, simulated or simulated-tdx.
        #[arg(long)]
        kind: RootChoice,
        /// PEM with the ARK and, optionally, ASK and ASVK; for TDX with the root alone.
        file: PathBuf,
    },
    /// No longer trust a root.
    Remove {
        #[command(flatten)]
        folder: Folder,
        #[arg(long)]
        name: String,
    },
}

#[derive(Subcommand)]
enum ReferenceCommand {
    /// Accept guests with these launch digests.
    Add {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        values: References,
    },
    /// No longer accept guests with these launch digests.
    Remove {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        values: References,
    },
}

/// Launch digests, each 96 hexadecimal digits.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct References {
    /// Of an SNP guest, as `casemate measure` prints; rules name the set `snp_launch_measurement`.
    #[arg(long, value_name = "HEX")]
    measurement: Vec<Measurement>,
    /// MRTD of a TD; rules name the set `tdx_mrtd`.
    #[arg(long, value_name = "HEX")]
    mrtd: Vec<Measurement>,
    /// RTMR0 of a TD; rules name the sets `tdx_rtmr0` to `tdx_rtmr3`.
    #[arg(long, value_name = "HEX")]
    rtmr0: Vec<Measurement>,
    /// RTMR1 of a TD.
    #[arg(long, value_name = "HEX")]
    rtmr1: Vec<Measurement>,
    /// RTMR2 of a TD.
    #[arg(long, value_name = "HEX")]
    rtmr2: Vec<Measurement>,
    /// RTMR3 of a TD.
    #[arg(long, value_name = "HEX")]
    rtmr3: Vec<Measurement>,
}

impl References {
    /// Those of TDs, each with what it is for.
    fn of_tds(&self) -> impl Iterator<Item = (TdRegister, Measurement)> {
        let Self { mrtd, rtmr0, rtmr1, rtmr2, rtmr3, .. } = self;
        let values = [mrtd, rtmr0, rtmr1, rtmr2, rtmr3];
        let each = TdRegister::ALL.into_iter().zip(values);
        each.flat_map(|(register, values)| values.iter().map(move |value| (register, *value)))
    }
}

#[derive(Subcommand)]
enum ResourceCommand {
    /// Store a file's content under a name. Nobody may have it until it is allowed.
    Put {
        #[command(flatten)]
        folder: Folder,
        /// repository/type/tag
        path: ResourcePath,
        /// The file with the value; `-` for standard input.
        file: PathBuf,
    },
    /// Allow a resource to guests with this initdata.
    Allow {
        #[command(flatten)]
        folder: Folder,
        /// repository/type/tag
        path: ResourcePath,
        #[arg(long, value_name = "HEX")]
        initdata: InitdataDigest,
    },
    /// Take a grant back.
    Deny {
        #[command(flatten)]
        folder: Folder,
        /// repository/type/tag
        path: ResourcePath,
        #[arg(long, value_name = "HEX")]
        initdata: InitdataDigest,
    },
    /// Remove a resource and its grants.
    Remove {
        #[command(flatten)]
        folder: Folder,
        /// repository/type/tag
        path: ResourcePath,
    },
}

/// HOST_DATA of a guest, 64 hexadecimal digits.
#[derive(Clone)]
struct InitdataDigest([u8; 32]);

impl std::str::FromStr for InitdataDigest {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; 32];
        hex::decode_to_slice(s, &mut digest)
            .map_err(|_| "an initdata digest is 64 hexadecimal digits")?;
        Ok(Self(digest))
    }
}

fn main() -> ExitCode {
    // The child that evaluates a policy has one thread and nothing set up.
    casemate_broker::child_main().unwrap_or_else(answer)
}

#[tokio::main]
async fn answer() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.code();
            eprintln!("{code}: {}; next: {}", chain(&error), code.next_step());
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), BrokerError> {
    match command {
        Command::Init { folder, host } => {
            init(&folder.dir, &host, &SystemClock).await?;
            println!("{}", folder.dir.join("ca.pem").display());
            Ok(())
        }
        Command::Serve { folder, listen } => run_server(&folder.dir, listen).await,
        Command::Root(command) => run_root(command).await,
        Command::Reference(command) => run_reference(command).await,
        Command::Resource(command) => run_resource(command).await,
        Command::List { folder } => list(&folder.dir).await,
    }
}

async fn run_server(dir: &Path, listen: SocketAddr) -> Result<(), BrokerError> {
    let failed = |source| BrokerError::Listen { address: listen.to_string(), source };
    let broker = Broker::open(dir, Arc::new(SystemClock)).await?;
    broker.check_rules().await?;
    for root in broker.store().roots().await?.kinds() {
        tracing::info!(root, "evidence may end in this root");
    }
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    println!("https://{}", listener.local_addr().map_err(failed)?);
    serve(listener, broker, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

async fn run_root(command: RootCommand) -> Result<(), BrokerError> {
    match command {
        RootCommand::Add { folder, name, kind, file } => {
            let pem = String::from_utf8_lossy(&read_file(&file)?).into_owned();
            let store = Store::open(&folder.dir).await?;
            let root = store.add_root(&name, kind, &pem).await?;
            println!("{} {}", root.kind, hex::encode(root.fingerprint));
            store.close().await;
            Ok(())
        }
        RootCommand::Remove { folder, name } => {
            let store = Store::open(&folder.dir).await?;
            store.remove_root(&name).await?;
            store.close().await;
            Ok(())
        }
    }
}

async fn run_reference(command: ReferenceCommand) -> Result<(), BrokerError> {
    let (ReferenceCommand::Add { folder, .. } | ReferenceCommand::Remove { folder, .. }) = &command;
    let store = Store::open(&folder.dir).await?;
    match command {
        ReferenceCommand::Add { values, .. } => {
            for value in &values.measurement {
                store.add_reference(*value).await?;
            }
            for (register, value) in values.of_tds() {
                store.add_tdx_reference(register, value).await?;
            }
        }
        ReferenceCommand::Remove { values, .. } => {
            for value in &values.measurement {
                store.remove_reference(*value).await?;
            }
            for (register, value) in values.of_tds() {
                store.remove_tdx_reference(register, value).await?;
            }
        }
    }
    store.close().await;
    Ok(())
}

async fn run_resource(command: ResourceCommand) -> Result<(), BrokerError> {
    let (ResourceCommand::Put { folder, .. }
    | ResourceCommand::Allow { folder, .. }
    | ResourceCommand::Deny { folder, .. }
    | ResourceCommand::Remove { folder, .. }) = &command;
    let store = Store::open(&folder.dir).await?;
    match command {
        ResourceCommand::Put { path, file, .. } => {
            store.put_resource(&path, &Secret::from(read_file(&file)?)).await?;
        }
        ResourceCommand::Allow { path, initdata, .. } => store.allow(&path, &initdata.0).await?,
        ResourceCommand::Deny { path, initdata, .. } => store.deny(&path, &initdata.0).await?,
        ResourceCommand::Remove { path, .. } => store.remove_resource(&path).await?,
    }
    store.close().await;
    Ok(())
}

async fn list(dir: &Path) -> Result<(), BrokerError> {
    let store = Store::open(dir).await?;
    let listing = store.list().await?;
    store.close().await;
    for (name, kind) in listing.roots {
        println!("root {name} {kind}");
    }
    for measurement in listing.references {
        println!("reference {measurement}");
    }
    for (set, value) in listing.tdx_references {
        println!("reference {set} {value}");
    }
    for (path, bytes) in listing.resources {
        println!("resource {path} {bytes} bytes");
    }
    for (path, initdata) in listing.grants {
        println!("allowed {path} to initdata {initdata}");
    }
    Ok(())
}

/// Reads a file, or standard input for `-`, of at most the size of a resource.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, BrokerError> {
    use std::io::Read as _;
    let failed = |source| BrokerError::File { action: "read", path: path.to_owned(), source };
    let mut content = Zeroizing::new(Vec::new());
    let cap = u64::try_from(MAX_RESOURCE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    if path == Path::new("-") {
        std::io::stdin().lock().take(cap).read_to_end(&mut content).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(cap).read_to_end(&mut content).map_err(failed)?;
    }
    Ok(content)
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    text.replace('\n', " ")
}
