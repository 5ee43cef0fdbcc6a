//! Self-made certificates, so that a first run needs no tools.
use std::time::SystemTime;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
use ring::digest;
use time::{Duration, OffsetDateTime};

use crate::error::{Code, error, fail};

/// RFC 5280 allows more, browsers do not; nobody needs a self-made certificate for longer.
const DAYS_MAX: u32 = 36_500;

#[napi(object, object_from_js = false)]
pub struct NativeCertificate {
    pub certificate_pem: String,
    pub private_key_pem: String,
    /// Public key, SPKI in DER: what RFC 7250 calls a raw public key.
    pub public_key: Uint8Array,
    pub certificate_sha256: Uint8Array,
    pub public_key_sha256: Uint8Array,
}

/// `not_before` in seconds since 1970; absent: five minutes ago, for peers whose clock is late.
#[napi]
pub fn generate_certificate(
    names: Vec<String>,
    days: u32,
    key_type: String,
    not_before: Option<f64>,
) -> Result<NativeCertificate, Code> {
    if names.is_empty() || days == 0 || days > DAYS_MAX {
        return fail("ERR_CERTIFICATE", format!("a certificate needs a name and 1 to {DAYS_MAX} days, not {days}"));
    }
    let algorithm = match key_type.as_str() {
        "ecdsa-p256" => &PKCS_ECDSA_P256_SHA256,
        "ed25519" => &PKCS_ED25519,
        other => return fail("ERR_CERTIFICATE", format!("key type '{other}': use 'ecdsa-p256' or 'ed25519'")),
    };
    let refuse = |problem: rcgen::Error| error("ERR_CERTIFICATE", format!("cannot make a certificate: {problem}"));
    let key = KeyPair::generate_for(algorithm).map_err(refuse)?;
    let mut params = CertificateParams::new(names.clone()).map_err(refuse)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    let start = match not_before {
        None => OffsetDateTime::from(SystemTime::now()) - Duration::minutes(5),
        Some(seconds) => OffsetDateTime::from_unix_timestamp(seconds as i64)
            .map_err(|_| error("ERR_CERTIFICATE", format!("notBefore {seconds} is not a date")))?,
    };
    params.not_before = start;
    params.not_after = start
        .checked_add(Duration::days(i64::from(days)))
        .ok_or_else(|| error("ERR_CERTIFICATE", "the certificate would end after the year 9999"))?;
    let certificate = params.self_signed(&key).map_err(refuse)?;
    let public_key = key.subject_public_key_info();
    let sha256 = |bytes: &[u8]| Uint8Array::from(digest::digest(&digest::SHA256, bytes).as_ref().to_vec());
    Ok(NativeCertificate {
        certificate_pem: certificate.pem(),
        private_key_pem: key.serialize_pem(),
        certificate_sha256: sha256(certificate.der()),
        public_key_sha256: sha256(&public_key),
        public_key: public_key.into(),
    })
}
