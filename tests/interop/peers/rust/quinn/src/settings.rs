//! quinn's configuration out of the runner's specification.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Outcome, Spec, open_keylog};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug)]
struct KeyLogFile(Mutex<File>);

impl rustls::KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if let Ok(mut file) = self.0.lock() {
            let _ = writeln!(file, "{label} {} {}", hex(client_random), hex(secret));
        }
    }
}

fn provider(spec: &Spec) -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if let Some(name) = &spec.cipher {
        let wanted = match name.as_str() {
            "aes256" => rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
            "chacha20" => rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            _ => rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        };
        provider.cipher_suites.retain(|suite| suite.suite() == wanted);
    }
    Arc::new(provider)
}

/// Initial packets are always protected by AES-128-GCM, whatever the suites offered.
fn initial_suite() -> Outcome<rustls::quic::Suite> {
    rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .ok_or_else(|| "ring has no QUIC suite".into())
}

fn transport(spec: &Spec, name: &str) -> Outcome<Arc<quinn::TransportConfig>> {
    let mut config = quinn::TransportConfig::default();
    config.max_idle_timeout(Some(Duration::from_millis(spec.idle_timeout_ms).try_into()?));
    if let Some(bytes) = spec.window_bytes {
        config.stream_receive_window(quinn::VarInt::from_u64(bytes)?);
        config.receive_window(quinn::VarInt::from_u64(bytes)?);
    }
    if let Some(streams) = spec.streams_max {
        config.max_concurrent_bidi_streams(quinn::VarInt::from_u64(streams)?);
    }
    let mut qlog = quinn::QlogConfig::default();
    qlog.writer(Box::new(File::create(spec.qlog_dir.join(format!("{name}.sqlog")))?));
    config.qlog_stream(qlog.into_stream());
    Ok(Arc::new(config))
}

/// One for all connections of a run: rustls resumes only sessions of the same configuration.
pub fn client_crypto(spec: &Spec) -> Outcome<Arc<QuicClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&spec.ca)? {
        roots.add(certificate?)?;
    }
    let mut tls = rustls::ClientConfig::builder_with_provider(provider(spec))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.enable_early_data = true;
    tls.key_log = Arc::new(KeyLogFile(Mutex::new(open_keylog(spec)?)));
    if !spec.connections.iter().any(|plan| plan.resume) {
        tls.resumption = rustls::client::Resumption::disabled();
    }
    Ok(Arc::new(QuicClientConfig::with_initial(Arc::new(tls), initial_suite()?)?))
}

pub fn client_config(spec: &Spec, crypto: Arc<QuicClientConfig>, name: &str) -> Outcome<quinn::ClientConfig> {
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(transport(spec, name)?);
    Ok(config)
}

pub fn server_config(spec: &Spec) -> Outcome<quinn::ServerConfig> {
    let certificates = CertificateDer::pem_file_iter(&spec.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&spec.private_key)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider(spec))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.max_early_data_size = u32::MAX;
    tls.key_log = Arc::new(KeyLogFile(Mutex::new(open_keylog(spec)?)));
    let crypto = QuicServerConfig::with_initial(Arc::new(tls), initial_suite()?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(spec, "server")?);
    Ok(config)
}
