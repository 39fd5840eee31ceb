// SPDX-License-Identifier: Apache-2.0
//! What a PCK certificate says of its platform: the SGX extension (PCK Certificate and CRL Profile
//! Specification, section 1.3.5).

use x509_cert::der::Decode;
use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::OctetStringRef;

/// The platform that a PCK key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckExtension {
    /// Platform provisioning id: names the platform, also over TCB recoveries.
    pub ppid: [u8; 16],
    /// The 16 components of the TCB that the key was derived from.
    pub components: [u8; 16],
    /// Version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// CPUSVN in raw form.
    pub cpu_svn: [u8; 16],
    /// Id of the provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// Family, model, stepping, platform and custom SKU.
    pub fmspc: [u8; 6],
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// Id of the platform's instance; platforms of several packages only.
    pub platform_instance_id: Option<[u8; 16]>,
    /// How the platform is set up; certificates of the platform CA only.
    pub flags: PlatformFlags,
}

/// How a platform is set up, as far as its certificate says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlatformFlags {
    /// Packages can be added to the platform.
    pub dynamic_platform: Option<bool>,
    /// Intel keeps the platform's root keys.
    pub cached_keys: Option<bool>,
    /// Multithreading is on.
    pub smt_enabled: Option<bool>,
}

impl PckExtension {
    /// Reads the extension's value.
    ///
    /// # Errors
    ///
    /// [`PckError`] when it is malformed, or a member is missing, there twice, or of another size.
    pub fn parse(value: &[u8]) -> Result<Self, PckError> {
        let members = Members::read(value)?;
        let tcb = members.get(TCB).ok_or(PckError::Missing { member: "TCB" })?;
        let tcb = Members::read(tcb)?;
        let mut components = [0; 16];
        for (number, component) in (1..).zip(components.iter_mut()) {
            *component = tcb.integer(number, "TCB component")?;
        }
        let flags = match members.get(CONFIGURATION) {
            Some(value) => {
                let flags = Members::read(value)?;
                PlatformFlags {
                    dynamic_platform: flags.optional(1)?,
                    cached_keys: flags.optional(2)?,
                    smt_enabled: flags.optional(3)?,
                }
            }
            None => PlatformFlags::default(),
        };
        let platform_instance_id = match members.get(PLATFORM_INSTANCE) {
            Some(_) => Some(members.bytes(PLATFORM_INSTANCE, "platform instance id")?),
            None => None,
        };
        Ok(Self {
            ppid: members.bytes(PPID, "PPID")?,
            components,
            pce_svn: tcb.integer(PCE_SVN, "PCESVN")?,
            cpu_svn: tcb.bytes(CPU_SVN, "CPUSVN")?,
            pce_id: members.bytes(PCE_ID, "PCEID")?,
            fmspc: members.bytes(FMSPC, "FMSPC")?,
            sgx_type: members.enumerated(SGX_TYPE, "SGX type")?,
            platform_instance_id,
            flags,
        })
    }
}

/// Why an SGX extension cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PckError {
    /// Not DER, or of another form.
    #[error("the SGX extension is malformed")]
    Malformed {
        /// Where and why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// A member is not there.
    #[error("the SGX extension has no {member}")]
    Missing {
        /// Which.
        member: &'static str,
    },
    /// A member has another size.
    #[error("the SGX extension's {member} has another size")]
    Size {
        /// Which.
        member: &'static str,
    },
    /// A member is there twice.
    #[error("the SGX extension has a member twice")]
    Duplicate,
    /// More members than there can be.
    #[error("the SGX extension has more than {MAX_MEMBERS} members")]
    TooMany,
}

impl From<x509_cert::der::Error> for PckError {
    fn from(source: x509_cert::der::Error) -> Self {
        Self::Malformed { source }
    }
}

/// `SEQUENCE OF SEQUENCE { id, value }`: each value whole, by the last number of its id.
struct Members<'a>(Vec<(u32, &'a [u8])>);

impl<'a> Members<'a> {
    fn read(der: &'a [u8]) -> Result<Self, PckError> {
        let mut found: Vec<(u32, &'a [u8])> = Vec::with_capacity(MAX_MEMBERS);
        let mut reader = SliceReader::new(der)?;
        reader.sequence(|members| {
            while !members.is_finished() {
                let (id, value) = members.sequence(|member| {
                    let id: ObjectIdentifier = member.decode()?;
                    Ok::<_, x509_cert::der::Error>((id, member.tlv_bytes()?))
                })?;
                let number = id.arcs().last().unwrap_or_default();
                if found.iter().any(|(known, _)| *known == number) {
                    return Err(PckError::Duplicate);
                }
                if found.len() == MAX_MEMBERS {
                    return Err(PckError::TooMany);
                }
                found.push((number, value));
            }
            Ok(())
        })?;
        reader.finish()?;
        Ok(Self(found))
    }

    fn get(&self, number: u32) -> Option<&'a [u8]> {
        self.0.iter().find_map(|(known, value)| (*known == number).then_some(*value))
    }

    fn required(&self, number: u32, member: &'static str) -> Result<&'a [u8], PckError> {
        self.get(number).ok_or(PckError::Missing { member })
    }

    fn bytes<const N: usize>(
        &self,
        number: u32,
        member: &'static str,
    ) -> Result<[u8; N], PckError> {
        let value = <&OctetStringRef>::from_der(self.required(number, member)?)?;
        value.as_bytes().try_into().map_err(|_| PckError::Size { member })
    }

    fn integer<T: Decode<'a, Error = x509_cert::der::Error>>(
        &self,
        number: u32,
        member: &'static str,
    ) -> Result<T, PckError> {
        Ok(T::from_der(self.required(number, member)?)?)
    }

    fn enumerated(&self, number: u32, member: &'static str) -> Result<u8, PckError> {
        let value = AnyRef::from_der(self.required(number, member)?)?;
        match value.value() {
            [byte] => Ok(*byte),
            _ => Err(PckError::Size { member }),
        }
    }

    fn optional(&self, number: u32) -> Result<Option<bool>, PckError> {
        match self.get(number) {
            Some(value) => Ok(Some(bool::from_der(value)?)),
            None => Ok(None),
        }
    }
}

/// Most members of one sequence: 16 components, PCESVN and CPUSVN.
const MAX_MEMBERS: usize = 24;

// Last numbers of the ids below 1.2.840.113741.1.13.1, and of those below its TCB.
const PPID: u32 = 1;
const TCB: u32 = 2;
const PCE_ID: u32 = 3;
const FMSPC: u32 = 4;
const SGX_TYPE: u32 = 5;
const PLATFORM_INSTANCE: u32 = 6;
const CONFIGURATION: u32 = 7;
const PCE_SVN: u32 = 17;
const CPU_SVN: u32 = 18;
