//! A body on its way out, held back by flow control.

use std::collections::VecDeque;

use common::{Body, Outcome};
use quiche::h3;

pub enum Source {
    Test(Body),
    /// Parts that are known, and whether more may come.
    Parts { parts: VecDeque<Vec<u8>>, is_open: bool },
}

pub struct Outgoing {
    pub source: Source,
    part: Vec<u8>,
    at: usize,
    is_finished: bool,
}

impl Outgoing {
    pub fn new(source: Source) -> Self {
        Outgoing { source, part: Vec::new(), at: 0, is_finished: false }
    }

    pub fn parts(parts: Vec<Vec<u8>>) -> Self {
        Outgoing::new(Source::Parts { parts: parts.into(), is_open: false })
    }

    /// For a message whose end went out with its headers.
    pub fn end(&mut self) {
        self.is_finished = true;
    }

    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Hands over what the stream takes; returns the bytes taken.
    pub fn push(&mut self, http: &mut h3::Connection, quic: &mut quiche::Connection, stream: u64) -> Outcome<usize> {
        let mut taken = 0;
        while !self.is_finished {
            if self.at == self.part.len() {
                self.at = 0;
                self.part.clear();
                let next = match &mut self.source {
                    Source::Test(body) => body.next_part(),
                    Source::Parts { parts, .. } => parts.pop_front(),
                };
                match next {
                    Some(part) => self.part = part,
                    None if matches!(self.source, Source::Parts { is_open: true, .. }) => break,
                    None => {
                        match http.send_body(quic, stream, &[], true) {
                            Ok(_) => self.is_finished = true,
                            Err(h3::Error::Done | h3::Error::StreamBlocked) => break,
                            Err(error) => return Err(error.into()),
                        }
                        break;
                    }
                }
            }
            match http.send_body(quic, stream, &self.part[self.at..], false) {
                Ok(bytes) => {
                    self.at += bytes;
                    taken += bytes;
                }
                Err(h3::Error::Done | h3::Error::StreamBlocked) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }
}
