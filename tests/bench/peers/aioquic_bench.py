"""HTTP/3 server and client on aioquic for the benchmark: /bytes/N, /upload and small requests, one connection."""

import asyncio
import json
import signal
import ssl
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

CHUNK = bytes(1 << 20)


def report(event, **facts):
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


class Server(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.requests = {}

    def quic_event_received(self, event):
        for http_event in self.http.handle_event(event):
            stream = getattr(http_event, "stream_id", None)
            if isinstance(http_event, HeadersReceived):
                path = dict(http_event.headers)[b":path"].decode()
                self.requests[stream] = [path, 0]
            elif isinstance(http_event, DataReceived):
                self.requests[stream][1] += len(http_event.data)
            if getattr(http_event, "stream_ended", False):
                self.answer(stream, *self.requests.pop(stream))
        self.transmit()

    def answer(self, stream, path, received):
        self.http.send_headers(stream, [(b":status", b"200")])
        if path.startswith("/bytes/"):
            self.http.send_data(stream, bytes(int(path[7:])), True)
        else:
            self.http.send_data(stream, str(received).encode(), True)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.waiting = {}

    def quic_event_received(self, event):
        for http_event in self.http.handle_event(event):
            stream = getattr(http_event, "stream_id", None)
            entry = self.waiting.get(stream)
            if entry is None:
                continue
            if isinstance(http_event, DataReceived):
                entry[1] += len(http_event.data)
                entry[2] = http_event.data
            if getattr(http_event, "stream_ended", False):
                del self.waiting[stream]
                entry[0].set_result((entry[1], entry[2]))

    def request(self, method, path, body=None):
        stream = self._quic.get_next_available_stream_id()
        future = asyncio.get_running_loop().create_future()
        self.waiting[stream] = [future, 0, b""]
        headers = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
        self.http.send_headers(stream, headers, body is None)
        if body is not None:
            self.http.send_data(stream, body, True)
        self.transmit()
        return future


async def run_server(spec):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(spec["certificate"], spec["privateKey"])
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Server)
    report("listening", port=server._transport.get_extra_info("sockname")[1])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


async def run_client(spec):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_REQUIRED)
    configuration.load_verify_locations(spec["ca"])
    configuration.server_name = "localhost"
    async with connect("127.0.0.1", spec["port"], configuration=configuration, create_protocol=Client) as client:
        await client.request(b"GET", b"/small")
        work = spec["work"]
        start = time.perf_counter()
        if work["kind"] == "download":
            size, _ = await client.request(b"GET", b"/bytes/%d" % work["bytes"])
            report("result", units=size, seconds=time.perf_counter() - start)
        elif work["kind"] == "upload":
            _, answer = await client.request(b"POST", b"/upload", bytes(work["bytes"]))
            report("result", units=int(answer), seconds=time.perf_counter() - start)
        else:
            count = 0

            async def worker():
                nonlocal count
                while time.perf_counter() - start < work["seconds"]:
                    await client.request(b"GET", b"/small")
                    count += 1

            await asyncio.gather(*[worker() for _ in range(work["concurrency"])])
            report("result", units=count, seconds=time.perf_counter() - start)


spec = json.loads(sys.argv[1])
asyncio.run(run_server(spec) if spec["role"] == "server" else run_client(spec))
