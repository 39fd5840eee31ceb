// SPDX-License-Identifier: Apache-2.0
//! `mint`: writes evidence into a folder.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use casemate_tee_sim::mint::az_vtpm::{self, AzFault, Hardware, Version};
use casemate_tee_sim::mint::fault::Fault;
use casemate_tee_sim::mint::snp::{self, Levels, Product, ReportVersion, SignerKind, SnpFault};
use casemate_tee_sim::mint::tdx::{self, Form, TdxFault};
use casemate_tee_sim::mint::{Minted, Tee};
use clap::{Args, Subcommand, ValueEnum};

use super::{Source, bytes, number};

/// Writes evidence of any product, with its certificates and collateral.
#[derive(Args)]
#[command(subcommand_negates_reqs = true, arg_required_else_help = true)]
pub(crate) struct Mint {
    /// Prints every fault that --mutate takes: technology, name, attack, reasons, sentence.
    #[arg(long)]
    list_mutations: bool,
    #[command(subcommand)]
    evidence: Option<Evidence>,
}

#[derive(Subcommand)]
enum Evidence {
    /// An SNP report: report.bin, vcek.der or vlek.der, chain.pem (ASK and ARK), root.pem, crl.der,
    /// policy.toml and expected.json.
    Snp(Snp),
    /// A TDX quote: quote.bin, chain.pem, root.pem, collateral.json, event-log.bin, policy.toml and
    /// expected.json.
    Tdx(Tdx),
    /// Evidence of an SNP guest on Azure, behind a TPM: evidence.json, chain.pem, ask.pem, root.pem,
    /// crl.der, policy.toml and expected.json.
    AzSnpVtpm(AzVtpm),
    /// Evidence of a TD on Azure, behind a TPM: evidence.json, chain.pem, root.pem, collateral.json,
    /// policy.toml and expected.json.
    AzTdxVtpm(AzVtpm),
}

#[derive(Args)]
struct Snp {
    #[command(flatten)]
    source: Source,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Product line and model.
    #[arg(long, value_enum, default_value_t = ProductName::Genoa)]
    product: ProductName,
    /// Version of the report; Turin has none before 3.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=5))]
    report_version: u8,
    /// Kind of the signing key.
    #[arg(long, value_enum, default_value_t = SignerName::Vcek)]
    signer: SignerName,
    /// Patch levels: BOOTLOADER,TEE,SNP,MICROCODE, with FMC before them on Turin.
    #[arg(long)]
    tcb: Option<Levels>,
    /// Guest policy.
    #[arg(long, value_parser = number)]
    policy: Option<u64>,
    /// PLATFORM_INFO.
    #[arg(long, value_parser = number)]
    platform_info: Option<u64>,
    /// REPORT_DATA, 64 bytes in hexadecimal digits.
    #[arg(long)]
    report_data: Option<String>,
    /// HOST_DATA, 32 bytes.
    #[arg(long)]
    host_data: Option<String>,
    /// Launch digest, 48 bytes.
    #[arg(long)]
    measurement: Option<String>,
    /// Puts a fault in; may be given several times.
    #[arg(long, value_name = "NAME")]
    mutate: Vec<String>,
}

#[derive(Args)]
struct Tdx {
    #[command(flatten)]
    source: Source,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Version of the quote, and its body.
    #[arg(long, value_enum, default_value_t = FormName::V4)]
    form: FormName,
    /// TEE_TCB_SVN, 16 bytes in hexadecimal digits.
    #[arg(long)]
    tee_tcb_svn: Option<String>,
    /// TDATTRIBUTES.
    #[arg(long, value_parser = number)]
    attributes: Option<u64>,
    /// XFAM.
    #[arg(long, value_parser = number)]
    xfam: Option<u64>,
    /// REPORTDATA, 64 bytes.
    #[arg(long)]
    report_data: Option<String>,
    /// MRCONFIGID, 48 bytes.
    #[arg(long)]
    mr_config_id: Option<String>,
    /// MRTD, 48 bytes.
    #[arg(long)]
    mrtd: Option<String>,
    /// Puts a fault in; may be given several times.
    #[arg(long, value_name = "NAME")]
    mutate: Vec<String>,
}

#[derive(Args)]
struct AzVtpm {
    #[command(flatten)]
    source: Source,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Version of the JSON form.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    evidence_version: u8,
    /// What the quote is over, up to 64 bytes in hexadecimal digits.
    #[arg(long)]
    nonce: Option<String>,
    /// Digest of the initdata, which register 8 is extended with, 32 bytes.
    #[arg(long)]
    init_data: Option<String>,
    /// Register 4, the boot programs, 32 bytes.
    #[arg(long)]
    pcr4: Option<String>,
    /// Register 9, kernel and initramfs, 32 bytes.
    #[arg(long)]
    pcr9: Option<String>,
    /// Launch digest or MRTD of the paravisor, 48 bytes.
    #[arg(long)]
    measurement: Option<String>,
    /// Puts a fault in; may be given several times.
    #[arg(long, value_name = "NAME")]
    mutate: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProductName {
    Milan,
    Genoa,
    Siena,
    Turin,
}

#[derive(Clone, Copy, ValueEnum)]
enum SignerName {
    Vcek,
    Vlek,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormName {
    /// Version 4, body of TDX 1.0.
    V4,
    /// Version 5, body type 2: TDX 1.0.
    V5Td10,
    /// Version 5, body type 3: TDX 1.5.
    V5Td15,
}

impl Mint {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.list_mutations {
            return std::io::stdout().write_all(list().as_bytes()).context("failed to print");
        }
        match self.evidence {
            Some(Evidence::Snp(snp)) => snp.run(),
            Some(Evidence::Tdx(tdx)) => tdx.run(),
            Some(Evidence::AzSnpVtpm(az)) => {
                let good = az_vtpm::Options::snp(az.source.at()?);
                az.run(good)
            }
            Some(Evidence::AzTdxVtpm(az)) => {
                let good = az_vtpm::Options::tdx(az.source.at()?);
                az.run(good)
            }
            None => bail!("say which evidence to mint: snp, tdx, az-snp-vtpm or az-tdx-vtpm"),
        }
    }
}

impl Snp {
    fn run(self) -> anyhow::Result<()> {
        let faults = by_name(&self.mutate, Tee::Snp, SnpFault::by_name)?;
        let names = faults.iter().map(|fault| fault.fault()).collect();
        let minted = self.options()?.mint(&self.source.keys()?, &faults)?;
        write(&minted, &self.out, names)
    }

    fn options(&self) -> anyhow::Result<snp::Options> {
        let product = match self.product {
            ProductName::Milan => Product::Milan,
            ProductName::Genoa => Product::Genoa,
            ProductName::Siena => Product::Siena,
            ProductName::Turin => Product::Turin,
        };
        let good = snp::Options::new(product, self.source.at()?);
        Ok(snp::Options {
            version: match self.report_version {
                2 => ReportVersion::V2,
                3 => ReportVersion::V3,
                4 => ReportVersion::V4,
                _ => ReportVersion::V5,
            },
            signer: match self.signer {
                SignerName::Vcek => SignerKind::Vcek,
                SignerName::Vlek => SignerKind::Vlek,
            },
            tcb: self.tcb.unwrap_or(good.tcb),
            policy: self.policy.unwrap_or(good.policy),
            platform_info: self.platform_info.unwrap_or(good.platform_info),
            report_data: given(self.report_data.as_deref(), good.report_data)?,
            host_data: given(self.host_data.as_deref(), good.host_data)?,
            measurement: given(self.measurement.as_deref(), good.measurement)?,
            ..good
        })
    }
}

impl Tdx {
    fn run(self) -> anyhow::Result<()> {
        let faults = by_name(&self.mutate, Tee::Tdx, TdxFault::by_name)?;
        let names = faults.iter().map(|fault| fault.fault()).collect();
        let minted = self.options()?.mint(&self.source.keys()?, &faults)?;
        write(&minted, &self.out, names)
    }

    fn options(&self) -> anyhow::Result<tdx::Options> {
        let form = match self.form {
            FormName::V4 => Form::V4,
            FormName::V5Td10 => Form::V5Td10,
            FormName::V5Td15 => Form::V5Td15,
        };
        let good = tdx::Options::new(form, self.source.at()?);
        Ok(tdx::Options {
            tee_tcb_svn: given(self.tee_tcb_svn.as_deref(), good.tee_tcb_svn)?,
            attributes: self.attributes.unwrap_or(good.attributes),
            xfam: self.xfam.unwrap_or(good.xfam),
            report_data: given(self.report_data.as_deref(), good.report_data)?,
            mr_config_id: given(self.mr_config_id.as_deref(), good.mr_config_id)?,
            mr_td: given(self.mrtd.as_deref(), good.mr_td)?,
            ..good
        })
    }
}

impl AzVtpm {
    fn run(self, good: az_vtpm::Options) -> anyhow::Result<()> {
        let tee = good.tee();
        let faults = by_name(&self.mutate, tee, |name| AzFault::by_name(tee, name))?;
        let names = faults.iter().map(|fault| fault.fault()).collect();
        let minted = self.options(good)?.mint(&self.source.keys()?, &faults)?;
        write(&minted, &self.out, names)
    }

    fn options(&self, good: az_vtpm::Options) -> anyhow::Result<az_vtpm::Options> {
        let measurement = self.measurement.as_deref();
        Ok(az_vtpm::Options {
            version: match self.evidence_version {
                0 => Version::V0,
                1 => Version::V1,
                _ => Version::V2,
            },
            hardware: match good.hardware {
                Hardware::Snp(good) => Hardware::Snp(snp::Options {
                    measurement: given(measurement, good.measurement)?,
                    ..good
                }),
                Hardware::Tdx(good) => {
                    Hardware::Tdx(tdx::Options { mr_td: given(measurement, good.mr_td)?, ..good })
                }
            },
            nonce: match &self.nonce {
                Some(text) => hex::decode(text).context("the nonce is not hexadecimal")?,
                None => good.nonce,
            },
            init_data: given(self.init_data.as_deref(), good.init_data)?,
            boot: given(self.pcr4.as_deref(), good.boot)?,
            kernel: given(self.pcr9.as_deref(), good.kernel)?,
        })
    }
}

fn given<const N: usize>(text: Option<&str>, otherwise: [u8; N]) -> anyhow::Result<[u8; N]> {
    text.map_or(Ok(otherwise), bytes)
}

fn by_name<F>(
    names: &[String],
    tee: Tee,
    find: impl Fn(&str) -> Option<F>,
) -> anyhow::Result<Vec<F>> {
    let find = |name: &String| {
        find(name).with_context(|| {
            format!("there is no fault {name:?} of {}; see mint --list-mutations", tee.name())
        })
    };
    names.iter().map(find).collect()
}

fn write(minted: &Minted, out: &std::path::Path, faults: Vec<&Fault>) -> anyhow::Result<()> {
    minted.write(out, &faults).context("failed to write the evidence")
}

fn list() -> String {
    let line = |tee: Tee, fault: &Fault| {
        let codes = if fault.codes.is_empty() { "-".to_owned() } else { fault.codes.join("|") };
        format!("{}\t{}\t{}\t{codes}\t{}\n", tee.name(), fault.name, fault.attack, fault.text)
    };
    let snp = SnpFault::ALL.iter().map(|fault| line(Tee::Snp, fault.fault()));
    let tdx = TdxFault::ALL.iter().map(|fault| line(Tee::Tdx, fault.fault()));
    let az = [Tee::AzSnpVtpm, Tee::AzTdxVtpm]
        .into_iter()
        .flat_map(|tee| AzFault::of(tee).into_iter().map(move |fault| line(tee, fault.fault())));
    snp.chain(tdx).chain(az).collect()
}
