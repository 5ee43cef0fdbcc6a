"""A file over picoquic and every address given: a server, or a client that writes it to standard output.

The loop and the library are those of tests/interop/peers/picoquic. Standard error gets a JSON object at the end: the time
from the request to the last byte, and what came on each path.
"""

import ctypes
import json
import mmap
import os
import selectors
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop", "peers", "picoquic"))

import library as lib  # noqa: E402
import peer as interop  # noqa: E402

TP_MAX_DATA, TP_MAX_STREAM_DATA = 0x04, 0x05
WINDOW_BYTES = 16 << 20
# One copy of this size at a time lies in picoquic's memory, not the whole file.
PIECE_BYTES = 64 << 20
LINE = b"get\n"
OPEN_SECONDS = 10

USAGE = """usage: picoquic_file.py LIBRARY_FOLDER CONGESTION server ADDRESS[,ADDRESS…] PORT CERTIFICATE KEY FILE
       picoquic_file.py LIBRARY_FOLDER CONGESTION get PORT CA LOCAL_IP:SERVER_IP…"""


class FilePeer(interop.Peer):
    """Without logs, with windows that do not limit it, and a loop that wakes to the microsecond."""

    def __init__(self, c, is_client, congestion):
        super().__init__(c, is_client)
        self.selector = selectors.SelectSelector()
        self.congestion = congestion

    def create(self, certificate, key, roots, qlog=None):
        c, encode = self.c, lambda text: None if text is None else text.encode()
        c.picoquic_register_all_congestion_control_algorithms()
        self.quic = c.picoquic_create(
            8, encode(certificate), encode(key), encode(roots), interop.ALPN, self.callback, None, None, None, None,
            c.picoquic_current_time(), None, None, None, 0,
        )  # fmt: skip
        if not self.quic:
            raise SystemExit("picoquic refused its certificate, key or root file")
        c.picoquic_set_default_multipath_option(self.quic, 1)
        for parameter, value in ((lib.TP_MAX_PATH_ID, 3), (TP_MAX_DATA, WINDOW_BYTES), (TP_MAX_STREAM_DATA, WINDOW_BYTES)):
            c.picoquic_set_default_tp_value(self.quic, parameter, value)
        c.picoquic_enable_path_callbacks_default(self.quic, 1)
        c.picoquic_disable_port_blocking(self.quic, 1)
        c.picoquic_set_default_congestion_algorithm_by_name(self.quic, self.congestion.encode())


class Sending(interop.Connection):
    """The server's side: any stream that asks gets the file."""

    def on_stream(self, number, data, is_last):
        stream = self.streams.setdefault(number, interop.Stream())
        stream.head += data
        if not is_last:
            return
        if stream.head != LINE:
            raise RuntimeError(f"asked for {stream.head!r}")
        file, size = self.peer.file, len(self.peer.file)
        for at in range(0, size, PIECE_BYTES):
            self.write(number, file[at : at + PIECE_BYTES], at + PIECE_BYTES >= size)


class Receiving(interop.Connection):
    """The client's side: what comes goes out at once."""

    is_whole = False

    def on_stream(self, number, data, is_last):
        while data:
            data = data[os.write(1, data) :]
        self.is_whole = is_last


def serve(c, congestion, addresses, port, certificate, key, file):
    peer = FilePeer(c, False, congestion)
    with open(file, "rb") as opened:
        peer.file = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    peer.make_connection = Sending
    peer.create(certificate, key, None)
    for address in addresses.split(","):
        peer.bind(address, int(port))
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    interop.say("listening", port=int(port))
    while not ended:
        peer.turn()
    return 0


def get(c, congestion, port, ca, *pairs):
    peer = FilePeer(c, True, congestion)
    peer.make_connection = Receiving
    peer.create(None, None, ca)
    ends = [tuple(pair.split(":")) for pair in pairs]
    locals_ = [peer.bind(local) for local, _ in ends]
    address = lambda index: lib.Address.of((ends[index][1], int(port)))
    handle = c.picoquic_create_client_cnx(
        peer.quic, lib.byref(address(0)), c.picoquic_current_time(), 0, b"localhost", interop.ALPN, peer.callback, None
    )
    connection = peer.connections.setdefault(handle, Receiving(peer, handle))
    peer.until("connected", lambda: connection.is_ready, OPEN_SECONDS)
    began = time.monotonic()
    connection.write(c.picoquic_get_next_local_stream_id(handle, 0), LINE, True)
    ended = []
    signal.signal(signal.SIGINT, lambda *_: ended.append(True))
    waiting = list(range(1, len(ends)))
    while not connection.is_whole and not ended and connection.closed is None:
        if waiting:
            ours = lib.Address.of(locals_[waiting[0]])
            theirs = address(waiting[0])
            now = c.picoquic_current_time()
            # Connection IDs for further paths come shortly after the handshake: until then it is tried again.
            if c.picoquic_probe_new_path(handle, lib.byref(theirs), lib.byref(ours), now) == 0:
                waiting.pop(0)
        peer.turn()
    duration = (time.monotonic() - began) * 1e3
    paths = connection.facts()["paths"]
    report = [{"local": local[0], "bytesReceived": path["bytesReceived"]} for local, path in zip(locals_, paths)]
    print(json.dumps({"durationMs": duration, "paths": report}), file=sys.stderr, flush=True)
    c.picoquic_close(handle, 0)
    peer.turn()
    return 0 if connection.is_whole else 1


def main():
    words = sys.argv[1:]
    if len(words) == 8 and words[2] == "server":
        return serve(lib.load(words[0]), words[1], *words[3:])
    if len(words) >= 6 and words[2] == "get":
        return get(lib.load(words[0]), words[1], *words[3:])
    print(USAGE, file=sys.stderr)
    return 2


sys.exit(main())
