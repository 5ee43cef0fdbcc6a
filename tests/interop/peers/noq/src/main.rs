//! A multipath QUIC peer built on noq: an echo server, or a client that follows steps given as arguments.
//!
//! Every bidirectional stream begins with one line: `echo` (what follows comes back), `paths` (the counters as JSON),
//! `status ID backup|available` or `close ID` (done by the server on its side).

mod client;
mod paths;
mod server;

use std::error::Error;

pub const ALPN: &[u8] = b"multipath-interop";
pub const MAX_PATHS: u32 = 4;
pub const LINE_BYTES_MAX: usize = 200;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: noq-peer server BIND_ADDRESS CERTIFICATE KEY
       noq-peer client SERVER_ADDRESS CA STEP…
         STEP: open:LOCAL_IP[:SERVER_IP]  echo:BYTES  status:ID:backup|available  remote-status:ID:…
               close:ID  remote-close:ID  key-update";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match words.as_slice() {
                ["--version"] => {
                    println!("1.4.0");
                    Ok(())
                }
                ["server", bind, certificate, key] => server::run(bind, certificate, key).await,
                ["client", server, ca, steps @ ..] => client::run(server, ca, steps).await,
                _ => Err(USAGE.into()),
            }
        })
    });
    if let Err(error) = result {
        eprintln!("noq-peer: {error}");
        std::process::exit(1);
    }
}

/// Settings of both roles: several paths, windows large enough for the loopback interface.
pub fn transport() -> noq::TransportConfig {
    let mut config = noq::TransportConfig::default();
    config.max_concurrent_multipath_paths(MAX_PATHS);
    config
}
