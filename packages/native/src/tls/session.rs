//! One TLS handshake: bytes in, bytes and keys out, in the order in which QUIC must act on them.
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use napi::bindgen_prelude::*;
use napi_derive::napi;
use rustls::HandshakeKind;
use rustls::quic::{Connection, KeyChange};

use crate::error::{Code, closed, error, fail};
use crate::keys::Suite;
use crate::protection::add_key;
use crate::schedule::Secret;
use crate::tls::capture::drain;
use crate::tls::explain::{alert_number, explain};

const NO_KEY: i32 = -1;
/// Encryption levels as numbered by `Level` of the transport's port.
const INITIAL: i32 = 0;
const ZERO_RTT: i32 = 1;
const HANDSHAKE: i32 = 2;
const ONE_RTT: i32 = 3;
/// RFC 8446 §6.2 unexpected_message.
const UNEXPECTED_MESSAGE: u8 = 10;

#[napi(object, object_from_js = false)]
pub struct NativeTlsFailure {
    pub alert: u8,
    pub message: String,
}

/// Bytes to send when `data` is there, else keys to install.
#[napi(object, object_from_js = false)]
pub struct NativeTlsStep {
    pub level: i32,
    pub data: Option<Uint8Array>,
    pub rx: i32,
    pub tx: i32,
}

#[derive(Default)]
struct Secrets {
    early: Option<Secret>,
    handshake: (Option<Secret>, Option<Secret>),
    one_rtt: (Option<Secret>, Option<Secret>),
}

enum Step {
    Crypto(i32, Vec<u8>),
    Keys(i32),
}

struct Inner {
    connection: Connection,
    /// Version whose labels derive Handshake and 1-RTT keys; Early keys belong to the version of the first flight.
    version: u32,
    first_version: u32,
    /// Tickets that arrive are remembered for this version.
    ticket_version: Arc<AtomicU32>,
    secrets: Secrets,
    steps: VecDeque<Step>,
    write_level: i32,
    early_keys_given: bool,
    key_log: String,
    server_name: Option<String>,
}

#[napi]
pub struct NativeTlsSession {
    inner: Option<Box<Inner>>,
}

impl NativeTlsSession {
    /// Not for JavaScript: contexts create sessions.
    pub fn new(
        connection: Connection,
        version: u32,
        server_name: Option<String>,
        ticket_version: Arc<AtomicU32>,
    ) -> Self {
        let mut inner = Inner {
            connection,
            version,
            first_version: version,
            ticket_version,
            secrets: Secrets::default(),
            steps: VecDeque::new(),
            write_level: INITIAL,
            early_keys_given: false,
            key_log: String::new(),
            server_name,
        };
        inner.take_secrets();
        Self { inner: Some(Box::new(inner)) }
    }

    fn get(&self) -> Result<&Inner, Code> {
        self.inner.as_deref().ok_or_else(|| closed("TLS session"))
    }

    fn get_mut(&mut self) -> Result<&mut Inner, Code> {
        self.inner.as_deref_mut().ok_or_else(|| closed("TLS session"))
    }
}

#[napi]
impl NativeTlsSession {
    #[napi]
    pub fn read(&mut self, level: i32, data: &[u8]) -> Result<Option<NativeTlsFailure>, Code> {
        let inner = self.get_mut()?;
        // RFC 9001 §4.1.3: bytes of a level that TLS has left are a violation.
        if level == INITIAL && inner.secrets.handshake.0.is_some() && !data.is_empty() {
            let message = "handshake bytes came in Initial packets after the handshake had left that level".to_owned();
            return Ok(Some(NativeTlsFailure { alert: UNEXPECTED_MESSAGE, message }));
        }
        let outcome = inner.connection.read_hs(data);
        inner.take_secrets();
        // At once: rustls tells a level from the next only as long as it has not read bytes of both.
        inner.pump();
        Ok(outcome.err().map(|problem| NativeTlsFailure {
            alert: alert_number(inner.connection.alert()),
            message: explain(&problem),
        }))
    }

    #[napi]
    pub fn next(&mut self) -> Result<Option<NativeTlsStep>, Code> {
        let inner = self.get_mut()?;
        inner.pump();
        match inner.steps.pop_front() {
            None => Ok(None),
            Some(Step::Crypto(level, data)) => {
                Ok(Some(NativeTlsStep { level, data: Some(data.into()), rx: NO_KEY, tx: NO_KEY }))
            }
            Some(Step::Keys(level)) => inner.install(level).map(Some),
        }
    }

    #[napi]
    pub fn is_handshaking(&self) -> Result<bool, Code> {
        Ok(self.get()?.connection.is_handshaking())
    }

    #[napi]
    pub fn peer_transport_parameters(&self) -> Result<Option<Uint8Array>, Code> {
        Ok(self.get()?.connection.quic_transport_parameters().map(|raw| raw.to_vec().into()))
    }

    #[napi]
    pub fn alpn(&self) -> Result<Option<String>, Code> {
        Ok(self.get()?.connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()))
    }

    #[napi]
    pub fn server_name(&self) -> Result<Option<String>, Code> {
        let inner = self.get()?;
        Ok(match &inner.connection {
            Connection::Client(_) => inner.server_name.clone(),
            Connection::Server(server) => server.server_name().map(str::to_owned),
        })
    }

    #[napi]
    pub fn early_data_accepted(&self) -> Result<bool, Code> {
        Ok(match &self.get()?.connection {
            Connection::Client(client) => client.is_early_data_accepted(),
            // rustls keeps the early secret of a server only when it accepted 0-RTT.
            Connection::Server(server) => server.zero_rtt_keys().is_some(),
        })
    }

    #[napi]
    pub fn resumed(&self) -> Result<bool, Code> {
        Ok(self.get()?.connection.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    #[napi]
    pub fn peer_certificates(&self) -> Result<Vec<Uint8Array>, Code> {
        let list = self.get()?.connection.peer_certificates().unwrap_or_default();
        Ok(list.iter().map(|certificate| certificate.to_vec().into()).collect())
    }

    #[napi]
    pub fn set_version(&mut self, version: u32) -> Result<(), Code> {
        let inner = self.get_mut()?;
        inner.version = version;
        inner.ticket_version.store(version, Ordering::Relaxed);
        Ok(())
    }

    #[napi]
    pub fn export_keying_material(&self, label: String, context: &[u8], length: u32) -> Result<Uint8Array, Code> {
        if length == 0 || length > 8160 {
            return fail("ERR_RANGE", format!("cannot export {length} bytes of keying material; ask for 1 to 8160"));
        }
        let connection = &self.get()?.connection;
        connection
            .export_keying_material(vec![0; length as usize], label.as_bytes(), Some(context))
            .map(Uint8Array::from)
            .map_err(|_| error("ERR_HANDSHAKE_PENDING", "keying material exists only after the handshake"))
    }

    /// NSS key log lines since the last call, each ended by a line feed.
    #[napi]
    pub fn drain_key_log(&mut self) -> Result<String, Code> {
        Ok(std::mem::take(&mut self.get_mut()?.key_log))
    }

    #[napi]
    pub fn close(&mut self) {
        self.inner = None;
    }
}

impl Inner {
    fn take_secrets(&mut self) {
        for captured in drain() {
            let _ = write!(self.key_log, "{} ", captured.label);
            for byte in &captured.client_random {
                let _ = write!(self.key_log, "{byte:02x}");
            }
            self.key_log.push(' ');
            for byte in captured.secret.as_slice() {
                let _ = write!(self.key_log, "{byte:02x}");
            }
            self.key_log.push('\n');
            let place = match captured.label.as_str() {
                "CLIENT_EARLY_TRAFFIC_SECRET" => &mut self.secrets.early,
                "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => &mut self.secrets.handshake.0,
                "SERVER_HANDSHAKE_TRAFFIC_SECRET" => &mut self.secrets.handshake.1,
                "CLIENT_TRAFFIC_SECRET_0" => &mut self.secrets.one_rtt.0,
                "SERVER_TRAFFIC_SECRET_0" => &mut self.secrets.one_rtt.1,
                _ => continue,
            };
            *place = Some(captured.secret);
        }
    }

    fn is_client(&self) -> bool {
        matches!(self.connection, Connection::Client(_))
    }

    /// Moves what rustls has ready into `steps`.
    fn pump(&mut self) {
        let early = !self.early_keys_given && self.secrets.early.is_some() && self.connection.zero_rtt_keys().is_some();
        // A server can open 0-RTT packets before it has answered; a client's ClientHello goes first.
        if early && !self.is_client() {
            self.give_early_keys();
        }
        loop {
            let mut data = Vec::new();
            let change = self.connection.write_hs(&mut data);
            if !data.is_empty() {
                self.steps.push_back(Step::Crypto(self.write_level, data));
            }
            match change {
                None => break,
                Some(KeyChange::Handshake { .. }) => self.write_level = HANDSHAKE,
                Some(KeyChange::OneRtt { .. }) => self.write_level = ONE_RTT,
            }
            self.steps.push_back(Step::Keys(self.write_level));
        }
        if early && self.is_client() {
            self.give_early_keys();
        }
    }

    fn give_early_keys(&mut self) {
        self.early_keys_given = true;
        self.steps.push_back(Step::Keys(ZERO_RTT));
    }

    fn install(&mut self, level: i32) -> Result<NativeTlsStep, Code> {
        let suite = self.connection.negotiated_cipher_suite().and_then(|suite| Suite::of(suite.suite()));
        let missing = || error("ERR_TLS", "TLS announced keys without their secrets; please report this");
        let suite = suite.ok_or_else(missing)?;
        if level == ZERO_RTT {
            let secret = self.secrets.early.clone().ok_or_else(missing)?;
            let key = add_key(suite, self.first_version, secret, false)?;
            let (rx, tx) = if self.is_client() { (NO_KEY, key) } else { (key, NO_KEY) };
            return Ok(NativeTlsStep { level, data: None, rx, tx });
        }
        let (client, server) =
            if level == HANDSHAKE { self.secrets.handshake.clone() } else { self.secrets.one_rtt.clone() };
        let (client, server) = client.zip(server).ok_or_else(missing)?;
        let (rx, tx) = if self.is_client() { (server, client) } else { (client, server) };
        let rx = add_key(suite, self.version, rx, level == ONE_RTT)?;
        let tx = add_key(suite, self.version, tx, false)?;
        Ok(NativeTlsStep { level, data: None, rx, tx })
    }
}
