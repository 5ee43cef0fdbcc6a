//! What the Rust peers share: the specification, the test body, hashes and the JSON lines for the runner.

use std::io::Write;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const BLOCK_BYTES: usize = 8192;
/// Bodies up to this size are also reported as text.
const TEXT_BYTES_MAX: usize = 4096;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone, Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub base64: Option<String>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub requests: Vec<Request>,
    #[serde(default)]
    pub early_data: bool,
    #[serde(default)]
    pub resume: bool,
    #[serde(default)]
    pub key_update_after_bytes: Option<u64>,
    #[serde(default)]
    pub migrate_after_bytes: Option<u64>,
}

#[derive(Clone, Deserialize)]
pub struct PreferredAddress {
    pub address: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub role: String,
    pub host: String,
    pub port: u16,
    #[serde(default)]
    pub bind_host: String,
    #[serde(default)]
    pub server_name: String,
    #[serde(default)]
    pub ca: String,
    #[serde(default)]
    pub certificate: String,
    #[serde(default)]
    pub private_key: String,
    pub versions: Vec<String>,
    #[serde(default)]
    pub cipher: Option<String>,
    #[serde(default)]
    pub retry: bool,
    pub idle_timeout_ms: u64,
    #[serde(default)]
    pub window_bytes: Option<u64>,
    #[serde(default)]
    pub streams_max: Option<u64>,
    #[serde(default)]
    pub timeout_ms: u64,
    pub qlog_dir: PathBuf,
    pub keylog_file: PathBuf,
    #[serde(default)]
    pub key_update_after_bytes: Option<u64>,
    #[serde(default)]
    pub preferred_address: Option<PreferredAddress>,
    #[serde(default)]
    pub connections: Vec<Plan>,
}

/// Reads the specification named by the only argument; `--version` prints `version` and ends the program.
pub fn specification(version: &str) -> Outcome<Spec> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag] if flag == "--version" => {
            println!("{version}");
            std::process::exit(0);
        }
        [file] => Ok(serde_json::from_slice(&std::fs::read(file)?)?),
        _ => Err("usage: one argument, a file with the specification as JSON (see tests/interop/README.md)".into()),
    }
}

/// One fact for the runner: a JSON line on standard output.
pub fn report(event: &str, mut facts: Value) {
    facts["event"] = event.into();
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{facts}");
    let _ = out.flush();
}

/// The outcome of a client as the runner wants it.
pub fn report_result(error: Option<String>, connections: Vec<Value>) {
    match error {
        None => report("result", json!({ "ok": true, "connections": connections })),
        Some(error) => report("result", json!({ "ok": false, "error": error, "connections": connections })),
    }
}

/// A key log shared by the connections of a process.
pub fn open_keylog(spec: &Spec) -> Outcome<std::fs::File> {
    Ok(std::fs::OpenOptions::new().create(true).append(true).open(&spec.keylog_file)?)
}

/// Yields the test body: blocks of 8192 bytes, each led by its number.
pub struct Body {
    block: Vec<u8>,
    size: u64,
    at: u64,
}

impl Body {
    pub fn new(size: u64) -> Self {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        for index in 0..(BLOCK_BYTES / 32) as u32 {
            let mut hash = Sha256::new();
            hash.update(b"interop");
            hash.update(index.to_be_bytes());
            block.extend_from_slice(&hash.finalize());
        }
        Body { block, size, at: 0 }
    }

    /// The next part, which ends at a block's end or the body's.
    pub fn next_part(&mut self) -> Option<Vec<u8>> {
        if self.at >= self.size {
            return None;
        }
        let index = self.at / BLOCK_BYTES as u64;
        self.block[..8].copy_from_slice(&index.to_be_bytes());
        let length = (self.size - self.at).min(BLOCK_BYTES as u64) as usize;
        self.at += length as u64;
        Some(self.block[..length].to_vec())
    }
}

/// What a request sends: its literal body or the test body, in parts.
pub fn request_parts(request: &Request) -> Outcome<Vec<Vec<u8>>> {
    if let Some(text) = &request.base64 {
        return Ok(vec![decode_base64(text)?]);
    }
    let mut body = Body::new(request.size);
    Ok(std::iter::from_fn(|| body.next_part()).collect())
}

fn decode_base64(text: &str) -> Outcome<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(format!("byte {byte} is not Base64").into()),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Ok(out)
}

/// Counts and hashes a body that comes in.
#[derive(Default)]
pub struct Received {
    hash: Sha256,
    head: Vec<u8>,
    pub bytes: u64,
}

impl Received {
    pub fn add(&mut self, data: &[u8]) {
        self.hash.update(data);
        self.bytes += data.len() as u64;
        if self.bytes <= TEXT_BYTES_MAX as u64 {
            self.head.extend_from_slice(data);
        }
    }

    pub fn sha256(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The answer of `/upload`.
    pub fn upload_answer(&self) -> String {
        format!("{{\"bytes\":{},\"sha256\":\"{}\"}}", self.bytes, self.sha256())
    }

    /// The facts of one response.
    pub fn response(&self, path: &str, status: Option<u16>) -> Value {
        let text = (self.bytes <= TEXT_BYTES_MAX as u64).then(|| String::from_utf8_lossy(&self.head).into_owned());
        json!({ "path": path, "status": status, "bytes": self.bytes, "sha256": self.sha256(), "text": text })
    }
}

/// Says once that so many bytes have passed.
pub struct Trigger(Option<i64>);

impl Trigger {
    pub fn after(bytes: Option<u64>) -> Self {
        Trigger(bytes.map(|bytes| bytes as i64))
    }

    /// True when the bytes make it due; never again after that.
    pub fn count(&mut self, bytes: usize) -> bool {
        let Some(left) = &mut self.0 else { return false };
        *left -= bytes as i64;
        if *left > 0 {
            return false;
        }
        self.0 = None;
        true
    }
}
