//! Our own certificates and raw public keys: loading, checking, choosing by server name.
use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use napi::bindgen_prelude::*;
use napi_derive::napi;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};

use crate::error::{Code, error, fail};

#[napi(object, object_to_js = false)]
pub struct NativeIdentity {
    /// PEM chain, leaf first. Absent: the key itself is the identity (RFC 7250).
    pub certificate_pem: Option<String>,
    pub private_key_pem: String,
    /// What to call the certificate and the key in errors: a file name or an option.
    pub certificate_label: String,
    pub private_key_label: String,
    /// Server names this identity answers to; `*.example.org` stands for one label.
    pub names: Vec<String>,
}

impl NativeIdentity {
    pub fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Code> {
        let key_label = &self.private_key_label;
        let der = PrivateKeyDer::from_pem_slice(self.private_key_pem.as_bytes()).map_err(|problem| {
            error("ERR_PRIVATE_KEY", format!("{key_label}: {}; give a private key in PEM", describe(&problem)))
        })?;
        let Some(certificate_pem) = &self.certificate_pem else {
            return self.load_raw_key(&der);
        };
        let chain = certificates(certificate_pem, &self.certificate_label)?;
        match CertifiedKey::from_der(chain, der, provider) {
            Ok(identity) => Ok(Arc::new(identity)),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => fail(
                "ERR_KEY_MISMATCH",
                format!(
                    "{key_label} is not the key of the certificate in {}; give the pair that belongs together",
                    self.certificate_label
                ),
            ),
            Err(rustls::Error::InvalidCertificate(problem)) => fail(
                "ERR_CERTIFICATE",
                format!("{}: the certificate cannot be read ({problem}); create it anew", self.certificate_label),
            ),
            Err(problem) => fail(
                "ERR_PRIVATE_KEY",
                format!("{key_label}: {problem}; use an ECDSA P-256/P-384, Ed25519 or RSA key in PKCS#8"),
            ),
        }
    }

    fn load_raw_key(&self, der: &PrivateKeyDer<'_>) -> Result<Arc<CertifiedKey>, Code> {
        let label = &self.private_key_label;
        let key = ring::sign::any_supported_type(der)
            .map_err(|problem| error("ERR_PRIVATE_KEY", format!("{label}: {problem}; use an ECDSA or Ed25519 key")))?;
        let Some(public) = key.public_key() else {
            return fail("ERR_PRIVATE_KEY", format!("{label}: the key has no public half; use an Ed25519 key"));
        };
        let public = CertificateDer::from(public.to_vec());
        Ok(Arc::new(CertifiedKey::new(vec![public], key)))
    }
}

/// Every certificate of a PEM text; an error when there is none.
pub fn certificates(pem: &str, label: &str) -> Result<Vec<CertificateDer<'static>>, Code> {
    let list: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match list {
        Ok(list) if list.is_empty() => {
            fail("ERR_CERTIFICATE", format!("{label}: no certificate found; it needs a BEGIN CERTIFICATE section"))
        }
        Ok(list) => Ok(list),
        Err(problem) => fail("ERR_CERTIFICATE", format!("{label}: {}; give certificates in PEM", describe(&problem))),
    }
}

fn describe(problem: &pem::Error) -> String {
    match problem {
        pem::Error::NoItemsFound => "the PEM section that is needed is not there".to_owned(),
        other => format!("the PEM text is damaged ({other:?})"),
    }
}

/// Chooses by server name, with a default for unknown and absent names.
#[derive(Debug)]
pub struct Identities {
    table: RwLock<Arc<Table>>,
    raw: bool,
}

#[derive(Debug)]
struct Table {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Identities {
    pub fn load(list: &[NativeIdentity], provider: &CryptoProvider) -> Result<Self, Code> {
        let raw = list.iter().any(|identity| identity.certificate_pem.is_none());
        if raw && list.len() > 1 {
            return fail("ERR_IDENTITY", "a raw public key must be the only identity; remove the others");
        }
        Ok(Self { table: RwLock::new(Arc::new(Table::load(list, provider)?)), raw })
    }

    /// New handshakes use the new list; running ones are not touched.
    pub fn replace(&self, list: &[NativeIdentity], provider: &CryptoProvider) -> Result<(), Code> {
        if self.raw || list.iter().any(|identity| identity.certificate_pem.is_none()) {
            return fail("ERR_IDENTITY", "only certificates can be replaced; create a new context for a raw key");
        }
        let table = Arc::new(Table::load(list, provider)?);
        *self.table.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = table;
        Ok(())
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Table {
    fn load(list: &[NativeIdentity], provider: &CryptoProvider) -> Result<Self, Code> {
        let mut by_name = HashMap::new();
        let mut default = None;
        for identity in list {
            let key = identity.load(provider)?;
            for name in &identity.names {
                by_name.entry(name.to_ascii_lowercase()).or_insert_with(|| key.clone());
            }
            default.get_or_insert(key);
        }
        match default {
            Some(default) => Ok(Self { by_name, default }),
            None => fail("ERR_IDENTITY", "a server needs at least one certificate or raw key; none was given"),
        }
    }

    fn find(&self, name: &str) -> Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard?)).unwrap_or(&self.default).clone()
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table();
        Some(hello.server_name().map_or_else(|| table.default.clone(), |name| table.find(name)))
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// The one identity a client shows when a server asks.
#[derive(Debug)]
pub struct ClientIdentity {
    pub key: Arc<CertifiedKey>,
    pub raw: bool,
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }

    fn has_certs(&self) -> bool {
        true
    }
}
