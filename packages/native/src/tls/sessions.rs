//! Remembered sessions, kept apart by QUIC version (RFC 9369 §5: tickets serve the version that provided them).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::*;
use napi_derive::napi;
use rustls::NamedGroup;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

use crate::error::{Code, fail};
use crate::slots::Slots;

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

/// The sessions of a server for version 1 and for version 2. A session is taken out when it is used, hence opens 0-RTT
/// once, whichever context asks.
pub type ServerSessions = [Arc<dyn StoresServerSessions>; 2];

/// Stores that the contexts of several threads share.
static SHARED: Mutex<Slots<ServerSessions>> = Mutex::new(Slots::new());

pub fn server_sessions(max: usize) -> ServerSessions {
    [ServerSessionMemoryCache::new(max), ServerSessionMemoryCache::new(max)]
}

pub fn shared_sessions(id: i32) -> Result<ServerSessions, Code> {
    let sessions = SHARED.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id).cloned();
    match sessions {
        Some(sessions) => Ok(sessions),
        None => fail("ERR_CLOSED", "the shared session store is closed; create a new one"),
    }
}

/// A store for all server contexts of this process that are given its number; `max` sessions of each version.
#[napi]
pub fn create_session_store(max: u32) -> Result<i32, Code> {
    let mut stores = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    match stores.insert(server_sessions(max as usize)) {
        Some(id) => Ok(id),
        None => fail("ERR_LIMIT", "this process has too many session stores; close some"),
    }
}

/// Contexts that use it keep it; there are no new ones. Nothing happens when it is closed already.
#[napi]
pub fn close_session_store(id: i32) {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
}
