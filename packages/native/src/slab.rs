//! Typed arrays of the caller, borrowed for one call.
use napi::bindgen_prelude::*;
use napi::sys;

/// A `Uint8Array` to be changed in place. It is never kept beyond the call.
pub struct Bytes<'a>(pub &'a mut [u8]);

/// An `Int32Array` to be changed in place. It is never kept beyond the call.
pub struct Words<'a>(pub &'a mut [i32]);

impl TypeName for Bytes<'_> {
    fn type_name() -> &'static str {
        "Uint8Array"
    }
    fn value_type() -> ValueType {
        ValueType::Object
    }
}

impl TypeName for Words<'_> {
    fn type_name() -> &'static str {
        "Int32Array"
    }
    fn value_type() -> ValueType {
        ValueType::Object
    }
}

impl FromNapiValue for Bytes<'_> {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        // SAFETY: `value` belongs to `env` for the duration of the call, as the caller promises.
        Ok(Self(unsafe { <&mut [u8]>::from_napi_value(env, value)? }))
    }
}

impl FromNapiValue for Words<'_> {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        // SAFETY: as above.
        Ok(Self(unsafe { <&mut [i32]>::from_napi_value(env, value)? }))
    }
}

impl Words<'_> {
    /// Whether the words share memory with `bytes`: the caller's mistake.
    pub fn overlaps(&self, bytes: &Bytes<'_>) -> bool {
        let (words, bytes) = (self.0.as_ptr_range(), bytes.0.as_ptr_range());
        words.start.addr() < bytes.end.addr() && bytes.start.addr() < words.end.addr()
    }
}
