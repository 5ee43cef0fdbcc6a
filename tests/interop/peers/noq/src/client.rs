//! The client: connects, takes its steps one after the other, and says after each what noq counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use noq::crypto::rustls::QuicClientConfig;
use noq::{ClientConfig, Connection, Endpoint, FourTuple, PathStatus, VarInt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;

use crate::paths::Paths;
use crate::{transport, Outcome, ALPN};

const STEP_MS: u64 = 20_000;
const OPEN_TRIES: u32 = 50;
const OPEN_PAUSE_MS: u64 = 20;
const CHUNK_BYTES: usize = 65_536;

pub async fn run(server: &str, ca: &str, steps: &[&str]) -> Outcome<()> {
    let server: SocketAddr = server.parse()?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::client("0.0.0.0:0".parse()?)?;
    let connection = endpoint.connect_with(config, server, "localhost")?.await?;
    let paths = Paths::watch(&connection);
    paths.keep(paths.find(0)?);
    connection.handshake_confirmed().await?;
    for step in steps {
        let taken = take(&connection, &paths, server, step);
        tokio::time::timeout(Duration::from_millis(STEP_MS), taken)
            .await
            .map_err(|_| {
                format!(
                    "step {step}: not done within {STEP_MS} ms: {}",
                    paths.json()
                )
            })?
            .map_err(|error| format!("step {step}: {error}"))?;
        println!("{{\"event\":\"{step}\",\"facts\":{}}}", paths.json());
    }
    connection.close(VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    println!("{{\"event\":\"done\"}}");
    Ok(())
}

async fn take(
    connection: &Connection,
    paths: &Paths,
    server: SocketAddr,
    step: &str,
) -> Outcome<()> {
    let words: Vec<&str> = step.split(':').collect();
    match words.as_slice() {
        ["open", local] => open(connection, paths, server, local).await,
        ["open", local, remote] => {
            let remote = SocketAddr::new(remote.parse()?, server.port());
            open(connection, paths, remote, local).await
        }
        ["echo", bytes] => echo(connection, bytes.parse()?).await,
        ["status", id, word] => paths.set_status(id.parse()?, word),
        ["close", id] => paths.close(id.parse()?),
        ["remote-status", id, word] => ask(connection, &format!("status {id} {word}")).await,
        ["remote-close", id] => ask(connection, &format!("close {id}")).await,
        ["key-update"] => {
            connection.force_key_update();
            Ok(())
        }
        _ => Err("unknown step".into()),
    }
}

/// Connection IDs for further paths come shortly after the handshake: until then opening is tried again.
async fn open(
    connection: &Connection,
    paths: &Paths,
    remote: SocketAddr,
    local: &str,
) -> Outcome<()> {
    let tuple = FourTuple::new(remote, Some(local.parse::<IpAddr>()?));
    for _ in 1..OPEN_TRIES {
        match connection.open_path(tuple, PathStatus::Available).await {
            Ok(path) => {
                paths.keep(path);
                return Ok(());
            }
            Err(noq::PathError::RemoteCidsExhausted) => {
                tokio::time::sleep(Duration::from_millis(OPEN_PAUSE_MS)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err("the peer gave no connection ID for a further path".into())
}

async fn ask(connection: &Connection, line: &str) -> Outcome<()> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(format!("{line}\n").as_bytes()).await?;
    send.finish()?;
    match receive.read_to_end(CHUNK_BYTES).await? {
        reply if reply == b"ok" => Ok(()),
        reply => Err(String::from_utf8_lossy(&reply).into_owned().into()),
    }
}

/// Sends the pattern and compares what comes back.
async fn echo(connection: &Connection, bytes: usize) -> Outcome<()> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let writer = tokio::spawn(async move {
        send.write_all(b"echo\n").await?;
        let mut at = 0;
        while at < bytes {
            let part = pattern(at, CHUNK_BYTES.min(bytes - at));
            send.write_all(&part).await?;
            at += part.len();
        }
        let _ = send.finish();
        Ok::<(), noq::WriteError>(())
    });
    let mut at = 0;
    while let Some(chunk) = receive.read_chunk(CHUNK_BYTES).await? {
        if chunk != pattern(at, chunk.len()) {
            return Err(format!("wrong bytes after {at}").into());
        }
        at += chunk.len();
    }
    writer.await??;
    if at != bytes {
        return Err(format!("{at} bytes came back, {bytes} were sent").into());
    }
    Ok(())
}

/// Bytes of the test body from `at` on: a hash of the place, so that no two blocks are alike.
fn pattern(at: usize, length: usize) -> Vec<u8> {
    (at..at + length)
        .map(|place| ((place as u32).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}
