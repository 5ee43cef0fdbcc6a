//! The server: `/bytes/N`, `/upload` and `/echo`, with the facts of each connection as a JSON line.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Body, Outcome, Received, Spec, report};
use quiche::h3::{self, NameValue};
use serde_json::{Value, json};

use crate::network::{bind, flush, offer_ids, random_id, receive, wait};
use crate::outgoing::{Outgoing, Source};

const TOKEN_MARK: &[u8] = b"interop";
const STOP_LIMIT: Duration = Duration::from_millis(300);

static IS_STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    IS_STOPPED.store(true, Ordering::Relaxed);
}

struct Exchange {
    path: String,
    received: Received,
    outgoing: Option<Outgoing>,
    at: usize,
}

struct Served {
    quic: quiche::Connection,
    http: Option<h3::Connection>,
    exchanges: BTreeMap<u64, Exchange>,
    requests: Vec<Value>,
    is_reported: bool,
}

struct Server<'a> {
    spec: &'a Spec,
    config: quiche::Config,
    sockets: Vec<UdpSocket>,
    local: SocketAddr,
    served: Vec<Served>,
    by_id: HashMap<Vec<u8>, usize>,
}

pub fn serve(spec: &Spec) -> Outcome<()> {
    let mut config = crate::config(spec, quiche::PROTOCOL_VERSION)?;
    config.load_cert_chain_from_pem_file(&spec.certificate)?;
    config.load_priv_key_from_pem_file(&spec.private_key)?;
    config.enable_early_data();
    let socket = bind(spec.host.parse()?, spec.port)?;
    let local = socket.local_addr()?;
    // SAFETY: the handler only stores to an atomic.
    unsafe { libc::signal(libc::SIGTERM, on_signal as *const () as libc::sighandler_t) };
    report("listening", json!({ "port": local.port() }));
    let mut server = Server { spec, config, sockets: vec![socket], local, served: Vec::new(), by_id: HashMap::new() };
    server.run()
}

impl Server<'_> {
    fn run(&mut self) -> Outcome<()> {
        let mut buffer = vec![0; 65_535];
        let mut stopped_at = None;
        loop {
            let timeout = self.served.iter().filter_map(|served| served.quic.timeout()).min();
            let limit = stopped_at.map(|_| Duration::from_millis(10));
            wait(&self.sockets, limit.or(timeout))?;
            while let Some((length, from)) = receive(&self.sockets[0], &mut buffer)? {
                if let Err(error) = self.on_datagram(&mut buffer[..length], from) {
                    eprintln!("datagram: {error}");
                }
            }
            for served in &mut self.served {
                if let Err(error) = served.advance(&mut self.by_id) {
                    eprintln!("connection: {error}");
                }
                flush(&mut served.quic, &self.sockets)?;
                served.report_if_over();
            }
            if IS_STOPPED.load(Ordering::Relaxed) && stopped_at.is_none() {
                stopped_at = Some(Instant::now());
                for served in &mut self.served {
                    let _ = served.quic.close(true, 0x100, b"");
                    flush(&mut served.quic, &self.sockets)?;
                }
            }
            if stopped_at.is_some_and(|at| at.elapsed() > STOP_LIMIT || self.served.iter().all(|s| s.quic.is_closed())) {
                self.served.iter_mut().for_each(Served::report);
                return Ok(());
            }
        }
    }

    fn on_datagram(&mut self, bytes: &mut [u8], from: SocketAddr) -> Outcome<()> {
        let header = quiche::Header::from_slice(bytes, 16)?;
        let known = self.by_id.get(header.dcid.as_ref()).copied();
        let index = match known {
            Some(index) => index,
            None => match self.accept(&header, from)? {
                Some(index) => index,
                None => return Ok(()),
            },
        };
        match self.served[index].quic.recv(bytes, quiche::RecvInfo { from, to: self.local }) {
            Ok(_) | Err(quiche::Error::Done) => Ok(()),
            Err(error) => {
                // A first packet that does not open makes no connection: its IDs may be damaged.
                if known.is_none() {
                    self.by_id.retain(|_, at| *at != index);
                }
                Err(error.into())
            }
        }
    }

    /// A new connection, or an answer that makes none.
    fn accept(&mut self, header: &quiche::Header, from: SocketAddr) -> Outcome<Option<usize>> {
        if header.ty != quiche::Type::Initial && !(header.version != 0 && !quiche::version_is_supported(header.version)) {
            return Ok(None);
        }
        let mut out = [0; crate::DATAGRAM_BYTES];
        if !quiche::version_is_supported(header.version) {
            let length = quiche::negotiate_version(&header.scid, &header.dcid, &mut out)?;
            self.sockets[0].send_to(&out[..length], from)?;
            return Ok(None);
        }
        let token = header.token.as_deref().unwrap_or_default();
        if self.spec.retry && token.is_empty() {
            let token = [TOKEN_MARK, from.to_string().as_bytes(), b"|", header.dcid.as_ref()].concat();
            let length = quiche::retry(&header.scid, &header.dcid, &random_id()?, &token, header.version, &mut out)?;
            self.sockets[0].send_to(&out[..length], from)?;
            return Ok(None);
        }
        let original = self.spec.retry.then(|| original_id(token, from)).flatten();
        if self.spec.retry && original.is_none() {
            return Ok(None);
        }
        // After a Retry the client already uses an ID of ours.
        let id = if original.is_some() { header.dcid.clone().into_owned() } else { random_id()? };
        let mut quic = quiche::accept(&id, original.as_ref(), self.local, from, &mut self.config)?;
        crate::observe(&mut quic, self.spec, &format!("server-{}", self.served.len()))?;
        let index = self.served.len();
        self.by_id.insert(id.to_vec(), index);
        self.by_id.insert(header.dcid.to_vec(), index);
        self.served.push(Served { quic, http: None, exchanges: BTreeMap::new(), requests: Vec::new(), is_reported: false });
        Ok(Some(index))
    }
}

fn original_id(token: &[u8], from: SocketAddr) -> Option<quiche::ConnectionId<'static>> {
    let rest = token.strip_prefix(TOKEN_MARK)?.strip_prefix(from.to_string().as_bytes())?.strip_prefix(b"|")?;
    Some(rest.to_vec().into())
}

impl Served {
    fn advance(&mut self, by_id: &mut HashMap<Vec<u8>, usize>) -> Outcome<()> {
        if self.quic.timeout().is_some_and(|timeout| timeout.is_zero()) {
            self.quic.on_timeout();
        }
        if self.quic.is_closed() {
            return Ok(());
        }
        if self.quic.is_established() {
            let index = by_id.get(self.quic.source_id().as_ref()).copied();
            for id in offer_ids(&mut self.quic)? {
                by_id.insert(id.to_vec(), index.ok_or("a connection without an ID")?);
            }
        }
        while let Some(event) = self.quic.path_event_next() {
            if let quiche::PathEvent::New(local, peer) = event {
                self.quic.probe_path(local, peer)?;
            }
        }
        if self.http.is_none() && (self.quic.is_established() || self.quic.is_in_early_data()) {
            self.http = Some(h3::Connection::with_transport(&mut self.quic, &h3::Config::new()?)?);
        }
        let Some(mut http) = self.http.take() else { return Ok(()) };
        let result = self.exchange(&mut http);
        self.http = Some(http);
        result
    }

    fn exchange(&mut self, http: &mut h3::Connection) -> Outcome<()> {
        let mut buffer = vec![0; 65_536];
        loop {
            let (stream, event) = match http.poll(&mut self.quic) {
                Ok(event) => event,
                Err(h3::Error::Done) => break,
                Err(error) => return Err(error.into()),
            };
            match event {
                h3::Event::Headers { list, .. } => self.on_request(http, stream, &list)?,
                h3::Event::Data => self.on_data(http, stream, &mut buffer)?,
                h3::Event::Finished => self.on_end(http, stream)?,
                _ => {}
            }
        }
        // The end comes without an event when it arrives with nothing but data that was read before.
        let ended: Vec<u64> = self.exchanges.keys().copied().filter(|stream| self.quic.stream_finished(*stream)).collect();
        for stream in ended {
            self.on_end(http, stream)?;
        }
        for (stream, exchange) in &mut self.exchanges {
            if let Some(outgoing) = &mut exchange.outgoing {
                outgoing.push(http, &mut self.quic, *stream)?;
            }
        }
        self.exchanges.retain(|_, exchange| !exchange.outgoing.as_ref().is_some_and(Outgoing::is_finished));
        Ok(())
    }

    fn on_request(&mut self, http: &mut h3::Connection, stream: u64, list: &[h3::Header]) -> Outcome<()> {
        let path = list.iter().find(|header| header.name() == b":path").map(|header| header.value()).unwrap_or_default();
        let path = String::from_utf8_lossy(path).into_owned();
        let at = self.requests.len();
        self.requests.push(json!({ "path": path, "early": !self.quic.is_established(), "bytes": 0 }));
        let mut exchange = Exchange { path, received: Received::default(), outgoing: None, at };
        if let Some(size) = exchange.path.strip_prefix("/bytes/") {
            let size = size.split('/').next().unwrap_or_default().to_owned();
            let headers = [("content-length", size.as_str()), ("x-served-by", "quiche")];
            respond(http, &mut self.quic, stream, 200, &headers)?;
            exchange.outgoing = Some(Outgoing::new(Source::Test(Body::new(size.parse()?))));
        } else if exchange.path == "/echo" {
            respond(http, &mut self.quic, stream, 200, &[])?;
            exchange.outgoing = Some(Outgoing::new(Source::Parts { parts: VecDeque::new(), is_open: true }));
        }
        self.exchanges.insert(stream, exchange);
        Ok(())
    }

    fn on_data(&mut self, http: &mut h3::Connection, stream: u64, buffer: &mut [u8]) -> Outcome<()> {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return Ok(()) };
        loop {
            match http.recv_body(&mut self.quic, stream, buffer) {
                Ok(length) => {
                    exchange.received.add(&buffer[..length]);
                    if let Some(Outgoing { source: Source::Parts { parts, .. }, .. }) = &mut exchange.outgoing {
                        parts.push_back(buffer[..length].to_vec());
                    }
                }
                Err(h3::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn on_end(&mut self, http: &mut h3::Connection, stream: u64) -> Outcome<()> {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return Ok(()) };
        self.requests[exchange.at]["bytes"] = exchange.received.bytes.into();
        match &mut exchange.outgoing {
            Some(Outgoing { source: Source::Parts { is_open, .. }, .. }) => *is_open = false,
            Some(_) => {}
            None => {
                let status = if exchange.path == "/upload" { 200 } else { 404 };
                respond(http, &mut self.quic, stream, status, &[("content-type", "application/json")])?;
                exchange.outgoing = Some(Outgoing::parts(vec![exchange.received.upload_answer().into_bytes()]));
            }
        }
        Ok(())
    }

    fn report_if_over(&mut self) {
        if self.quic.is_closed() || self.quic.is_draining() {
            self.report();
        }
    }

    fn report(&mut self) {
        if self.is_reported || self.http.is_none() {
            return;
        }
        self.is_reported = true;
        let closed = self.quic.peer_error().map(|error| {
            json!({ "code": error.error_code, "reason": String::from_utf8_lossy(&error.reason) })
        });
        report("connection", json!({
            "requests": self.requests, "version": 1, "alpn": String::from_utf8_lossy(self.quic.application_proto()),
            "cipher": null, "resumed": self.quic.is_resumed(),
            "earlyData": self.requests.iter().any(|request| request["early"] == true),
            "handshakeComplete": true, "closed": closed,
        }));
    }
}

fn respond(
    http: &mut h3::Connection,
    quic: &mut quiche::Connection,
    stream: u64,
    status: u16,
    fields: &[(&str, &str)],
) -> Outcome<()> {
    let mut headers = vec![h3::Header::new(b":status", status.to_string().as_bytes())];
    headers.extend(fields.iter().map(|(name, value)| h3::Header::new(name.as_bytes(), value.as_bytes())));
    Ok(http.send_response(quic, stream, &headers, false)?)
}
