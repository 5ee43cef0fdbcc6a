//! TLS 1.3 for QUIC by rustls: contexts hold trust and certificates, sessions hold one handshake.
pub mod capture;
pub mod context;
pub mod explain;
pub mod identity;
pub mod session;
pub mod sessions;
pub mod trust;
