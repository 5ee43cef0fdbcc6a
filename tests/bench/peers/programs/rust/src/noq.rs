//! noq as a peer of the benchmark.

mod arguments;
mod percentile;
mod peer {
    use ::noq as quic;
    include!("tokio_peer.rs");

    /// Length of the next piece that has arrived, which is dropped; nothing at the end.
    async fn next_chunk(receive: &mut RecvStream) -> Outcome<Option<usize>> {
        Ok(receive.read_chunk(usize::MAX).await?.map(|chunk| chunk.len()))
    }
}

fn main() -> arguments::Outcome<()> {
    peer::main()
}
