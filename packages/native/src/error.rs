//! Errors that reach JavaScript: a stable code and a sentence with thing, place and remedy.
use napi::{Error, Result, Status};

/// Stable `code` of a JavaScript error.
#[derive(Clone, Copy, Debug)]
pub struct Code(pub &'static str);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl From<Status> for Code {
    fn from(_: Status) -> Self {
        Code("ERR_NATIVE")
    }
}

pub fn fail<T>(code: &'static str, message: impl Into<String>) -> Result<T, Code> {
    Err(error(code, message))
}

pub fn error(code: &'static str, message: impl Into<String>) -> Error<Code> {
    Error::new(Code(code), message.into())
}

/// A closed handle was used: the caller's mistake.
pub fn closed(thing: &str) -> Error<Code> {
    error("ERR_CLOSED", format!("this {thing} is closed; create a new one"))
}
