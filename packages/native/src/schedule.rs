//! Key derivation of QUIC: HKDF labels, Initial secrets, and the names that differ between versions 1 and 2.
use ring::hkdf::{self, KeyType, Prk};

/// What a QUIC version changes in key derivation.
#[derive(Debug)]
pub struct Labels {
    salt: [u8; 20],
    pub key: &'static str,
    pub iv: &'static str,
    pub hp: &'static str,
    pub update: &'static str,
    pub retry_key: [u8; 16],
    pub retry_nonce: [u8; 12],
}

// RFC 9001 §5.2 and §5.8
static V1: Labels = Labels {
    salt: [
        0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb,
        0x7f, 0x0a,
    ],
    key: "quic key",
    iv: "quic iv",
    hp: "quic hp",
    update: "quic ku",
    retry_key: [0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e],
    retry_nonce: [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb],
};

// RFC 9369 §3.3.1 to §3.3.3
static V2: Labels = Labels {
    salt: [
        0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd,
        0x2e, 0xd9,
    ],
    key: "quicv2 key",
    iv: "quicv2 iv",
    hp: "quicv2 hp",
    update: "quicv2 ku",
    retry_key: [0x8f, 0xb4, 0xb0, 0x1b, 0x56, 0xac, 0x48, 0xe2, 0x60, 0xfb, 0xcb, 0xce, 0xad, 0x7c, 0xcc, 0x92],
    retry_nonce: [0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a],
};

pub const VERSION_1: u32 = 0x0000_0001;
pub const VERSION_2: u32 = 0x6b33_43cf;

/// `None` for versions that we do not speak.
pub fn labels(version: u32) -> Option<&'static Labels> {
    match version {
        VERSION_1 => Some(&V1),
        VERSION_2 => Some(&V2),
        _ => None,
    }
}

/// Largest secret of any suite (SHA-384).
pub const SECRET_MAX: usize = 48;

/// A traffic secret, inline so that wiping its owner wipes it.
#[derive(Clone)]
pub struct Secret {
    bytes: [u8; SECRET_MAX],
    length: u8,
}

impl Secret {
    /// `None` when the secret is longer than that of any suite.
    pub fn new(secret: &[u8]) -> Option<Self> {
        let mut bytes = [0; SECRET_MAX];
        bytes.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(Self { bytes, length: secret.len() as u8 })
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// RFC 8446 §7.1 HKDF-Expand-Label with an empty context.
pub fn expand_label(prk: &Prk, label: &str, out: &mut [u8]) {
    let length = (out.len() as u16).to_be_bytes();
    let label_length = [(6 + label.len()) as u8];
    let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label.as_bytes(), &[0]];
    prk.expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("lengths used by QUIC are below the limit of HKDF");
}

/// Secrets of the client and of the server (RFC 9001 §5.2).
pub fn initial_secrets(labels: &Labels, destination_cid: &[u8]) -> (Secret, Secret) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &labels.salt).extract(destination_cid);
    let derive = |label: &str| {
        let mut bytes = [0; 32];
        expand_label(&prk, label, &mut bytes);
        Secret::new(&bytes).expect("32 bytes fit")
    };
    (derive("client in"), derive("server in"))
}
