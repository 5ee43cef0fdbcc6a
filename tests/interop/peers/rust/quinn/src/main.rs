//! The quinn peer of the interop runner: an HTTP/3 client or server (crate h3) told what to do by a JSON file.

mod client;
mod server;
mod settings;

use common::{Outcome, specification};

const VERSION: &str = "0.11.12";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result: Outcome<()> = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            let spec = specification(VERSION)?;
            match spec.role.as_str() {
                "server" => server::serve(spec).await,
                _ => client::run(spec).await,
            }
        })
    });
    if let Err(error) = result {
        eprintln!("quinn-peer: {error}");
        std::process::exit(1);
    }
}
