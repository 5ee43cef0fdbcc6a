//! The client: one connection after the other, all requests of a connection at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Outcome, Plan, Received, Request, Spec, Trigger, report_result, request_parts};
use quiche::h3::{self, NameValue};
use serde_json::{Value, json};

use crate::network::{bind, flush, offer_ids, random_id, receive, wait};
use crate::outgoing::Outgoing;

const H3_NO_ERROR: u64 = 0x100;
/// `ssl_early_data_accepted` of BoringSSL.
const EARLY_DATA_ACCEPTED: u32 = 2;

pub fn run(spec: &Spec) -> Outcome<()> {
    let mut done = Vec::new();
    let mut session: Option<Vec<u8>> = None;
    let deadline = Instant::now() + Duration::from_millis(spec.timeout_ms);
    let mut error = None;
    for (index, plan) in spec.connections.iter().enumerate() {
        let result = Client::open(spec, plan, session.as_deref(), index, deadline).and_then(|client| client.run());
        match result {
            Ok((facts, ticket)) => {
                done.push(facts);
                session = ticket.or(session);
            }
            Err(problem) => {
                error = Some(problem.to_string());
                break;
            }
        }
    }
    report_result(error, done);
    Ok(())
}

struct Exchange {
    outgoing: Outgoing,
    received: Received,
    status: Option<u16>,
    index: usize,
    is_done: bool,
}

struct Client<'a> {
    spec: &'a Spec,
    plan: &'a Plan,
    deadline: Instant,
    sockets: Vec<UdpSocket>,
    remote: SocketAddr,
    quic: quiche::Connection,
    http: Option<h3::Connection>,
    began: Instant,
    handshake_ms: Option<f64>,
    /// Requests that are not sent yet, last one first.
    waiting: Vec<(usize, Request)>,
    exchanges: BTreeMap<u64, Exchange>,
    migrate: Trigger,
    is_migration_due: bool,
    migrations: u32,
    is_last_asked: bool,
}

impl<'a> Client<'a> {
    fn open(spec: &'a Spec, plan: &'a Plan, session: Option<&[u8]>, index: usize, deadline: Instant) -> Outcome<Self> {
        let version = if spec.versions.first().is_some_and(|name| name == "reserved") { 0x1a2a_3a4a } else { 1 };
        let mut config = crate::config(spec, version)?;
        config.load_verify_locations_from_file(&spec.ca)?;
        config.verify_peer(true);
        if plan.early_data {
            config.enable_early_data();
        }
        let remote = SocketAddr::new(spec.host.parse()?, spec.port);
        let socket = bind(spec.bind_host.parse()?, 0)?;
        let local = socket.local_addr()?;
        let mut quic = quiche::connect(Some(&spec.server_name), &random_id()?, local, remote, &mut config)?;
        crate::observe(&mut quic, spec, &format!("client-{index}"))?;
        if plan.resume {
            quic.set_session(session.ok_or("no session ticket came on the connection before")?)?;
        }
        let waiting = plan.requests.iter().cloned().enumerate().rev().collect();
        Ok(Client {
            spec,
            plan,
            deadline,
            sockets: vec![socket],
            remote,
            quic,
            http: None,
            began: Instant::now(),
            handshake_ms: None,
            waiting,
            exchanges: BTreeMap::new(),
            migrate: Trigger::after(plan.migrate_after_bytes),
            is_migration_due: false,
            migrations: 0,
            is_last_asked: false,
        })
    }

    fn run(mut self) -> Outcome<(Value, Option<Vec<u8>>)> {
        let mut buffer = vec![0; 65_535];
        loop {
            flush(&mut self.quic, &self.sockets)?;
            self.advance()?;
            flush(&mut self.quic, &self.sockets)?;
            if self.is_last_asked && self.waiting.is_empty() && self.exchanges.values().all(|e| e.is_done) {
                break;
            }
            if self.quic.is_closed() {
                return Err(format!("closed: peer {:?}, local {:?}", self.quic.peer_error(), self.quic.local_error()).into());
            }
            if Instant::now() > self.deadline {
                return Err(format!("not done within {} ms", self.spec.timeout_ms).into());
            }
            wait(&self.sockets, self.quic.timeout())?;
            self.take_datagrams(&mut buffer)?;
            if self.quic.timeout().is_some_and(|timeout| timeout.is_zero()) {
                self.quic.on_timeout();
            }
        }
        let facts = self.facts();
        let session = self.quic.session().map(<[u8]>::to_vec);
        let _ = self.quic.close(true, H3_NO_ERROR, b"");
        flush(&mut self.quic, &self.sockets)?;
        Ok((facts, session))
    }

    fn take_datagrams(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        for socket in &self.sockets {
            let to = socket.local_addr()?;
            while let Some((length, from)) = receive(socket, buffer)? {
                match self.quic.recv(&mut buffer[..length], quiche::RecvInfo { from, to }) {
                    Ok(_) | Err(quiche::Error::Done) => {}
                    Err(error) => eprintln!("packet: {error}"),
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Outcome<()> {
        if self.quic.is_established() && self.handshake_ms.is_none() {
            self.handshake_ms = Some(self.began.elapsed().as_secs_f64() * 1000.0);
            offer_ids(&mut self.quic)?;
        }
        while self.quic.path_event_next().is_some() {}
        let may_start = self.quic.is_established() || (self.plan.early_data && self.quic.is_in_early_data());
        if self.http.is_none() && may_start {
            self.http = Some(h3::Connection::with_transport(&mut self.quic, &h3::Config::new()?)?);
        }
        let Some(mut http) = self.http.take() else { return Ok(()) };
        let result = self.exchange(&mut http);
        self.http = Some(http);
        result?;
        if self.is_migration_due && self.quic.available_dcids() > 0 {
            self.is_migration_due = false;
            let socket = bind(self.spec.bind_host.parse::<IpAddr>()?, 0)?;
            self.quic.migrate(socket.local_addr()?, self.remote)?;
            self.sockets.push(socket);
            self.migrations += 1;
        }
        Ok(())
    }

    fn exchange(&mut self, http: &mut h3::Connection) -> Outcome<()> {
        self.ask(http)?;
        let mut counted = 0;
        for (stream, exchange) in &mut self.exchanges {
            counted += exchange.outgoing.push(http, &mut self.quic, *stream)?;
        }
        counted += self.take_events(http)?;
        for (stream, exchange) in &mut self.exchanges {
            // The end comes without an event when it arrives with nothing but data that was read before.
            exchange.is_done |= exchange.status.is_some() && self.quic.stream_finished(*stream);
        }
        if counted > 0 && self.migrate.count(counted) {
            self.is_migration_due = true;
        }
        let is_done = self.waiting.is_empty() && self.exchanges.values().all(|exchange| exchange.is_done);
        if is_done && !self.is_last_asked && self.quic.is_established() {
            // Session tickets come after the handshake: give them one round trip by one more small request.
            self.is_last_asked = true;
            let last = Request { method: "GET".into(), path: "/bytes/1".into(), size: 0, base64: None, headers: vec![] };
            self.waiting.push((self.plan.requests.len(), last));
            self.ask(http)?;
        }
        Ok(())
    }

    fn ask(&mut self, http: &mut h3::Connection) -> Outcome<()> {
        while let Some((index, request)) = self.waiting.last() {
            let mut headers = vec![
                h3::Header::new(b":method", request.method.as_bytes()),
                h3::Header::new(b":scheme", b"https"),
                h3::Header::new(b":authority", self.spec.server_name.as_bytes()),
                h3::Header::new(b":path", request.path.as_bytes()),
            ];
            headers.extend(request.headers.iter().map(|(name, value)| h3::Header::new(name.as_bytes(), value.as_bytes())));
            let parts = request_parts(request)?;
            let has_body = !parts.is_empty();
            let stream = match http.send_request(&mut self.quic, &headers, !has_body) {
                Ok(stream) => stream,
                Err(h3::Error::TransportError(quiche::Error::StreamLimit)) => break,
                Err(h3::Error::StreamBlocked) => {
                    // quiche looks at its congestion window again only when a packet comes: ask for one.
                    self.quic.send_ack_eliciting()?;
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let mut outgoing = Outgoing::parts(parts);
            if !has_body {
                outgoing.end();
            }
            let exchange = Exchange { outgoing, received: Received::default(), status: None, index: *index, is_done: false };
            self.exchanges.insert(stream, exchange);
            self.waiting.pop();
        }
        Ok(())
    }

    fn take_events(&mut self, http: &mut h3::Connection) -> Outcome<usize> {
        let mut counted = 0;
        let mut buffer = vec![0; 65_536];
        loop {
            let (stream, event) = match http.poll(&mut self.quic) {
                Ok(event) => event,
                Err(h3::Error::Done) => return Ok(counted),
                Err(error) => return Err(error.into()),
            };
            let Some(exchange) = self.exchanges.get_mut(&stream) else { continue };
            match event {
                h3::Event::Headers { list, .. } => {
                    let status = list.iter().find(|header| header.name() == b":status");
                    // Trailers come as the same event, without a status.
                    let code = status.and_then(|header| std::str::from_utf8(header.value()).ok()?.parse().ok());
                    exchange.status = code.or(exchange.status);
                }
                h3::Event::Data => loop {
                    match http.recv_body(&mut self.quic, stream, &mut buffer) {
                        Ok(length) => {
                            exchange.received.add(&buffer[..length]);
                            counted += length;
                        }
                        Err(h3::Error::Done) => break,
                        Err(error) => return Err(error.into()),
                    }
                },
                h3::Event::Finished => exchange.is_done = true,
                h3::Event::Reset(code) => return Err(format!("stream {stream} was reset with 0x{code:x}").into()),
                _ => {}
            }
        }
    }

    fn facts(&self) -> Value {
        let mut responses = vec![Value::Null; self.plan.requests.len()];
        for exchange in self.exchanges.values() {
            if let Some(request) = self.plan.requests.get(exchange.index) {
                responses[exchange.index] = exchange.received.response(&request.path, exchange.status);
            }
        }
        json!({
            "responses": responses, "migrations": self.migrations, "handshakeMs": self.handshake_ms,
            // The crate speaks version 1 only and does not tell the suite.
            "version": 1, "alpn": String::from_utf8_lossy(self.quic.application_proto()), "cipher": null,
            "resumed": self.quic.is_resumed(), "earlyData": self.quic.early_data_reason() == EARLY_DATA_ACCEPTED,
            "handshakeComplete": self.quic.is_established(), "closed": null,
        })
    }
}
