//! The client: one connection after the other, all requests of a connection at once.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use common::{Outcome, Plan, Received, Request, Spec, Trigger, report_result, request_parts};
use h3_quinn::OpenStreams;
use quinn::Endpoint;
use serde_json::{Value, json};

use crate::settings::{client_config, client_crypto};

type Requests = h3::client::SendRequest<OpenStreams, Bytes>;

const H3_NO_ERROR: u32 = 0x100;

pub async fn run(spec: Spec) -> Outcome<()> {
    let mut done = Vec::new();
    let crypto = client_crypto(&spec)?;
    let limit = Duration::from_millis(spec.timeout_ms);
    let all = async {
        for (index, plan) in spec.connections.iter().enumerate() {
            let config = client_config(&spec, crypto.clone(), &format!("client-{index}"))?;
            done.push(connect_once(&spec, plan, config).await?);
        }
        Outcome::Ok(())
    };
    let error = match tokio::time::timeout(limit, all).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("not done within {} ms", spec.timeout_ms)),
    };
    report_result(error, done);
    Ok(())
}

/// Acts on the connection in the middle of its transfers.
struct Acts {
    endpoint: Endpoint,
    connection: quinn::Connection,
    bind: IpAddr,
    key_update: Trigger,
    migrate: Trigger,
    migrations: u32,
}

impl Acts {
    fn count(&mut self, bytes: usize) -> Outcome<()> {
        if self.key_update.count(bytes) {
            self.connection.force_key_update();
        }
        if self.migrate.count(bytes) {
            self.endpoint.rebind(UdpSocket::bind((self.bind, 0))?)?;
            self.migrations += 1;
        }
        Ok(())
    }
}

async fn connect_once(spec: &Spec, plan: &Plan, config: quinn::ClientConfig) -> Outcome<Value> {
    let bind: IpAddr = spec.bind_host.parse()?;
    let endpoint = Endpoint::client(SocketAddr::new(bind, 0))?;
    let remote = SocketAddr::new(spec.host.parse()?, spec.port);
    let began = Instant::now();
    let connecting = endpoint.connect_with(config, remote, &spec.server_name)?;
    let mut accepted = None;
    let connection = if plan.early_data {
        let (connection, early) = connecting.into_0rtt().map_err(|_| "there is no session to send 0-RTT with")?;
        accepted = Some(early);
        connection
    } else {
        connecting.await?
    };
    let handshake_ms = began.elapsed().as_secs_f64() * 1000.0;
    let acts = Rc::new(Mutex::new(Acts {
        endpoint: endpoint.clone(),
        connection: connection.clone(),
        bind,
        key_update: Trigger::after(plan.key_update_after_bytes),
        migrate: Trigger::after(plan.migrate_after_bytes),
        migrations: 0,
    }));
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await?;
    let work = exchange_all(spec, plan, &requests, &acts);
    let responses = tokio::select! {
        responses = work => responses?,
        end = std::future::poll_fn(|context| driver.poll_close(context)) => return Err(format!("connection: {end}").into()),
    };
    let early = match accepted {
        Some(early) => early.await,
        None => false,
    };
    // Session tickets come after the handshake: give them one round trip by one more small request.
    let last = Request { method: "GET".into(), path: "/bytes/1".into(), size: 0, base64: None, headers: vec![] };
    tokio::select! {
        response = exchange(spec, requests.clone(), &last, acts.clone()) => { response?; }
        end = std::future::poll_fn(|context| driver.poll_close(context)) => return Err(format!("connection: {end}").into()),
    }
    connection.close(H3_NO_ERROR.into(), b"");
    let _ = tokio::time::timeout(Duration::from_millis(200), endpoint.wait_idle()).await;
    let migrations = acts.lock().map_or(0, |acts| acts.migrations);
    Ok(json!({
        "responses": responses, "migrations": migrations, "handshakeMs": handshake_ms,
        // The crates tell neither the version nor the suite nor whether a session was resumed.
        "version": 1, "alpn": "h3", "resumed": null, "cipher": null,
        "earlyData": early, "handshakeComplete": true, "closed": null,
    }))
}

async fn exchange_all(spec: &Spec, plan: &Plan, requests: &Requests, acts: &Rc<Mutex<Acts>>) -> Outcome<Vec<Value>> {
    let local = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for request in &plan.requests {
        let (spec, request, requests, acts) = (spec.clone(), request.clone(), requests.clone(), acts.clone());
        tasks.push(local.spawn_local(async move { exchange(&spec, requests, &request, acts).await }));
    }
    local
        .run_until(async {
            let mut responses = Vec::new();
            for task in tasks {
                responses.push(task.await??);
            }
            Ok(responses)
        })
        .await
}

async fn exchange(spec: &Spec, mut requests: Requests, request: &Request, acts: Rc<Mutex<Acts>>) -> Outcome<Value> {
    let uri = format!("https://{}{}", spec.server_name, request.path);
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let (mut send, mut receive) = requests.send_request(builder.body(())?).await?.split();
    let parts = request_parts(request)?;
    let count = |bytes: usize| acts.lock().map_err(|_| "poisoned")?.count(bytes);
    let upload = async {
        for part in parts {
            count(part.len())?;
            send.send_data(Bytes::from(part)).await?;
        }
        send.finish().await?;
        Outcome::Ok(())
    };
    let download = async {
        let response = receive.recv_response().await?;
        let mut received = Received::default();
        while let Some(mut data) = receive.recv_data().await? {
            let data = data.copy_to_bytes(data.remaining());
            count(data.len())?;
            received.add(&data);
        }
        Outcome::Ok(received.response(&request.path, Some(response.status().as_u16())))
    };
    let (sent, response) = tokio::join!(upload, download);
    sent?;
    response
}
