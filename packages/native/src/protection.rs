//! Packet protection over whole batches, in place: the calls behind `PacketProtection`.
//!
//! Word positions of the descriptors are those of `packages/transport/src/ports/crypto.ts`.
use std::cell::RefCell;

use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::error::{Code, error, fail};
use crate::keys::{DirectionalKey, SAMPLE_LENGTH, Suite, TAG_LENGTH, nonce, wipe};
use crate::schedule::{Secret, initial_secrets, labels};
use crate::slab::{Bytes, Words};
use crate::slots::Slots;

const WORDS: usize = 8;
const TOO_SHORT: i32 = -1;
const NO_KEY: i32 = -2;
const AUTHENTICATION: i32 = -3;

/// A packet number space as the opener sees it.
struct Space {
    /// Largest opened number, -1 before the first.
    largest: i64,
    /// Lowest number opened with the key after `lowest_updates` key updates.
    lowest: u64,
    lowest_updates: u32,
}

struct Tables {
    keys: Slots<Box<DirectionalKey>>,
    spaces: Slots<Space>,
}

thread_local! {
    // Keys made by a TLS session are used by the packet protection of the same JavaScript thread.
    static TABLES: RefCell<Tables> = const { RefCell::new(Tables { keys: Slots::new(), spaces: Slots::new() }) };
}

/// Enters a key; `rx_of_one_rtt` makes it follow key updates of the peer.
pub fn add_key(suite: Suite, version: u32, secret: Secret, rx_of_one_rtt: bool) -> Result<i32, Code> {
    let Some(labels) = labels(version) else {
        return fail("ERR_VERSION", format!("QUIC version 0x{version:08x} is not known; use 1 or 0x6b3343cf"));
    };
    let key = DirectionalKey::new(suite, labels, secret, rx_of_one_rtt);
    TABLES
        .with_borrow_mut(|tables| tables.keys.insert(key))
        .ok_or_else(|| error("ERR_TOO_MANY_KEYS", "a million packet keys are alive; close connections first"))
}

/// Forgets and wipes a key. Dead ids do nothing.
#[napi]
pub fn close_key(key: i32) {
    if let Some(key) = TABLES.with_borrow_mut(|tables| tables.keys.remove(key)) {
        wipe(key);
    }
}

#[napi(object, object_from_js = false)]
pub struct NativeKeyPair {
    pub rx: i32,
    pub tx: i32,
}

#[napi]
pub fn initial_keys(version: u32, destination_cid: &[u8], is_client: bool) -> Result<NativeKeyPair, Code> {
    let Some(names) = labels(version) else {
        return fail("ERR_VERSION", format!("no Initial keys for QUIC version 0x{version:08x}; use 1 or 0x6b3343cf"));
    };
    let (client, server) = initial_secrets(names, destination_cid);
    let (rx, tx) = if is_client { (server, client) } else { (client, server) };
    Ok(NativeKeyPair {
        rx: add_key(Suite::Aes128Gcm, version, rx, false)?,
        tx: add_key(Suite::Aes128Gcm, version, tx, false)?,
    })
}

/// A key straight from a traffic secret, for test vectors and for decoding captures.
#[napi]
pub fn key_from_secret(version: u32, cipher_suite: String, secret: &[u8], receives: bool) -> Result<i32, Code> {
    let Some(suite) = Suite::from_name(&cipher_suite) else {
        return fail("ERR_CIPHER_SUITE", format!("{cipher_suite} is not a cipher suite that QUIC uses"));
    };
    let Some(secret) = Secret::new(secret) else {
        return fail("ERR_SECRET", format!("a secret of {} bytes fits no cipher suite", secret.len()));
    };
    add_key(suite, version, secret, receives)
}

/// The nonce of a packet (RFC 10069 §2.4), for test vectors.
#[napi]
pub fn packet_nonce(iv: &[u8], path: u32, pn_low: i32, pn_high: i32) -> Result<Uint8Array, Code> {
    let Ok(iv) = <&[u8; 12]>::try_from(iv) else {
        return fail("ERR_RANGE", format!("an IV has 12 bytes, this one has {}", iv.len()));
    };
    Ok(nonce(iv, path, number_of(pn_low, pn_high)).to_vec().into())
}

#[napi(object, object_from_js = false)]
pub struct NativeKeyLimits {
    pub confidentiality_packets: f64,
    pub integrity_packets: f64,
    pub cipher_suite: String,
}

#[napi]
pub fn key_limits(key: i32) -> Result<NativeKeyLimits, Code> {
    TABLES.with_borrow_mut(|tables| {
        let key = live(&mut tables.keys, key)?;
        Ok(NativeKeyLimits {
            confidentiality_packets: key.suite.confidentiality_packets(),
            integrity_packets: key.suite.integrity_packets(),
            cipher_suite: key.suite.name().to_owned(),
        })
    })
}

#[napi]
pub fn rotate_keys(rx: i32, tx: i32) -> Result<(), Code> {
    TABLES.with_borrow_mut(|tables| {
        live(&mut tables.keys, tx)?;
        let key = live(&mut tables.keys, rx)?;
        if key.next.is_none() {
            return fail("ERR_KEY_UPDATE", format!("key {rx} does not open 1-RTT packets; only those keys rotate"));
        }
        key.rotate();
        live(&mut tables.keys, tx)?.rotate();
        Ok(())
    })
}

#[napi]
pub fn drop_previous_key(rx: i32) {
    TABLES.with_borrow_mut(|tables| {
        if let Some(key) = tables.keys.get_mut(rx) {
            key.previous = None;
        }
    });
}

#[napi]
pub fn create_space() -> Result<i32, Code> {
    let space = Space { largest: -1, lowest: u64::MAX, lowest_updates: u32::MAX };
    TABLES.with_borrow_mut(|tables| tables.spaces.insert(space)).ok_or_else(|| {
        error("ERR_TOO_MANY_SPACES", "a million packet number spaces are alive; close connections first")
    })
}

#[napi]
pub fn close_space(space: i32) {
    TABLES.with_borrow_mut(|tables| tables.spaces.remove(space));
}

#[napi]
pub fn seal_packets(bytes: Bytes, descriptors: Words, count: u32) -> Result<(), Code> {
    let end = batch(&bytes, &descriptors, count)?;
    TABLES.with_borrow_mut(|tables| {
        for descriptor in descriptors.0[..end].chunks_exact(WORDS) {
            seal_one(tables, bytes.0, descriptor)?;
        }
        Ok(())
    })
}

#[napi]
pub fn open_packets(bytes: Bytes, descriptors: Words, count: u32) -> Result<(), Code> {
    let end = batch(&bytes, &descriptors, count)?;
    TABLES.with_borrow_mut(|tables| {
        for descriptor in descriptors.0[..end].chunks_exact_mut(WORDS) {
            open_one(tables, bytes.0, descriptor)?;
        }
        Ok(())
    })
}

fn seal_one(tables: &mut Tables, bytes: &mut [u8], descriptor: &[i32]) -> Result<(), Code> {
    let &[offset, header_length, length, pn_low, pn_high, key, path, pn_length] = descriptor else {
        return fail("ERR_RANGE", "a seal descriptor has 8 words");
    };
    let packet = slice(bytes, offset, length)?;
    let header_length = header_length as usize;
    let pn_offset = header_length.wrapping_sub(pn_length as usize);
    // RFC 9001 §5.4.2: the sample begins 4 bytes after the start of the packet number.
    if !(1..=4).contains(&pn_length)
        || header_length > packet.len()
        || pn_offset == 0
        || pn_offset > header_length
        || header_length + TAG_LENGTH > packet.len()
        || pn_offset + 4 + SAMPLE_LENGTH > packet.len()
    {
        return fail(
            "ERR_RANGE",
            format!(
                "cannot seal a packet of {length} bytes with a header of {header_length} that ends in a packet number \
                 of {pn_length}; pad the payload to 4 bytes, packet number included"
            ),
        );
    }
    let key = live(&mut tables.keys, key)?;
    let (header, body) = packet.split_at_mut(header_length);
    key.current.seal(path as u32, number_of(pn_low, pn_high), header, body);
    let sample_at = pn_offset + 4;
    let mask = key.mask(&packet[sample_at..sample_at + SAMPLE_LENGTH]);
    packet[0] ^= mask[0] & protected_bits(packet[0]);
    for (byte, mask) in packet[pn_offset..header_length].iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
    }
    Ok(())
}

fn open_one(tables: &mut Tables, bytes: &mut [u8], descriptor: &mut [i32]) -> Result<(), Code> {
    let [offset, length, pn_offset, key, path, space, ..] = *descriptor else {
        return fail("ERR_RANGE", "an open descriptor has 8 words");
    };
    let packet = slice(bytes, offset, length)?;
    if pn_offset < 1 {
        return fail("ERR_RANGE", format!("a packet number cannot stand at offset {pn_offset} of a packet"));
    }
    let pn_offset = pn_offset as usize;
    if pn_offset + 4 + SAMPLE_LENGTH > packet.len() {
        descriptor[1] = TOO_SHORT;
        return Ok(());
    }
    let Some(space) = tables.spaces.get_mut(space) else {
        return fail("ERR_CLOSED", format!("packet number space {space} is closed or was never created"));
    };
    let Some(key) = tables.keys.get_mut(key) else {
        descriptor[1] = NO_KEY;
        return Ok(());
    };

    let sample_at = pn_offset + 4;
    let mask = key.mask(&packet[sample_at..sample_at + SAMPLE_LENGTH]);
    packet[0] ^= mask[0] & protected_bits(packet[0]);
    let first = packet[0];
    let pn_length = usize::from(first & 3) + 1;
    let mut truncated = 0;
    for (byte, mask) in packet[pn_offset..pn_offset + pn_length].iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
        truncated = truncated << 8 | u64::from(*byte);
    }
    let number = expand_number(space.largest, truncated, pn_length);
    let header_length = pn_offset + pn_length;
    let (header, body) = packet.split_at_mut(header_length);
    let opened = open_with_phase(key, space, path as u32, number, header, body);
    descriptor[4] = i32::from(first);
    let Some(updates) = opened else {
        descriptor[1] = AUTHENTICATION;
        return Ok(());
    };
    space.largest = space.largest.max(number as i64);
    if updates == key.updates {
        if space.lowest_updates != updates {
            space.lowest_updates = updates;
            space.lowest = number;
        }
        space.lowest = space.lowest.min(number);
    }
    descriptor[0] = offset + header_length as i32;
    descriptor[1] = (body.len() - TAG_LENGTH) as i32;
    descriptor[2] = number as u32 as i32;
    descriptor[3] = (number >> 32) as i32;
    descriptor[5] = updates as i32;
    Ok(())
}

/// Opens with the key that the phase bit stands for; returns how many updates lie behind that key.
fn open_with_phase(
    key: &DirectionalKey,
    space: &Space,
    path: u32,
    number: u64,
    header: &[u8],
    body: &mut [u8],
) -> Option<u32> {
    let phase = u32::from(header[0] >> 2 & 1);
    let Some(next) = &key.next else {
        return key.current.open(path, number, header, body).then_some(0);
    };
    if phase == key.updates & 1 {
        return key.current.open(path, number, header, body).then_some(key.updates);
    }
    let after = (key.updates + 1) & 0x7fff_ffff;
    let Some(previous) = &key.previous else {
        return next.open(path, number, header, body).then_some(after);
    };
    // RFC 9001 §6.3 and §6.4: a number below the lowest of the current phase belongs to the phase before it.
    let before = key.updates.wrapping_sub(1) & 0x7fff_ffff;
    if space.lowest_updates == key.updates {
        return if number < space.lowest {
            previous.open(path, number, header, body).then_some(before)
        } else {
            next.open(path, number, header, body).then_some(after)
        };
    }
    // Nothing of the current phase has come in this space yet: both keys are possible, and a failed attempt spoils
    // the bytes.
    let copy = body.to_vec();
    if previous.open(path, number, header, body) {
        return Some(before);
    }
    body.copy_from_slice(&copy);
    next.open(path, number, header, body).then_some(after)
}

/// RFC 9000 §A.3, with `largest` -1 before the first packet.
fn expand_number(largest: i64, truncated: u64, length: usize) -> u64 {
    let expected = (largest + 1) as u64;
    let window = 1u64 << (8 * length);
    let half = window / 2;
    let candidate = expected & !(window - 1) | truncated;
    if candidate + half <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + half && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// RFC 9001 §5.4.1: four bits of a long header's first byte, five of a short one's.
fn protected_bits(first: u8) -> u8 {
    if first & 0x80 == 0 { 0x1f } else { 0x0f }
}

fn number_of(low: i32, high: i32) -> u64 {
    u64::from(high as u32) << 32 | u64::from(low as u32)
}

fn live(keys: &mut Slots<Box<DirectionalKey>>, id: i32) -> Result<&mut DirectionalKey, Code> {
    match keys.get_mut(id) {
        Some(key) => Ok(key),
        None => fail("ERR_CLOSED", format!("packet key {id} is closed or was never created")),
    }
}

/// Words of the batch, once it is known to be sound.
fn batch(bytes: &Bytes, descriptors: &Words, count: u32) -> Result<usize, Code> {
    let end = (count as usize).saturating_mul(WORDS);
    if end > descriptors.0.len() {
        let words = descriptors.0.len();
        return fail("ERR_RANGE", format!("{count} descriptors of {WORDS} words do not fit in {words} words"));
    }
    if descriptors.overlaps(bytes) {
        return fail("ERR_RANGE", "descriptors and packets share memory; give each an ArrayBuffer range of its own");
    }
    Ok(end)
}

fn slice(bytes: &mut [u8], offset: i32, length: i32) -> Result<&mut [u8], Code> {
    let total = bytes.len();
    usize::try_from(offset)
        .ok()
        .zip(usize::try_from(length).ok())
        .and_then(|(offset, length)| bytes.get_mut(offset..offset.checked_add(length)?))
        .ok_or_else(|| {
            error("ERR_RANGE", format!("packet [{offset}, +{length}) lies outside of the slab of {total} bytes"))
        })
}
