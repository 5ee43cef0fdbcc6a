//! The echo server: obeys the first line of each stream.

use std::sync::Arc;

use noq::crypto::rustls::QuicServerConfig;
use noq::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::paths::Paths;
use crate::{transport, Outcome, ALPN, LINE_BYTES_MAX};

const CHUNK_BYTES: usize = 65_536;

pub async fn run(bind: &str, certificate: &str, key: &str) -> Outcome<()> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::server(config, bind.parse()?)?;
    println!(
        "{{\"event\":\"listening\",\"port\":{}}}",
        endpoint.local_addr()?.port()
    );
    while let Some(incoming) = endpoint.accept().await {
        let connection = incoming.await?;
        tokio::spawn(serve(connection));
    }
    Ok(())
}

async fn serve(connection: Connection) {
    let paths = Paths::watch(&connection);
    while let Ok((send, receive)) = connection.accept_bi().await {
        let paths = paths.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(&paths, send, receive).await {
                eprintln!("noq-peer: stream: {error}");
            }
        });
    }
    println!(
        "{{\"event\":\"connection\",\"closed\":\"{}\",\"facts\":{}}}",
        connection
            .close_reason()
            .map_or_else(String::new, |reason| reason
                .to_string()
                .replace(['"', '\\'], "'")),
        paths.json()
    );
}

async fn answer(paths: &Paths, mut send: SendStream, mut receive: RecvStream) -> Outcome<()> {
    let line = read_line(&mut receive).await?;
    let words: Vec<&str> = line.split(' ').collect();
    let reply = match words.as_slice() {
        ["echo"] => return echo(send, receive).await,
        ["paths"] => Ok(paths.json()),
        ["status", id, word] => paths.set_status(id.parse()?, word).map(|()| "ok".into()),
        ["close", id] => paths.close(id.parse()?).map(|()| "ok".into()),
        _ => Err(format!("unknown command {line}").into()),
    };
    let text = reply.unwrap_or_else(|error| format!("error: {error}"));
    send.write_all(text.as_bytes()).await?;
    Ok(send.finish()?)
}

async fn echo(mut send: SendStream, mut receive: RecvStream) -> Outcome<()> {
    while let Some(chunk) = receive.read_chunk(CHUNK_BYTES).await? {
        send.write_chunk(chunk).await?;
    }
    Ok(send.finish()?)
}

async fn read_line(receive: &mut RecvStream) -> Outcome<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        receive.read_exact(&mut byte).await?;
        if byte[0] == b'\n' {
            return Ok(String::from_utf8(line)?);
        }
        line.push(byte[0]);
        if line.len() > LINE_BYTES_MAX {
            return Err("the command line is too long".into());
        }
    }
}
