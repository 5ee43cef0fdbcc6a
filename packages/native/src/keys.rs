//! Directional packet keys: derivation from a secret, header protection, key update, wiping.
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use ring::hkdf::{self, Prk};
use rustls::CipherSuite;

use crate::schedule::{Labels, Secret, expand_label};

pub const TAG_LENGTH: usize = 16;
pub const SAMPLE_LENGTH: usize = 16;

/// The AEADs of TLS 1.3 that QUIC uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Suite {
    pub fn of(suite: CipherSuite) -> Option<Self> {
        match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(Self::Aes128Gcm),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(Self::Aes256Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::ChaCha20Poly1305 => "TLS_CHACHA20_POLY1305_SHA256",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305].into_iter().find(|suite| suite.name() == name)
    }

    /// RFC 9001 §6.6: packets one key may seal.
    pub fn confidentiality_packets(self) -> f64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => (1u64 << 23) as f64,
            Self::ChaCha20Poly1305 => f64::INFINITY,
        }
    }

    /// RFC 9001 §6.6: packets that may fail to open.
    pub fn integrity_packets(self) -> f64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => (1u64 << 52) as f64,
            Self::ChaCha20Poly1305 => (1u64 << 36) as f64,
        }
    }

    fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn header(self) -> &'static quic::Algorithm {
        match self {
            Self::Aes128Gcm => &quic::AES_128,
            Self::Aes256Gcm => &quic::AES_256,
            Self::ChaCha20Poly1305 => &quic::CHACHA20,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
        }
    }
}

/// AEAD key and IV of one key phase.
pub struct PacketKey {
    aead: LessSafeKey,
    iv: [u8; 12],
}

impl PacketKey {
    fn new(suite: Suite, labels: &Labels, secret: &Secret) -> Self {
        let prk = Prk::new_less_safe(suite.hkdf(), secret.as_slice());
        let mut key = [0; 32];
        let key = &mut key[..suite.aead().key_len()];
        expand_label(&prk, labels.key, key);
        let mut iv = [0; 12];
        expand_label(&prk, labels.iv, &mut iv);
        let aead = UnboundKey::new(suite.aead(), key).expect("the key has the length of the suite");
        key.fill(0);
        Self { aead: LessSafeKey::new(aead), iv }
    }

    /// Seals `body`, whose last 16 bytes are filled with the tag.
    pub fn seal(&self, path: u32, number: u64, header: &[u8], body: &mut [u8]) {
        let (plaintext, tag_place) = body.split_at_mut(body.len() - TAG_LENGTH);
        let nonce = Nonce::assume_unique_for_key(nonce(&self.iv, path, number));
        let tag = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(header), plaintext)
            .expect("a datagram is below the length limit of the AEAD");
        tag_place.copy_from_slice(tag.as_ref());
    }

    /// True when `body` was authentic; it then begins with the plaintext. Otherwise its content is lost, the tag is not.
    pub fn open(&self, path: u32, number: u64, header: &[u8], body: &mut [u8]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce(&self.iv, path, number));
        self.aead.open_in_place(nonce, Aad::from(header), body).is_ok()
    }
}

/// RFC 10069 §2.4: "the 96-bit path-and-packet-number": path ID (32), two zero bits, packet number (62), XORed with
/// the IV. With path 0 it is the nonce of RFC 9001 §5.3.
pub fn nonce(iv: &[u8; 12], path: u32, number: u64) -> [u8; 12] {
    let mut out = *iv;
    for (byte, value) in out[..4].iter_mut().zip(path.to_be_bytes()) {
        *byte ^= value;
    }
    for (byte, value) in out[4..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= value;
    }
    out
}

/// One direction of one encryption level.
pub struct DirectionalKey {
    pub suite: Suite,
    pub current: PacketKey,
    /// Receive side of 1-RTT: kept for packets that were late when the key was updated.
    pub previous: Option<PacketKey>,
    /// Receive side of 1-RTT: derived ahead, so that an update takes no measurable time (RFC 9001 §6.3).
    pub next: Option<PacketKey>,
    /// Key updates that lie behind `current`.
    pub updates: u32,
    header: quic::HeaderProtectionKey,
    labels: &'static Labels,
    /// Secret of `next` where there is one, else of `current`.
    secret: Secret,
}

impl DirectionalKey {
    /// `updatable`: a 1-RTT receive key, which must recognise the next key phase.
    pub fn new(suite: Suite, labels: &'static Labels, secret: Secret, updatable: bool) -> Box<Self> {
        let prk = Prk::new_less_safe(suite.hkdf(), secret.as_slice());
        let mut hp = [0; 32];
        let hp = &mut hp[..suite.header().key_len()];
        expand_label(&prk, labels.hp, hp);
        let header = quic::HeaderProtectionKey::new(suite.header(), hp).expect("the key has the length of the suite");
        hp.fill(0);
        let current = PacketKey::new(suite, labels, &secret);
        let mut key = Box::new(Self { suite, current, previous: None, next: None, updates: 0, header, labels, secret });
        if updatable {
            key.derive_next();
        }
        key
    }

    /// RFC 9001 §5.4.1: five bytes of mask.
    pub fn mask(&self, sample: &[u8]) -> [u8; 5] {
        self.header.new_mask(sample).expect("the sample has 16 bytes")
    }

    /// RFC 9001 §6.1: the header protection key stays, everything else moves on.
    pub fn rotate(&mut self) {
        let receives = self.next.is_some();
        if !receives {
            self.derive_next();
        }
        if let Some(next) = self.next.take() {
            let old = std::mem::replace(&mut self.current, next);
            self.updates = (self.updates + 1) & 0x7fff_ffff;
            if receives {
                self.previous = Some(old);
                self.derive_next();
            }
        }
    }

    fn derive_next(&mut self) {
        let prk = Prk::new_less_safe(self.suite.hkdf(), self.secret.as_slice());
        let mut bytes = [0; crate::schedule::SECRET_MAX];
        let bytes = &mut bytes[..self.secret.as_slice().len()];
        expand_label(&prk, self.labels.update, bytes);
        self.secret = Secret::new(bytes).expect("as long as the secret before it");
        bytes.fill(0);
        self.next = Some(PacketKey::new(self.suite, self.labels, &self.secret));
    }
}

/// Overwrites a key before its memory is given back.
pub fn wipe(key: Box<DirectionalKey>) {
    let place = Box::into_raw(key);
    // SAFETY: `place` came from a box; the value is dropped once, its bytes are then overwritten as plain memory and
    // freed with the layout they were allocated with.
    unsafe {
        std::ptr::drop_in_place(place);
        let bytes = place.cast::<u8>();
        for index in 0..size_of::<DirectionalKey>() {
            bytes.add(index).write_volatile(0);
        }
        std::alloc::dealloc(bytes, std::alloc::Layout::new::<DirectionalKey>());
    }
}
