//! The server: `/bytes/N`, `/upload` and `/echo`, with the facts of each connection as a JSON line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes};
use common::{Body, Outcome, Received, Spec, Trigger, report};
use quinn::{ConnectionError, Endpoint};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::server_config;

type RequestStream = h3::server::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// What one connection did.
struct Seen {
    connection: quinn::Connection,
    is_handshake_complete: AtomicBool,
    requests: Mutex<Vec<Value>>,
    key_update: Mutex<Trigger>,
}

impl Seen {
    fn count(&self, bytes: usize) {
        if self.key_update.lock().is_ok_and(|mut trigger| trigger.count(bytes)) {
            self.connection.force_key_update();
        }
    }

    fn report(&self, end: &ConnectionError) {
        let requests = self.requests.lock().map(|requests| requests.clone()).unwrap_or_default();
        let early = requests.iter().any(|request| request["early"] == true);
        report("connection", json!({
            "requests": requests, "version": 1, "alpn": "h3", "resumed": null, "cipher": null,
            "earlyData": early, "handshakeComplete": true, "closed": closed_facts(end),
        }));
    }
}

fn closed_facts(end: &ConnectionError) -> Value {
    match end {
        ConnectionError::ApplicationClosed(close) => {
            json!({ "code": close.error_code.into_inner(), "reason": String::from_utf8_lossy(&close.reason) })
        }
        ConnectionError::ConnectionClosed(close) => {
            json!({ "code": u64::from(close.error_code), "reason": String::from_utf8_lossy(&close.reason) })
        }
        other => json!({ "code": null, "reason": other.to_string() }),
    }
}

pub async fn serve(spec: Spec) -> Outcome<()> {
    let mut config = server_config(&spec)?;
    let mut host: IpAddr = spec.host.parse()?;
    if spec.preferred_address.is_some() {
        // One socket for both addresses.
        host = Ipv4Addr::UNSPECIFIED.into();
    }
    let socket = std::net::UdpSocket::bind(SocketAddr::new(host, spec.port))?;
    let port = socket.local_addr()?.port();
    if let Some(preferred) = &spec.preferred_address {
        config.preferred_address_v4(Some(std::net::SocketAddrV4::new(preferred.address.parse()?, port)));
    }
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket, runtime)?;
    let mut stop = signal(SignalKind::terminate())?;
    report("listening", json!({ "port": port }));
    let accepting = async {
        while let Some(incoming) = endpoint.accept().await {
            if spec.retry && !incoming.remote_address_validated() {
                let _ = incoming.retry();
                continue;
            }
            let key_update_after = spec.key_update_after_bytes;
            tokio::spawn(async move {
                if let Err(error) = serve_connection(incoming, key_update_after).await {
                    eprintln!("connection: {error}");
                }
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = stop.recv() => {}
    }
    endpoint.close(0x100u32.into(), b"");
    // For the reports of the connections that end now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(())
}

async fn serve_connection(incoming: quinn::Incoming, key_update_after: Option<u64>) -> Outcome<()> {
    let (connection, complete) = incoming.accept()?.into_0rtt().map_err(|_| "no 0.5-RTT connection")?;
    let seen = Arc::new(Seen {
        connection: connection.clone(),
        is_handshake_complete: AtomicBool::new(false),
        requests: Mutex::new(Vec::new()),
        key_update: Mutex::new(Trigger::after(key_update_after)),
    });
    let watched = seen.clone();
    tokio::spawn(async move {
        complete.await;
        watched.is_handshake_complete.store(true, Ordering::Relaxed);
    });
    let mut http = h3::server::Connection::new(h3_quinn::Connection::new(connection)).await?;
    while let Ok(Some(resolver)) = http.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let result = async {
                let (request, stream) = resolver.resolve_request().await?;
                answer(request.uri().path().to_string(), stream, &seen).await
            };
            if let Err(error) = result.await {
                eprintln!("request: {error}");
            }
        });
    }
    // Dropped only now: it closes the connection by itself, which would hide how the client closed.
    let end = seen.connection.closed().await;
    drop(http);
    seen.report(&end);
    Ok(())
}

async fn answer(path: String, mut stream: RequestStream, seen: &Seen) -> Outcome<()> {
    let early = !seen.is_handshake_complete.load(Ordering::Relaxed);
    let mut received = 0;
    if let Some(size) = path.strip_prefix("/bytes/") {
        let size: u64 = size.split('/').next().unwrap_or_default().parse()?;
        let head = http::Response::builder().status(200).header("content-length", size).header("x-served-by", "quinn");
        stream.send_response(head.body(())?).await?;
        let mut body = Body::new(size);
        while let Some(part) = body.next_part() {
            seen.count(part.len());
            stream.send_data(Bytes::from(part)).await?;
        }
    } else if path == "/echo" {
        stream.send_response(http::Response::builder().status(200).body(())?).await?;
        let (mut send, mut receive) = stream.split();
        while let Some(mut data) = receive.recv_data().await? {
            let data = data.copy_to_bytes(data.remaining());
            received += data.len();
            send.send_data(data).await?;
        }
        send.finish().await?;
        return note(seen, &path, early, received);
    } else if path == "/upload" {
        let mut body = Received::default();
        while let Some(mut data) = stream.recv_data().await? {
            let data = data.copy_to_bytes(data.remaining());
            seen.count(data.len());
            body.add(&data);
        }
        received = body.bytes as usize;
        let head = http::Response::builder().status(200).header("content-type", "application/json");
        stream.send_response(head.body(())?).await?;
        stream.send_data(Bytes::from(body.upload_answer())).await?;
    } else {
        stream.send_response(http::Response::builder().status(404).body(())?).await?;
    }
    stream.finish().await?;
    note(seen, &path, early, received)
}

fn note(seen: &Seen, path: &str, early: bool, bytes: usize) -> Outcome<()> {
    let mut requests = seen.requests.lock().map_err(|_| "poisoned")?;
    requests.push(json!({ "path": path, "early": early, "bytes": bytes }));
    Ok(())
}
