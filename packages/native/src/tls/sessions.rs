//! Remembered sessions, kept apart by QUIC version (RFC 9369 §5: tickets serve the version that provided them).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::NamedGroup;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

pub const VERSION_2: u32 = 0x6b33_43cf;

/// One cache a version, shared by all sessions of a client context.
#[derive(Debug)]
pub struct ClientSessions {
    caches: [ClientSessionMemoryCache; 2],
}

impl ClientSessions {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { caches: [ClientSessionMemoryCache::new(max), ClientSessionMemoryCache::new(max)] })
    }

    fn of(&self, version: u32) -> &ClientSessionMemoryCache {
        &self.caches[usize::from(version == VERSION_2)]
    }
}

/// What one connection sees of the sessions: those of its version, which may change while it negotiates.
#[derive(Debug)]
pub struct VersionedStore {
    sessions: Arc<ClientSessions>,
    version: Arc<AtomicU32>,
}

impl VersionedStore {
    pub fn new(sessions: Arc<ClientSessions>, version: Arc<AtomicU32>) -> Self {
        Self { sessions, version }
    }

    fn cache(&self) -> &ClientSessionMemoryCache {
        self.sessions.of(self.version.load(Ordering::Relaxed))
    }
}

impl ClientSessionStore for VersionedStore {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.cache().set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.cache().kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.cache().set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.cache().tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.cache().remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.cache().insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.cache().take_tls13_ticket(server_name)
    }
}
