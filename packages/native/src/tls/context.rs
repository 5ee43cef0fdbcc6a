//! Contexts: everything that many TLS sessions share, on the client and on the server.
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::quic;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig, version};

use crate::error::{Code, closed, error, fail};
use crate::keys::Suite;
use crate::tls::capture::Capture;
use crate::tls::explain::explain;
use crate::tls::identity::{ClientIdentity, Identities, NativeIdentity};
use crate::tls::session::NativeTlsSession;
use crate::tls::sessions::{ClientSessions, VERSION_2, VersionedStore, server_sessions, shared_sessions};
use crate::tls::trust::NativeTrust;

#[napi(object, object_to_js = false)]
pub struct NativeClientOptions {
    pub trust: NativeTrust,
    pub identity: Option<NativeIdentity>,
    /// Servers whose sessions are remembered.
    pub sessions_max: u32,
    pub cipher_suites: Vec<String>,
}

#[napi]
pub struct NativeClientContext {
    config: Option<ClientConfig>,
    sessions: Option<Arc<ClientSessions>>,
}

#[napi]
impl NativeClientContext {
    #[napi(constructor)]
    pub fn new(options: NativeClientOptions) -> Result<Self, Code> {
        let provider = provider(&options.cipher_suites)?;
        let verifier = options.trust.server_verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|problem| error("ERR_TLS", explain(&problem)))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(ClientIdentity {
                key: identity.load(&provider)?,
                raw: identity.certificate_pem.is_none(),
            })),
        };
        config.key_log = Arc::new(Capture);
        config.resumption = Resumption::disabled();
        let sessions = (options.sessions_max > 0).then(|| ClientSessions::new(options.sessions_max as usize));
        Ok(Self { config: Some(config), sessions })
    }

    #[napi]
    pub fn create_session(
        &self,
        version: u32,
        server_name: String,
        alpn: Vec<String>,
        transport_parameters: &[u8],
        early_data: bool,
    ) -> Result<NativeTlsSession, Code> {
        let mut config = self.config.clone().ok_or_else(|| closed("TLS client context"))?;
        let ticket_version = Arc::new(AtomicU32::new(version));
        if let Some(sessions) = &self.sessions {
            config.resumption =
                Resumption::store(Arc::new(VersionedStore::new(sessions.clone(), ticket_version.clone())));
        }
        config.enable_early_data = early_data;
        let Ok(name) = ServerName::try_from(server_name.clone()) else {
            let message = format!("'{server_name}' is neither a host name nor an IP address; set serverName");
            return fail("ERR_SERVER_NAME", message);
        };
        let connection = quic::ClientConnection::new_with_alpn(
            Arc::new(config),
            quic::Version::V1,
            name,
            transport_parameters.to_vec(),
            alpn.into_iter().map(String::into_bytes).collect(),
        )
        .map_err(|problem| error("ERR_TLS", explain(&problem)))?;
        Ok(NativeTlsSession::new(connection.into(), version, Some(server_name), ticket_version))
    }

    #[napi]
    pub fn close(&mut self) {
        self.config = None;
        self.sessions = None;
    }
}

#[napi(object, object_to_js = false)]
pub struct NativeServerOptions {
    /// The first one is the default.
    pub identities: Vec<NativeIdentity>,
    pub alpn: Vec<String>,
    pub client_trust: Option<NativeTrust>,
    pub client_required: bool,
    /// Sessions remembered for resumption; 0 turns resumption and 0-RTT off.
    pub sessions_max: u32,
    /// A store of `createSessionStore` instead of one's own.
    pub session_store: Option<i32>,
    pub early_data: bool,
    pub cipher_suites: Vec<String>,
}

#[napi]
pub struct NativeServerContext {
    /// For version 1 and for version 2: each opens only its own tickets.
    configs: Option<[Arc<ServerConfig>; 2]>,
    identities: Arc<Identities>,
    provider: Arc<CryptoProvider>,
}

#[napi]
impl NativeServerContext {
    #[napi(constructor)]
    pub fn new(options: NativeServerOptions) -> Result<Self, Code> {
        let provider = provider(&options.cipher_suites)?;
        let identities = Arc::new(Identities::load(&options.identities, &provider)?);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|problem| error("ERR_TLS", explain(&problem)))?;
        let builder = match &options.client_trust {
            None => builder.with_no_client_auth(),
            Some(trust) => {
                builder.with_client_cert_verifier(trust.client_verifier(&provider, options.client_required)?)
            }
        };
        let mut config = builder.with_cert_resolver(identities.clone());
        config.alpn_protocols = options.alpn.into_iter().map(String::into_bytes).collect();
        config.key_log = Arc::new(Capture);
        let mut second = config.clone();
        if options.sessions_max == 0 {
            for version in [&mut config, &mut second] {
                version.session_storage = Arc::new(NoServerSessionStorage {});
                version.send_tls13_tickets = 0;
            }
        } else {
            let own = || Ok(server_sessions(options.sessions_max as usize));
            let sessions = options.session_store.map_or_else(own, shared_sessions)?;
            for (version, storage) in [&mut config, &mut second].into_iter().zip(sessions) {
                version.session_storage = storage;
                // RFC 9001 §4.6.1: "Servers MUST NOT send a value other than 0xffffffff".
                version.max_early_data_size = if options.early_data { u32::MAX } else { 0 };
            }
        }
        Ok(Self { configs: Some([Arc::new(config), Arc::new(second)]), identities, provider })
    }

    #[napi]
    pub fn create_session(&self, version: u32, transport_parameters: &[u8]) -> Result<NativeTlsSession, Code> {
        let configs = self.configs.as_ref().ok_or_else(|| closed("TLS server context"))?;
        let config = configs[usize::from(version == VERSION_2)].clone();
        let connection = quic::ServerConnection::new(config, quic::Version::V1, transport_parameters.to_vec())
            .map_err(|problem| error("ERR_TLS", explain(&problem)))?;
        Ok(NativeTlsSession::new(connection.into(), version, None, Arc::new(AtomicU32::new(version))))
    }

    /// New handshakes use the new certificates; running ones are not touched.
    #[napi]
    pub fn replace_identities(&self, identities: Vec<NativeIdentity>) -> Result<(), Code> {
        self.identities.replace(&identities, &self.provider)
    }

    #[napi]
    pub fn close(&mut self) {
        self.configs = None;
    }
}

/// The provider with the named cipher suites in the given order, or with all when none is named.
fn provider(names: &[String]) -> Result<Arc<CryptoProvider>, Code> {
    let mut provider = ring::default_provider();
    if names.is_empty() {
        return Ok(Arc::new(provider));
    }
    let mut suites = Vec::new();
    for name in names {
        let suite = Suite::from_name(name).and_then(|wanted| {
            provider.cipher_suites.iter().find(|suite| Suite::of(suite.suite()) == Some(wanted)).copied()
        });
        let Some(suite) = suite else {
            return fail("ERR_CIPHER_SUITE", format!("{name} is not a TLS 1.3 cipher suite that QUIC uses"));
        };
        suites.push(suite);
    }
    provider.cipher_suites = suites;
    Ok(Arc::new(provider))
}
