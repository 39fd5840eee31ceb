// SPDX-License-Identifier: Apache-2.0
//! The broker's folder: made once, then opened.

use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rustls::pki_types::ServerName;

use crate::clock::Clock;
use crate::error::BrokerError;
use crate::store::Store;
use crate::token;

/// The CA's certificate, for the initdata.
pub(crate) const CA_FILE: &str = "ca.pem";
/// The server's certificate.
pub(crate) const SERVER_FILE: &str = "server.pem";
/// The server's private key.
pub(crate) const SERVER_KEY_FILE: &str = "server.key";
/// The private key that signs tokens, PKCS #8 DER.
pub(crate) const TOKEN_KEY_FILE: &str = "token.key";
/// The database.
pub(crate) const DATABASE_FILE: &str = "broker.sqlite";
/// The audit log.
pub(crate) const AUDIT_FILE: &str = "audit.jsonl";
/// Demands on every guest.
pub(crate) const RULES_FILE: &str = "rules.toml";
/// Demands in Rego beside them, if there are any.
pub(crate) const REGO_RULES_FILE: &str = "rules.rego";
/// Reference values for those, beside the broker's own.
#[cfg(feature = "rego")]
pub(crate) const REGO_REFERENCES_FILE: &str = "rules-references.json";

/// Makes a broker in `dir`: a TLS CA and a certificate for `hosts`, the key that signs tokens, an
/// empty database and a file of rules to fill in. Denies everything until roots, reference values
/// and grants are added.
///
/// # Errors
///
/// [`BrokerError`] when the folder holds a broker already, a host is malformed, or a file cannot be
/// written.
///
/// # Security
///
/// Folder and files are readable by their owner only. The CA's private key is used once and not
/// kept: nobody can make another certificate that the guests accept.
pub async fn init(dir: &Path, hosts: &[String], clock: &dyn Clock) -> Result<(), BrokerError> {
    if dir.join(DATABASE_FILE).exists() || dir.join(CA_FILE).exists() {
        return Err(BrokerError::Exists { path: dir.to_owned() });
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(BrokerError::file("create folder", dir))?;
    let certificates = make_certificates(hosts, clock.now())?;
    write_new(dir, SERVER_KEY_FILE, certificates.server_key.as_bytes())?;
    write_new(dir, SERVER_FILE, certificates.server.as_bytes())?;
    write_new(dir, TOKEN_KEY_FILE, &token::generate_key()?)?;
    write_new(dir, RULES_FILE, RULES_TEMPLATE.as_bytes())?;
    // Made here so that it has the mode of the other files before SQLite opens it.
    write_new(dir, DATABASE_FILE, b"")?;
    Store::create(&dir.join(DATABASE_FILE)).await?;
    // Last: a folder with a CA is a whole one.
    write_new(dir, CA_FILE, certificates.ca.as_bytes())
}

struct Certificates {
    ca: String,
    server: String,
    server_key: zeroize::Zeroizing<String>,
}

fn make_certificates(hosts: &[String], now: u64) -> Result<Certificates, BrokerError> {
    let failed = |source| BrokerError::Certificate { source };
    let usable = |host: &String| ServerName::try_from(host.as_str()).is_ok();
    if hosts.is_empty() || !hosts.iter().all(usable) {
        return Err(BrokerError::HostName);
    }
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut ca = params(Vec::new(), "Casemate broker CA", now)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca.self_signed(&ca_key).map_err(failed)?;
    let issuer = Issuer::new(ca, ca_key);

    let server_key = KeyPair::generate().map_err(failed)?;
    let mut server = params(hosts.to_vec(), "Casemate broker", now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_certificate = server.signed_by(&server_key, &issuer).map_err(failed)?;
    Ok(Certificates {
        ca: ca_certificate.pem(),
        server: server_certificate.pem(),
        server_key: zeroize::Zeroizing::new(server_key.serialize_pem()),
    })
}

fn params(
    hosts: Vec<String>,
    common_name: &str,
    now: u64,
) -> Result<CertificateParams, BrokerError> {
    let mut params = CertificateParams::new(hosts).map_err(|_| BrokerError::HostName)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // A guest's clock is its host's and may lag behind.
    params.not_before = epoch + Duration::from_secs(now).saturating_sub(CLOCK_SLACK);
    params.not_after = epoch + Duration::from_secs(now).saturating_add(CERTIFICATE_LIFETIME);
    Ok(params)
}

/// Writes a file that must not exist yet, readable by its owner only.
fn write_new(dir: &Path, name: &str, content: &[u8]) -> Result<(), BrokerError> {
    let path = dir.join(name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .map_err(BrokerError::file("write", path))
}

/// Reads a file of the folder, at most [`MAX_FILE_BYTES`].
pub(crate) fn read(dir: &Path, name: &str) -> Result<Vec<u8>, BrokerError> {
    let path = dir.join(name);
    let size = fs::metadata(&path).map_err(BrokerError::file("read", &path))?.len();
    if size > MAX_FILE_BYTES {
        let source = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        return Err(BrokerError::File { action: "read", path, source });
    }
    fs::read(&path).map_err(BrokerError::file("read", path))
}

/// Largest key, certificate or rules file, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

const CLOCK_SLACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Guests pin the CA in their initdata, so that renewing it means to launch them anew.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// It names the place itself: there is no default for it.
pub(crate) const RULES_TEMPLATE: &str = "\
# Demands on every guest, beside those that cannot be waived (no debug, no migration agent).
# Changes take effect with the next attestation. All rules: docs/how-to/verify-evidence.md
[snp]
where = \"any-genuine-chip\"            # or { chips = [\"<128 hexadecimal digits>\"], providers = [\"CN=...\"] }
measurement = { reference = \"snp_launch_measurement\" }  # those of `casemate-broker reference add`
host-data = \"initdata\"                # each resource is allowed to named initdata
#
# require-crl = true                  # AMD's revocation list must be there: from the kds of collateral.toml, or the host
# allow-products = [\"milan\"]          # refused unless named here: its chips' keys can be extracted
# guest-svn = \">= 1\"
# abi = \">= 1.55\"
#
# [snp.guest]
# forbid-smt = true
# require-single-socket = true
#
# [snp.platform]
# require-alias-check = false         # demanded unless it says so here (AMD-SB-3015)
#
# [snp.tcb.genoa]                     # for the reported and the committed TCB; other lines are refused
# floor = { bootloader = \">= 10\", snp = \">= 23\", microcode = \">= 84\" }
#
# [tdx]                               # without this table no TD is accepted; it needs collateral.toml
# where = \"any-genuine-chip\"          # or { platforms = [\"<32 hexadecimal digits>\"] }
# mrtd = { reference = \"tdx_mrtd\" }   # those of `casemate-broker reference add --mrtd`
# rtmr1 = { reference = \"tdx_rtmr1\" } # MRTD is of the firmware alone: these two are of kernel, command
# rtmr2 = { reference = \"tdx_rtmr2\" } # line and initial RAM disk; without them any is accepted
# mr-config-id = \"initdata\"
# require-event-log = true
";
