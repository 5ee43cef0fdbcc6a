//! Whom we believe: certificate authorities, pinned certificates and keys, raw public keys, or nobody checked.
use std::sync::Arc;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, RootCertStore, SignatureScheme,
};

use crate::error::{Code, error, fail};
use crate::tls::identity::certificates;

#[napi(object, object_to_js = false)]
pub struct NativePem {
    pub pem: String,
    pub label: String,
}

#[napi(object, object_to_js = false)]
pub struct NativeTrust {
    /// `ca`, `pinned`, `rawKeys`, `anyRawKey` or `insecure`.
    pub kind: String,
    pub ca: Vec<NativePem>,
    /// SHA-256 of pinned certificates or of their public keys (SPKI).
    pub pins: Vec<Uint8Array>,
    /// Public keys (SPKI, DER) that are accepted as raw keys.
    pub raw_keys: Vec<Uint8Array>,
}

impl NativeTrust {
    pub fn server_verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Code> {
        if self.kind == "ca" {
            let verifier = WebPkiServerVerifier::builder_with_provider(self.roots()?.into(), provider.clone()).build();
            let verifier = verifier.map_err(|problem| error("ERR_CA", format!("trusted authorities: {problem}")))?;
            return Ok(verifier);
        }
        Ok(Arc::new(self.peer_verifier(provider, true)?))
    }

    pub fn client_verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        required: bool,
    ) -> Result<Arc<dyn ClientCertVerifier>, Code> {
        if self.kind == "ca" {
            let mut builder = WebPkiClientVerifier::builder_with_provider(self.roots()?.into(), provider.clone());
            if !required {
                builder = builder.allow_unauthenticated();
            }
            return builder.build().map_err(|problem| error("ERR_CA", format!("client authorities: {problem}")));
        }
        Ok(Arc::new(self.peer_verifier(provider, required)?))
    }

    fn roots(&self) -> Result<RootCertStore, Code> {
        let mut roots = RootCertStore::empty();
        for NativePem { pem, label } in &self.ca {
            for certificate in certificates(pem, label)? {
                roots.add(certificate).map_err(|problem| {
                    error("ERR_CA", format!("{label}: not usable as an authority ({problem}); give an X.509 CA"))
                })?;
            }
        }
        if roots.is_empty() {
            return fail("ERR_CA", "no trusted authority was given; pass `ca`, pin the peer, or choose `insecure`");
        }
        Ok(roots)
    }

    fn peer_verifier(&self, provider: &CryptoProvider, required: bool) -> Result<PeerVerifier, Code> {
        let accept = match self.kind.as_str() {
            "insecure" => Accept::AnyCertificate,
            "anyRawKey" => Accept::AnyRawKey,
            "pinned" => Accept::Pins(self.pins.iter().map(|pin| pin.to_vec()).collect()),
            "rawKeys" => Accept::RawKeys(self.raw_keys.iter().map(|key| key.to_vec()).collect()),
            other => return fail("ERR_TRUST", format!("unknown kind of trust '{other}'")),
        };
        Ok(PeerVerifier { accept, required, algorithms: provider.signature_verification_algorithms })
    }
}

#[derive(Debug)]
enum Accept {
    AnyCertificate,
    AnyRawKey,
    Pins(Vec<Vec<u8>>),
    RawKeys(Vec<Vec<u8>>),
}

/// Checks by identity instead of by chain. Possession of the private key is always proved.
#[derive(Debug)]
struct PeerVerifier {
    accept: Accept,
    required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn check(&self, end_entity: &CertificateDer<'_>) -> std::result::Result<(), Error> {
        let accepted = match &self.accept {
            Accept::AnyCertificate | Accept::AnyRawKey => true,
            Accept::RawKeys(keys) => keys.iter().any(|key| key == end_entity.as_ref()),
            Accept::Pins(pins) => {
                let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
                [end_entity.as_ref(), key.as_ref()]
                    .map(|der| digest::digest(&digest::SHA256, der))
                    .iter()
                    .any(|hash| pins.iter().any(|pin| pin == hash.as_ref()))
            }
        };
        if accepted { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn is_raw(&self) -> bool {
        matches!(self.accept, Accept::AnyRawKey | Accept::RawKeys(_))
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        if self.is_raw() {
            let key = SubjectPublicKeyInfoDer::from(certificate.as_ref());
            verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
        } else {
            verify_tls13_signature(message, certificate, signed, &self.algorithms)
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.is_raw()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.is_raw()
    }
}
