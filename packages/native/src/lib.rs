//! The native half of QuicEther: packet protection in batches, TLS sessions, batched UDP, certificates.
//!
//! It makes no protocol decision. Handles are closed by their owners; finalizers only free what was left over.
#[cfg(not(unix))]
compile_error!("the UDP port of QuicEther is written for Linux and macOS; on Windows build it inside WSL 2");

mod certificates;
mod error;
mod keys;
mod protection;
mod schedule;
mod slab;
mod slots;
mod tls;
mod tokens;
mod udp;
