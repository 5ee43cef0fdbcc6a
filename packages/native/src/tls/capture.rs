//! Takes traffic secrets out of rustls through its key log, because the packet keys are our own.
//!
//! rustls derives secrets inside `new` and `read_hs` only, on the calling thread; each session drains what its own
//! call left here.
use std::cell::RefCell;

use rustls::KeyLog;

use crate::schedule::Secret;

pub struct Captured {
    pub label: String,
    pub client_random: Vec<u8>,
    pub secret: Secret,
}

thread_local! {
    static CAPTURED: RefCell<Vec<Captured>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub struct Capture;

impl KeyLog for Capture {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if let Some(secret) = Secret::new(secret) {
            let (label, client_random) = (label.to_owned(), client_random.to_vec());
            CAPTURED.with_borrow_mut(|list| list.push(Captured { label, client_random, secret }));
        }
    }
}

pub fn drain() -> Vec<Captured> {
    CAPTURED.take()
}
