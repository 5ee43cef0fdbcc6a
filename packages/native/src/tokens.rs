//! Endpoint-wide secrets: Retry integrity, address-validation tokens, stateless reset tokens.
use napi::bindgen_prelude::*;
use napi_derive::napi;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::error::{Code, closed, error, fail};
use crate::keys::TAG_LENGTH;
use crate::schedule::labels;

const NONCE_LENGTH: usize = 12;

/// RFC 9001 §5.8 and RFC 9369 §3.3.3.
#[napi]
pub fn retry_integrity_tag(version: u32, pseudo_packet: &[u8]) -> Result<Uint8Array, Code> {
    let Some(labels) = labels(version) else {
        return fail("ERR_VERSION", format!("no Retry key for QUIC version 0x{version:08x}; use 1 or 0x6b3343cf"));
    };
    let key = UnboundKey::new(&AES_128_GCM, &labels.retry_key).expect("the key has 16 bytes");
    let nonce = Nonce::assume_unique_for_key(labels.retry_nonce);
    let tag = LessSafeKey::new(key)
        .seal_in_place_separate_tag(nonce, Aad::from(pseudo_packet), &mut [])
        .expect("an empty plaintext is below every limit");
    Ok(tag.as_ref().to_vec().into())
}

/// Token and reset keys of one endpoint.
#[napi]
pub struct NativeTokenKeys {
    keys: Option<(LessSafeKey, hmac::Key)>,
}

#[napi]
impl NativeTokenKeys {
    /// Both keys have 32 bytes.
    #[napi(constructor)]
    pub fn new(token_key: &[u8], reset_key: &[u8]) -> Result<Self, Code> {
        let Ok(token) = UnboundKey::new(&AES_256_GCM, token_key) else {
            return fail("ERR_RANGE", format!("tokenKey has {} bytes; it needs 32", token_key.len()));
        };
        if reset_key.len() != 32 {
            return fail("ERR_RANGE", format!("resetKey has {} bytes; it needs 32", reset_key.len()));
        }
        Ok(Self { keys: Some((LessSafeKey::new(token), hmac::Key::new(hmac::HMAC_SHA256, reset_key))) })
    }

    /// nonce ‖ ciphertext ‖ tag
    #[napi]
    pub fn seal_token(&self, plaintext: &[u8], associated: &[u8], nonce: &[u8]) -> Result<Uint8Array, Code> {
        let (key, _) = self.keys.as_ref().ok_or_else(|| closed("crypto port"))?;
        let Ok(unique) = Nonce::try_assume_unique_for_key(nonce) else {
            return fail("ERR_RANGE", format!("a token nonce has {NONCE_LENGTH} bytes, this one has {}", nonce.len()));
        };
        let mut token = Vec::with_capacity(NONCE_LENGTH + plaintext.len() + TAG_LENGTH);
        token.extend_from_slice(nonce);
        token.extend_from_slice(plaintext);
        let tag = key
            .seal_in_place_separate_tag(unique, Aad::from(associated), &mut token[NONCE_LENGTH..])
            .map_err(|_| error("ERR_RANGE", "the token is too long to be sealed"))?;
        token.extend_from_slice(tag.as_ref());
        Ok(token.into())
    }

    #[napi]
    pub fn open_token(&self, token: &[u8], associated: &[u8]) -> Result<Option<Uint8Array>, Code> {
        let (key, _) = self.keys.as_ref().ok_or_else(|| closed("crypto port"))?;
        let Some((nonce, sealed)) = token.split_at_checked(NONCE_LENGTH) else {
            return Ok(None);
        };
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("split at 12 bytes");
        let mut sealed = sealed.to_vec();
        Ok(key.open_in_place(nonce, Aad::from(associated), &mut sealed).ok().map(|plaintext| plaintext.to_vec().into()))
    }

    /// RFC 9000 §10.3.2
    #[napi]
    pub fn stateless_reset_token(&self, cid: &[u8]) -> Result<Uint8Array, Code> {
        let (_, key) = self.keys.as_ref().ok_or_else(|| closed("crypto port"))?;
        Ok(hmac::sign(key, cid).as_ref()[..16].to_vec().into())
    }

    #[napi]
    pub fn close(&mut self) {
        self.keys = None;
    }
}
