//! The quiche peer of the interop runner: an HTTP/3 client or server told what to do by a JSON file.

mod client;
mod network;
mod outgoing;
mod server;

use common::{Outcome, Spec, specification};

const VERSION: &str = "0.30.0";
const DATAGRAM_BYTES: usize = 1350;
const CONNECTION_IDS: u64 = 4;

fn main() {
    let result: Outcome<()> = specification(VERSION).and_then(|spec| match spec.role.as_str() {
        "server" => server::serve(&spec),
        _ => client::run(&spec),
    });
    if let Err(error) = result {
        eprintln!("quiche-peer: {error}");
        std::process::exit(1);
    }
}

/// What both roles are told.
fn config(spec: &Spec, version: u32) -> Outcome<quiche::Config> {
    let mut config = quiche::Config::new(version)?;
    config.set_application_protos(quiche::h3::APPLICATION_PROTOCOL)?;
    config.set_max_idle_timeout(spec.idle_timeout_ms);
    config.set_max_recv_udp_payload_size(65_527);
    config.set_max_send_udp_payload_size(DATAGRAM_BYTES);
    let window = spec.window_bytes.unwrap_or(4 << 20);
    config.set_initial_max_data(window);
    config.set_initial_max_stream_data_bidi_local(window);
    config.set_initial_max_stream_data_bidi_remote(window);
    config.set_initial_max_stream_data_uni(window);
    if spec.window_bytes.is_some() {
        config.set_max_connection_window(window);
        config.set_max_stream_window(window);
    }
    config.set_initial_max_streams_bidi(spec.streams_max.unwrap_or(100));
    config.set_initial_max_streams_uni(16);
    config.set_active_connection_id_limit(CONNECTION_IDS);
    config.log_keys();
    Ok(config)
}

/// Logs of one connection, opened before its first packet.
fn observe(connection: &mut quiche::Connection, spec: &Spec, name: &str) -> Outcome<()> {
    connection.set_keylog(Box::new(common::open_keylog(spec)?));
    let file = std::fs::File::create(spec.qlog_dir.join(format!("{name}.sqlog")))?;
    connection.set_qlog(Box::new(file), "interop".into(), name.into());
    Ok(())
}
