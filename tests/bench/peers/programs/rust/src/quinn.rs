//! quinn as a peer of the benchmark.

mod arguments;
mod percentile;
mod peer {
    use ::quinn as quic;
    include!("tokio_peer.rs");

    /// Length of the next piece that has arrived, which is dropped; nothing at the end.
    async fn next_chunk(receive: &mut RecvStream) -> Outcome<Option<usize>> {
        Ok(receive.read_chunk(usize::MAX, true).await?.map(|chunk| chunk.bytes.len()))
    }
}

fn main() -> arguments::Outcome<()> {
    peer::main()
}
