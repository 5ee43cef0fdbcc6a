// The benchmark's server and client for quinn and noq, whose interfaces are alike. Included where `quic` is one of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quic::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quic::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{signal, SignalKind};

use crate::arguments::{Arguments, Outcome};
use crate::percentile::percentile;

const ALPN: &[u8] = b"perf";
const ECHO: u64 = u64::MAX;
const ENDLESS: u64 = 1 << 60;
const CHUNK: &[u8] = &[7; 256 * 1024];
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const MESSAGE: usize = 100;

pub fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    // One thread, as quinn's own perf programs do: the two processes share two cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.role.as_str() {
            "server" => serve(&arguments).await,
            "client" => work(&arguments).await,
            other => Err(format!("there is no role {other}").into()),
        }
    })
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(20_000))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_idle_timeout(Some(Duration::from_secs(120).try_into().expect("in range")));
    Arc::new(config)
}

async fn serve(arguments: &Arguments) -> Outcome<()> {
    let chain = CertificateDer::pem_file_iter(arguments.text("certificate")?)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(arguments.text("key")?)?)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = u32::MAX;
    tls.session_storage = rustls::server::ServerSessionMemoryCache::new(4096);
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    println!("{{\"event\":\"listening\",\"port\":{}}}", endpoint.local_addr()?.port());
    let mut look = signal(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        while look.recv().await.is_some() {
            println!("{{\"event\":\"collected\"}}");
        }
    });
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connecting) = incoming.accept() else { continue };
        tokio::spawn(async move {
            // Streams of early data are served before the handshake is done.
            let connection = match connecting.into_0rtt() {
                Ok((connection, _)) => connection,
                Err(_) => return,
            };
            while let Ok((send, receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let _ = answer(send, receive).await;
                });
            }
        });
    }
    Ok(())
}

/// Eight bytes say how many bytes to answer with once the request has ended; all ones ask for an echo.
async fn answer(mut send: SendStream, mut receive: RecvStream) -> Outcome<()> {
    let mut head = [0; 8];
    receive.read_exact(&mut head).await?;
    let count = u64::from_be_bytes(head);
    if count == ECHO {
        let mut buffer = [0; 4096];
        while let Some(length) = receive.read(&mut buffer).await? {
            send.write_all(&buffer[..length]).await?;
        }
        return Ok(send.finish()?);
    }
    drain(&mut receive, &AtomicU64::new(0)).await?;
    send_bytes(&mut send, count, None, &AtomicU64::new(0)).await?;
    Ok(send.finish()?)
}

async fn drain(receive: &mut RecvStream, counter: &AtomicU64) -> Outcome<()> {
    while let Some(length) = next_chunk(receive).await? {
        counter.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(())
}

async fn send_bytes(send: &mut SendStream, mut left: u64, until: Option<Instant>, sent: &AtomicU64) -> Outcome<()> {
    while left > 0 && until.is_none_or(|end| Instant::now() < end) {
        let length = left.min(CHUNK.len() as u64);
        send.write_chunk(Bytes::from_static(CHUNK).slice(..length as usize)).await?;
        sent.fetch_add(length, Ordering::Relaxed);
        left -= length;
    }
    Ok(())
}

#[derive(Clone)]
struct Client {
    endpoint: Endpoint,
    server: SocketAddr,
    config: ClientConfig,
}

impl Client {
    fn new(arguments: &Arguments) -> Outcome<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(arguments.text("ca")?)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mode = arguments.text("mode").unwrap_or("full");
        if mode == "full" {
            tls.resumption = rustls::client::Resumption::disabled();
        }
        tls.enable_early_data = mode == "early";
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(transport());
        let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
        let server = SocketAddr::from(([127, 0, 0, 1], arguments.number("port")? as u16));
        Ok(Self { endpoint, server, config })
    }

    async fn connect(&self) -> Outcome<Connection> {
        Ok(self.endpoint.connect_with(self.config.clone(), self.server, "localhost")?.await?)
    }
}

async fn request(connection: &Connection, upload: usize, download: u64) -> Outcome<u64> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut message = vec![0; 8 + upload];
    message[..8].copy_from_slice(&download.to_be_bytes());
    send.write_all(&message).await?;
    send.finish()?;
    let received = AtomicU64::new(0);
    drain(&mut receive, &received).await?;
    Ok(received.into_inner())
}

fn ready() {
    println!("{{\"event\":\"ready\"}}");
}

async fn work(arguments: &Arguments) -> Outcome<()> {
    let client = Client::new(arguments)?;
    match arguments.text("case")? {
        "bulk" => bulk(arguments, &client).await?,
        "requests" => requests(arguments, &client, 1).await?,
        "scale" => requests(arguments, &client, arguments.number("connections")? as usize).await?,
        "handshakes" => handshakes(arguments, &client).await?,
        "pingpong" => pingpong(arguments, &client).await?,
        "idle" => idle(arguments, &client).await?,
        "streams" => streams(arguments, &client).await?,
        other => return Err(format!("there is no case {other}").into()),
    }
    client.endpoint.close(VarInt::from_u32(0), b"");
    client.endpoint.wait_idle().await;
    Ok(())
}

async fn bulk(arguments: &Arguments, client: &Client) -> Outcome<()> {
    let connection = client.connect().await?;
    let is_upload = arguments.text("direction")? == "up";
    let (seconds, warmup) = (arguments.number("seconds")?, arguments.number("warmup")?);
    ready();
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(warmup + seconds);
    let counter = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..arguments.number("streams")? as usize {
        let (connection, counter) = (connection.clone(), counter.clone());
        tasks.push(tokio::spawn(async move {
            let (mut send, mut receive) = connection.open_bi().await?;
            let count: u64 = if is_upload { 0 } else { ENDLESS };
            send.write_all(&count.to_be_bytes()).await?;
            if is_upload {
                send_bytes(&mut send, ENDLESS, Some(end), &counter).await?;
            }
            send.finish()?;
            if is_upload {
                return drain(&mut receive, &AtomicU64::new(0)).await;
            }
            tokio::select! {
                _ = tokio::time::sleep_until(end.into()) => Ok(()),
                result = drain(&mut receive, &counter) => result,
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs_f64(warmup)).await;
    let (warm, warm_at) = (counter.load(Ordering::Relaxed), Instant::now());
    for task in tasks {
        task.await??;
    }
    let (total, elapsed) = (counter.load(Ordering::Relaxed), warm_at.elapsed().as_secs_f64());
    println!("{{\"event\":\"result\",\"bytes\":{},\"seconds\":{elapsed},\"totalBytes\":{total}}}", total - warm);
    wait().await
}

/// The runner ends the process once it has read its CPU time.
async fn wait() -> Outcome<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

async fn requests(arguments: &Arguments, client: &Client, count: usize) -> Outcome<()> {
    let connections = connect_many(client, count).await?;
    for connection in &connections {
        request(connection, MESSAGE - 8, MESSAGE as u64).await?;
    }
    ready();
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(arguments.number("seconds")?);
    let next = Arc::new(AtomicU64::new(0));
    let connections = Arc::new(connections);
    let mut tasks = Vec::new();
    for _ in 0..arguments.number("concurrency")? as usize {
        let (connections, next) = (connections.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                let at = next.fetch_add(1, Ordering::Relaxed) as usize % connections.len();
                request(&connections[at], MESSAGE - 8, MESSAGE as u64).await?;
                done += 1;
            }
            Outcome::Ok(done)
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    let elapsed = started.elapsed().as_secs_f64();
    println!("{{\"event\":\"result\",\"count\":{done},\"seconds\":{elapsed}}}");
    wait().await
}

async fn connect_many(client: &Client, count: usize) -> Outcome<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(client.connect().await?);
    }
    Ok(connections)
}

/// Connects, has one byte answered, closes; in mode `early` the request goes with the first flight.
async fn handshakes(arguments: &Arguments, client: &Client) -> Outcome<()> {
    let is_early = arguments.text("mode")? == "early";
    let first = client.connect().await?;
    request(&first, 0, 1).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.close(VarInt::from_u32(0), b"");
    ready();
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(arguments.number("seconds")?);
    let early = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..arguments.number("concurrency")? as usize {
        let (client, early) = (client.clone(), early.clone());
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                let connecting = client.endpoint.connect_with(client.config.clone(), client.server, "localhost")?;
                let connection = if is_early {
                    match connecting.into_0rtt() {
                        Ok((connection, _)) => {
                            early.fetch_add(1, Ordering::Relaxed);
                            connection
                        }
                        Err(connecting) => connecting.await?,
                    }
                } else {
                    connecting.await?
                };
                let connected = began.elapsed();
                request(&connection, 0, 1).await?;
                times.push((connected.as_secs_f64() * 1e6, began.elapsed().as_secs_f64() * 1e6));
                connection.close(VarInt::from_u32(0), b"");
            }
            Outcome::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    let (mut connected, mut answered): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
    connected.sort_by(f64::total_cmp);
    answered.sort_by(f64::total_cmp);
    println!(
        "{{\"event\":\"result\",\"count\":{},\"seconds\":{elapsed},\"early\":{},\"connectedP50Us\":{},\"answeredP50Us\":{}}}",
        answered.len(),
        early.load(Ordering::Relaxed),
        percentile(&connected, 0.5),
        percentile(&answered, 0.5),
    );
    wait().await
}

async fn pingpong(arguments: &Arguments, client: &Client) -> Outcome<()> {
    let connection = client.connect().await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&ECHO.to_be_bytes()).await?;
    if arguments.text("load")? == "1" {
        let connection = connection.clone();
        tokio::spawn(async move { request(&connection, 0, ENDLESS).await });
    }
    let mut message = [5; MESSAGE];
    let warm = Instant::now() + Duration::from_secs_f64(arguments.number("warmup")?);
    while Instant::now() < warm {
        send.write_all(&message).await?;
        receive.read_exact(&mut message).await?;
    }
    ready();
    let end = Instant::now() + Duration::from_secs_f64(arguments.number("seconds")?);
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        send.write_all(&message).await?;
        receive.read_exact(&mut message).await?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{{\"event\":\"result\",\"count\":{},\"p50Us\":{},\"p99Us\":{}}}",
        times.len(),
        percentile(&times, 0.5),
        percentile(&times, 0.99)
    );
    wait().await
}

/// Says that a step is reached, and waits until the runner has looked.
async fn announce(step: usize) -> Outcome<()> {
    let mut looked = signal(SignalKind::user_defined2())?;
    println!("{{\"event\":\"step{step}\"}}");
    looked.recv().await;
    Ok(())
}

/// Opens connections up to each count of `steps`, each with one answered request, and keeps them.
async fn idle(arguments: &Arguments, client: &Client) -> Outcome<()> {
    let mut connections = Vec::new();
    for step in arguments.text("steps")?.split(',') {
        let step: usize = step.parse()?;
        while connections.len() < step {
            let connection = client.connect().await?;
            request(&connection, 0, 1).await?;
            connections.push(connection);
        }
        announce(step).await?;
    }
    wait().await
}

/// Opens streams of one connection up to each count of `steps`, each with one echoed byte, and keeps them open.
async fn streams(arguments: &Arguments, client: &Client) -> Outcome<()> {
    let connection = client.connect().await?;
    let mut open = Vec::new();
    for step in arguments.text("steps")?.split(',') {
        let step: usize = step.parse()?;
        while open.len() < step {
            let (mut send, mut receive) = connection.open_bi().await?;
            let mut message = [0; 9];
            message[..8].copy_from_slice(&ECHO.to_be_bytes());
            send.write_all(&message).await?;
            receive.read_exact(&mut message[..1]).await?;
            open.push((send, receive));
        }
        announce(step).await?;
    }
    wait().await
}
