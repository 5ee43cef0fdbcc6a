"""A multipath QUIC peer built on picoquic: an echo server, or a client that follows steps given as arguments.

Every bidirectional stream begins with one line: `echo` (what follows comes back), `paths` (the counters as JSON),
`status ID backup|available`, `close ID`, `rotate ID` or `key-update` (done by the server on its side).
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time

import library as lib

ALPN = b"multipath-interop"
MAX_PATH_ID = 3  # four paths
PATH_IDS = 32
LINE_BYTES_MAX = 200
DATAGRAM_BYTES = 1536
SENT_AT_ONCE = 64
SOCKET_BYTES = 4_000_000
STEP_SECONDS = 20
OPEN_SECONDS = 10
LINGER_SECONDS = 1
POLL_SECONDS = 0.1
ABANDON_CODE = 0x3E  # APPLICATION_ABANDON_PATH

USAGE = """usage: peer.py LIBRARY_FOLDER --version
       peer.py LIBRARY_FOLDER server ADDRESS[,ADDRESS…] CERTIFICATE KEY QLOG_FOLDER
       peer.py LIBRARY_FOLDER client SERVER_IP:PORT CA QLOG_FOLDER STEP…
         STEP: open:LOCAL_IP[:SERVER_IP]  echo:BYTES  status:ID:backup|available  close:ID  rotate:ID  rebind:LOCAL_IP
               key-update  remote:LINE_WITH_COMMAS_FOR_SPACES  await:LINE (asked until the answer is `ok`)"""


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


def complain(text):
    print(f"picoquic peer: {text}", file=sys.stderr, flush=True)


class Stream:
    """What came on a stream, and how much of it was answered."""

    def __init__(self):
        self.line = None
        self.head = b""
        self.received = bytearray()
        self.is_finished = False


class Connection:
    """One picoquic connection and what it said of its paths."""

    def __init__(self, peer, handle):
        self.peer = peer
        self.handle = handle
        self.streams = {}
        self.events = []
        self.last = {}
        self.is_ready = False
        self.closed = None

    def facts(self):
        """Counters of the paths; those that are gone keep the last ones that were seen."""
        quality = lib.Quality()
        for path in range(PATH_IDS):
            is_open = self.peer.c.picoquic_get_path_quality(self.handle, path, lib.byref(quality)) == 0
            if is_open:
                self.last[path] = {
                    "id": path,
                    "packetsSent": quality.sent,
                    "packetsLost": quality.lost,
                    "bytesSent": quality.bytes_sent,
                    "bytesReceived": quality.bytes_received,
                }
            if path in self.last:
                self.last[path]["isOpen"] = is_open
        return {"paths": list(self.last.values()), "events": self.events}

    def write(self, stream, data, is_last):
        if self.peer.c.picoquic_add_to_stream(self.handle, stream, bytes(data), len(data), int(is_last)) != 0:
            raise RuntimeError(f"stream {stream} takes nothing")

    def act(self, words):
        """A command on a path of ours; raises when picoquic refuses it."""
        c, now = self.peer.c, self.peer.c.picoquic_current_time()
        if words[0] == "status":
            code = c.picoquic_set_path_status(self.handle, int(words[1]), lib.STATUS[words[2]])
        elif words[0] == "close":
            self.facts()
            code = c.picoquic_abandon_path(self.handle, int(words[1]), ABANDON_CODE, now)
        elif words[0] == "rotate":
            code = c.picoquic_refresh_path_connection_id(self.handle, int(words[1]))
        elif words[0] == "key-update":
            code = c.picoquic_start_key_rotation(self.handle)
        else:
            raise RuntimeError(f"unknown command {' '.join(words)}")
        if code != 0:
            raise RuntimeError(f"{' '.join(words)}: picoquic returned {code:#x}")

    def on_stream(self, number, data, is_last):
        stream = self.streams.setdefault(number, Stream())
        stream.is_finished = stream.is_finished or is_last
        if self.peer.is_client:
            stream.received += data
            return
        if stream.line is None:
            stream.head += data
            line, newline, rest = stream.head.partition(b"\n")
            if not newline:
                if len(stream.head) > LINE_BYTES_MAX:
                    raise RuntimeError("the first line of a stream is too long")
                return
            stream.line, data = line.decode(), rest
            if stream.line != "echo":
                self.write(number, self.answer(stream.line).encode(), True)
                return
        if stream.line == "echo":
            self.write(number, data, is_last)

    def answer(self, line):
        try:
            if line == "paths":
                return json.dumps(self.facts())
            self.act(line.split(" "))
            return "ok"
        except (RuntimeError, KeyError, IndexError, ValueError) as error:
            return f"error: {error}"


class Peer:
    """A picoquic context, its sockets and the loop between them."""

    make_connection = Connection

    def __init__(self, c, is_client):
        self.c = c
        self.is_client = is_client
        self.connections = {}
        self.sockets = {}
        self.selector = selectors.DefaultSelector()
        self.callback = lib.Callback(self.on_event)
        self.buffer = ctypes.create_string_buffer(DATAGRAM_BYTES)
        self.quic = None

    def create(self, certificate, key, roots, qlog):
        now = self.c.picoquic_current_time()
        encode = lambda text: None if text is None else text.encode()
        self.c.picoquic_register_all_congestion_control_algorithms()
        self.quic = self.c.picoquic_create(
            8, encode(certificate), encode(key), encode(roots), ALPN, self.callback, None, None, None, None,
            now, None, None, None, 0,
        )  # fmt: skip
        if not self.quic:
            raise SystemExit("picoquic refused its certificate, key or root file")
        self.c.picoquic_set_default_multipath_option(self.quic, 1)
        self.c.picoquic_set_default_tp_value(self.quic, lib.TP_MAX_PATH_ID, MAX_PATH_ID)
        self.c.picoquic_enable_path_callbacks_default(self.quic, 1)
        self.c.picoquic_disable_port_blocking(self.quic, 1)
        self.c.picoquic_set_default_congestion_algorithm_by_name(self.quic, b"cubic")
        self.c.picoquic_set_log_level(self.quic, 1)
        os.makedirs(qlog, exist_ok=True)
        self.c.picoquic_set_qlog(self.quic, qlog.encode())

    def bind(self, host, port=0, known_as=None):
        """A socket; `known_as` is the address that picoquic believes it to have, as behind a NAT."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        bound.bind((host, port))
        bound.setblocking(False)
        pair = known_as or bound.getsockname()[:2]
        self.sockets[pair] = bound
        self.selector.register(bound, selectors.EVENT_READ, pair)
        return pair

    def rebind(self, host):
        """A NAT forgets the mapping of this local address: the peer sees another port, picoquic does not know."""
        pair = next((pair for pair in self.sockets if pair[0] == host), None)
        if pair is None:
            raise RuntimeError(f"no socket on {host}")
        old = self.sockets.pop(pair)
        self.bind(host, known_as=pair)
        self.selector.unregister(old)
        old.close()

    def on_event(self, handle, stream, data, length, event, _context, _stream_context):
        try:
            connection = self.connections.get(handle)
            if connection is None:
                connection = self.connections[handle] = self.make_connection(self, handle)
            if event in (lib.DATA, lib.FIN):
                connection.on_stream(stream, ctypes.string_at(data, length) if length else b"", event == lib.FIN)
            elif event == lib.READY:
                connection.is_ready = True
            elif event in lib.PATHS:
                connection.facts()
                connection.events.append(f"{lib.PATHS[event]} {stream}")
            elif event in lib.CLOSES:
                connection.closed = lib.CLOSES[event]
                if not self.is_client:
                    say("connection", closed=connection.closed, facts=connection.facts())
                    del self.connections[handle]
            elif event in (lib.RESET, lib.STOP_SENDING):
                complain(f"stream {stream} was reset")
            return 0
        except Exception as error:  # nothing may pass through C
            complain(f"in a callback: {error!r}")
            return -1

    def turn(self):
        """Receives what has come, sends what may go, sleeps until there is more."""
        delay = self.c.picoquic_get_next_wake_delay(self.quic, self.c.picoquic_current_time(), 50_000)
        for key, _ in self.selector.select(max(0, delay) / 1e6):
            self.receive(key.fileobj, key.data)
        self.send()

    def receive(self, bound, pair):
        local = lib.Address.of(pair)
        first = lib.c_void_p()
        for _ in range(SENT_AT_ONCE):
            try:
                data, remote = bound.recvfrom(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except ConnectionError as error:  # an ICMP error of an earlier send
                complain(f"{pair}: {error}")
                continue
            self.c.picoquic_incoming_packet_ex(
                self.quic, data, len(data), lib.byref(lib.Address.of(remote[:2])), lib.byref(local), 0, 0,
                lib.byref(first), self.c.picoquic_current_time(),
            )  # fmt: skip

    def send(self):
        length, interface, last = lib.c_size_t(), lib.c_int(), lib.c_void_p()
        remote, local, logged = lib.Address(), lib.Address(), lib.ConnectionId()
        for _ in range(SENT_AT_ONCE):
            length.value = 0
            code = self.c.picoquic_prepare_next_packet_ex(
                self.quic, self.c.picoquic_current_time(), self.buffer, DATAGRAM_BYTES, lib.byref(length),
                lib.byref(remote), lib.byref(local), lib.byref(interface), lib.byref(logged), lib.byref(last), None,
            )  # fmt: skip
            if code != 0 or length.value == 0:
                return
            bound = self.sockets.get(local.pair()) or next(iter(self.sockets.values()))
            try:
                bound.sendto(self.buffer[: length.value], remote.pair())
            except OSError as error:
                complain(f"sending to {remote.pair()}: {error}")

    def until(self, what, is_true, seconds):
        """Runs the loop until something is so."""
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not within {seconds} s: {what}")
            closed = next((c.closed for c in self.connections.values() if c.closed), None)
            if closed is not None:
                raise RuntimeError(f"{closed} while waiting: {what}")
            self.turn()


def pattern(length):
    """The test body: a hash of the place, so that no two blocks are alike."""
    return bytes([(place * 2_654_435_761 >> 24) & 0xFF for place in range(length)])


class Client:
    def __init__(self, peer, server, ca, qlog, body):
        self.peer = peer
        self.body = body
        host, _, port = server.rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)
        peer.create(None, None, ca, qlog)
        peer.bind("127.0.0.1" if ":" not in self.host else "::1")
        address = lib.Address.of((self.host, self.port))
        handle = peer.c.picoquic_create_client_cnx(
            peer.quic, lib.byref(address), peer.c.picoquic_current_time(), 0, b"localhost", ALPN, peer.callback, None
        )
        if not handle:
            raise SystemExit("picoquic did not start a connection")
        self.connection = peer.connections.setdefault(handle, Connection(peer, handle))
        peer.until("connected", lambda: self.connection.is_ready, STEP_SECONDS)

    def ask(self, line, body=b""):
        """Opens a stream, sends a line and a body, returns what comes back."""
        connection = self.connection
        number = self.peer.c.picoquic_get_next_local_stream_id(connection.handle, 0)
        connection.streams[number] = Stream()
        connection.write(number, line.encode() + b"\n" + body, True)
        stream = connection.streams[number]
        self.peer.until(f"an answer to {line}", lambda: stream.is_finished, STEP_SECONDS)
        del connection.streams[number]
        return bytes(stream.received)

    def open(self, local, remote):
        """Connection IDs for further paths come shortly after the handshake: until then opening is tried again."""
        c, connection = self.peer.c, self.connection
        before = len(connection.events)
        ours, theirs = lib.Address.of(self.peer.bind(local)), lib.Address.of((remote, self.port))
        is_begun = lambda: (
            c.picoquic_probe_new_path(connection.handle, lib.byref(theirs), lib.byref(ours), c.picoquic_current_time())
            == 0
        )
        self.peer.until(f"picoquic opens a path from {local}", is_begun, OPEN_SECONDS)
        is_new = lambda: any(event.startswith("available") for event in connection.events[before:])
        self.peer.until(f"the path from {local} is available", is_new, OPEN_SECONDS)

    def take(self, step):
        words = step.split(":")
        if words[0] == "open":
            self.open(words[1], words[2] if len(words) > 2 else self.host)
        elif words[0] == "echo":
            body = self.body[: int(words[1])]
            if self.ask("echo", body) != body:
                raise RuntimeError("other bytes came back")
        elif words[0] == "remote":
            reply = self.ask(words[1].replace(",", " "))
            if reply != b"ok":
                raise RuntimeError(reply.decode(errors="replace"))
        elif words[0] == "await":
            deadline = time.monotonic() + STEP_SECONDS
            while (reply := self.ask(words[1].replace(",", " "))) != b"ok":
                if time.monotonic() > deadline:
                    raise RuntimeError(reply.decode(errors="replace"))
                pause = time.monotonic() + POLL_SECONDS
                self.peer.until("a pause", lambda: time.monotonic() >= pause, STEP_SECONDS)
        elif words[0] == "rebind":
            self.peer.rebind(words[1])
        else:
            self.connection.act(words)

    def close(self):
        peer, handle = self.peer, self.connection.handle
        peer.c.picoquic_close(handle, 0)
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline and peer.c.picoquic_get_cnx_state(handle) != lib.DISCONNECTED:
            peer.turn()


def run_client(c, server, ca, qlog, steps):
    # Made before the connection: it takes as long as many round trips.
    body = pattern(max([int(step[5:]) for step in steps if step.startswith("echo:")], default=0))
    peer = Peer(c, True)
    client = Client(peer, server, ca, qlog, body)
    for step in steps:
        try:
            client.take(step)
        except RuntimeError as error:
            complain(f"step {step}: {error}; {json.dumps(client.connection.facts())}")
            c.picoquic_free(peer.quic)
            return 1
        say(step, facts=client.connection.facts())
    client.close()
    c.picoquic_free(peer.quic)
    say("done")
    return 0


def run_server(c, addresses, certificate, key, qlog):
    peer = Peer(c, False)
    peer.create(certificate, key, None, qlog)
    port = 0
    for address in addresses.split(","):
        port = peer.bind(address, port)[1]
    is_asked_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: is_asked_to_end.append(True))
    say("listening", port=port)
    while not is_asked_to_end:
        peer.turn()
    c.picoquic_free(peer.quic)  # closes the qlog files
    return 0


def main():
    words = sys.argv[1:]
    if len(words) == 2 and words[1] == "--version":
        print(lib.version(words[0]))
        return 0
    if len(words) == 6 and words[1] == "server":
        return run_server(lib.load(words[0]), *words[2:])
    if len(words) >= 6 and words[1] == "client":
        return run_client(lib.load(words[0]), words[2], words[3], words[4], words[5:])
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
