"""HTTP/3 server on aioquic for the interop runner: /bytes/N, /upload and /echo, with facts as JSON lines."""

import asyncio
import hashlib
import signal

from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, ProtocolNegotiated, StreamReset

from aioquic_common import Facts, Peer, body, closed_facts, configuration, report, run


class ServerPeer(Peer):
    spec = {}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.facts = Facts(self._quic)
        self.http = None
        self.requests = {}
        self.reported = False
        self.key_update_after = self.spec.get("keyUpdateAfterBytes")

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        elif isinstance(event, HandshakeCompleted):
            self.facts.on_handshake(event)
        elif isinstance(event, ConnectionTerminated):
            self.facts.closed = closed_facts(event)
            self.report()
        elif isinstance(event, StreamReset):
            report("streamReset", id=event.stream_id, code=event.error_code)
        if self.http is not None:
            for http_event in self.http.handle_event(event):
                self.on_http(http_event)
            self.transmit()

    def report(self):
        if self.reported:
            return
        self.reported = True
        done = [{"path": r["path"], "early": r["early"], "bytes": r["bytes"]} for r in self.requests.values()]
        report("connection", requests=done, **self.facts.as_json())

    def on_http(self, event):
        if isinstance(event, HeadersReceived) and event.stream_id not in self.requests:
            headers = dict(event.headers)
            path = headers[b":path"].decode()
            request = {"path": path, "bytes": 0, "sha": hashlib.sha256(), "early": not self.facts.handshake_complete}
            self.requests[event.stream_id] = request
            if path == "/echo":
                self.http.send_headers(event.stream_id, [(b":status", b"200")])
        elif isinstance(event, DataReceived):
            request = self.requests[event.stream_id]
            request["bytes"] += len(event.data)
            request["sha"].update(event.data)
            self.count(len(event.data))
            if request["path"] == "/echo":
                self.http.send_data(event.stream_id, event.data, event.stream_ended)
        if getattr(event, "stream_ended", False):
            self.on_request_end(event.stream_id, self.requests[event.stream_id])

    def on_request_end(self, stream_id, request):
        path = request["path"]
        if path.startswith("/bytes/"):
            size = int(path.split("/")[2])
            headers = [(b":status", b"200"), (b"content-length", str(size).encode()), (b"x-served-by", b"aioquic")]
            self.http.send_headers(stream_id, headers)
            self.http.send_data(stream_id, body(size), True)
            self.count(size)
        elif path == "/upload":
            answer = '{"bytes":%d,"sha256":"%s"}' % (request["bytes"], request["sha"].hexdigest())
            headers = [(b":status", b"200"), (b"content-type", b"application/json")]
            self.http.send_headers(stream_id, headers)
            self.http.send_data(stream_id, answer.encode(), True)
        elif path != "/echo":
            self.http.send_headers(stream_id, [(b":status", b"404")], end_stream=True)


async def main(spec):
    ServerPeer.spec = spec
    tickets = {}
    config = configuration(spec, is_client=False)
    resumption = spec.get("resumption", True)

    def keep(ticket):
        if len(tickets) < 1000:
            tickets[ticket.ticket] = ticket

    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(
        lambda: QuicServer(
            configuration=config,
            create_protocol=ServerPeer,
            retry=spec.get("retry", False),
            session_ticket_handler=keep if resumption else None,
            session_ticket_fetcher=tickets.get if resumption else None,
        ),
        local_addr=(spec["host"], spec.get("port", 0)),
    )
    report("listening", port=server._transport.get_extra_info("sockname")[1])
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    open_peers = set(server._protocols.values())
    for _ in range(100):  # connections that the client closed are draining: they report by themselves
        if all(peer.reported or peer._quic._close_event is not None for peer in open_peers):
            break
        await asyncio.sleep(0.01)
    server.close()
    await asyncio.sleep(0.02)
    for peer in open_peers:
        if peer.facts.closed is None and peer._quic._close_event is not None:
            peer.facts.closed = closed_facts(peer._quic._close_event)
        peer.report()
        if peer._quic._quic_logger is not None and config.quic_logger is not None:
            trace, peer._quic._quic_logger = peer._quic._quic_logger, None
            config.quic_logger.end_trace(trace)


run(main)
