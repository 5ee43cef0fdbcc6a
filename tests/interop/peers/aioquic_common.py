"""What the aioquic client and server share: test bodies, the one-line JSON reports, versions, qlog and facts."""

import asyncio
import hashlib
import json
import os
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.logger import QuicFileLogger
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

BLOCK = 8192
_BASE = b"".join(hashlib.sha256(b"interop" + i.to_bytes(4, "big")).digest() for i in range(BLOCK // 32))

VERSIONS = {
    "1": QuicProtocolVersion.VERSION_1,
    "2": QuicProtocolVersion.VERSION_2,
    # A reserved version that no server may know: forces Version Negotiation (RFC 9000 section 15).
    "reserved": 0x1A2A3A4A,
}

CIPHERS = {
    "aes128": CipherSuite.AES_128_GCM_SHA256,
    "aes256": CipherSuite.AES_256_GCM_SHA384,
    "chacha20": CipherSuite.CHACHA20_POLY1305_SHA256,
}


def body(size):
    """The test body of `size` bytes: blocks of 8192 bytes, each led by its number, so a shift or swap shows."""
    out = bytearray()
    index = 0
    while len(out) < size:
        out += index.to_bytes(8, "big") + _BASE[8:]
        index += 1
    return bytes(out[:size])


def report(event, **facts):
    """One fact for the runner: a JSON line on standard output."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def configuration(spec, is_client):
    """The QUIC configuration that a runner's specification asks for."""
    config = QuicConfiguration(is_client=is_client, alpn_protocols=["h3"])
    config.supported_versions = [VERSIONS[v] for v in spec["versions"]]
    if is_client:
        config.original_version = VERSIONS[spec.get("firstVersion", spec["versions"][0])]
        config.server_name = spec["serverName"]
        config.load_verify_locations(spec["ca"])
    else:
        config.load_cert_chain(spec["certificate"], spec["privateKey"])
    if spec.get("cipher"):
        config.cipher_suites = [CIPHERS[spec["cipher"]]]
    if spec.get("windowBytes"):
        config.max_data = spec["windowBytes"]
        config.max_stream_data = spec["windowBytes"]
    config.idle_timeout = spec.get("idleTimeoutMs", 30000) / 1000
    if spec.get("qlogDir"):
        os.makedirs(spec["qlogDir"], exist_ok=True)
        config.quic_logger = QuicFileLogger(spec["qlogDir"])
    if spec.get("keylogFile"):
        config.secrets_log_file = open(spec["keylogFile"], "a", buffering=1)
    return config


class Facts:
    """Counts what one connection did; the runner judges by it."""

    def __init__(self, quic):
        self.quic = quic
        self.alpn = None
        self.resumed = False
        self.early_data = False
        self.handshake_complete = False
        self.closed = None

    def on_handshake(self, event):
        self.handshake_complete = True
        self.alpn = event.alpn_protocol
        self.resumed = event.session_resumed
        self.early_data = event.early_data_accepted

    def cipher(self):
        schedule = self.quic.tls.key_schedule if self.quic.tls else None
        return schedule.cipher_suite.name if schedule else None

    def as_json(self):
        return {
            "version": self.quic._version,
            "alpn": self.alpn,
            "resumed": self.resumed,
            "earlyData": self.early_data,
            "handshakeComplete": self.handshake_complete,
            "cipher": self.cipher(),
            "closed": self.closed,
        }


def closed_facts(event):
    return {"code": event.error_code, "frameType": event.frame_type, "reason": event.reason_phrase}


class Peer(QuicConnectionProtocol):
    """A connection that updates its keys once after `keyUpdateAfterBytes` of received or sent bodies."""

    key_update_after = None
    _counted = 0

    def count(self, size):
        self._counted += size
        if self.key_update_after is not None and self._counted >= self.key_update_after:
            self.key_update_after = None
            self.request_key_update()


def specification():
    if len(sys.argv) != 2:
        sys.exit("usage: one argument, a file with the specification as JSON (see tests/interop/README.md)")
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def run(main):
    asyncio.run(main(specification()))
