"""aioquic as server and client of the benchmark: ROLE name=value ..., answers are JSON lines."""

import asyncio
import gc
import json
import signal
import ssl
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from aioquic.tls import SessionTicket

ECHO = 2**64 - 1
ENDLESS = 2**50
MESSAGE = 100
CHUNK = bytes(32 << 10)
# Bytes that aioquic is given ahead on all streams together: it buffers all it gets.
AHEAD = 4 << 20
WINDOWS = {"max_data": 32 << 20, "max_stream_data": 16 << 20, "max_datagram_size": 1452, "idle_timeout": 120.0}

role = sys.argv[1]
given = dict(word.split("=", 1) for word in sys.argv[2:])


def report(event, **facts):
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def percentile(values, share):
    values = sorted(values)
    return values[round((len(values) - 1) * share)] if values else 0


def head(count, extra=0):
    return count.to_bytes(8, "big") + bytes(extra)


class Peer(QuicConnectionProtocol):
    """Keeps a sender for each stream that has more to send than the windows take."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pumps = {}

    def buffered(self, stream):
        return len(self._quic._streams[stream].sender._buffer) if stream in self._quic._streams else 0

    def refill(self):
        for stream, source in list(self.pumps.items()):
            while self.buffered(stream) < AHEAD // len(self.pumps):
                chunk = source()
                if chunk is None:
                    del self.pumps[stream]
                    self._quic.send_stream_data(stream, b"", True)
                    break
                self._quic.send_stream_data(stream, chunk, False)

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.on_data(event.stream_id, event.data, event.end_stream)

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        if self.pumps:
            self.refill()
            self.transmit()


class Server(Peer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.heads = {}

    def on_data(self, stream, data, is_end):
        known = self.heads.get(stream, b"")
        if len(known) < 8:
            missing = 8 - len(known)
            self.heads[stream] = known = known + data[:missing]
            data = data[missing:]
        count = int.from_bytes(known, "big") if len(known) == 8 else 0
        if count == ECHO:
            if data:
                self._quic.send_stream_data(stream, data, is_end)
        elif is_end:
            del self.heads[stream]
            self.answer(stream, count)
        if is_end:
            self.heads.pop(stream, None)

    def answer(self, stream, count):
        left = count

        def source():
            nonlocal left
            length = min(left, len(CHUNK))
            left -= length
            return CHUNK[:length] if length else None

        if count <= len(CHUNK):
            self._quic.send_stream_data(stream, CHUNK[:count], True)
        else:
            self.pumps[stream] = source
            self.refill()


class Client(Peer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.listeners = {}

    def on_data(self, stream, data, is_end):
        listener = self.listeners.get(stream)
        if listener is not None:
            listener(len(data), is_end)

    def open(self, listener):
        stream = self._quic.get_next_available_stream_id()
        self.listeners[stream] = listener
        # aioquic takes the number only when something is sent.
        return stream

    def request(self, upload, download):
        future = asyncio.get_running_loop().create_future()
        received = 0

        def listener(length, is_end):
            nonlocal received
            received += length
            if is_end and not future.done():
                del self.listeners[stream]
                future.set_result(received)

        stream = self.open(listener)
        self._quic.send_stream_data(stream, head(download, upload), True)
        self.transmit()
        return future


async def run_server():
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["perf"], **WINDOWS)
    configuration.load_cert_chain(given["certificate"], given["key"])
    tickets = {}
    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=Server,
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
    )

    def collect():
        gc.collect()
        report("collected")

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, collect)
    report("listening", port=server._transport.get_extra_info("sockname")[1])
    await asyncio.Event().wait()


saved: list[SessionTicket] = []


def connection(mode="full"):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["perf"], verify_mode=ssl.CERT_REQUIRED, **WINDOWS)
    configuration.load_verify_locations(given["ca"])
    configuration.server_name = "localhost"
    if mode != "full" and saved:
        configuration.session_ticket = saved.pop()
    return connect(
        "127.0.0.1",
        int(given["port"]),
        configuration=configuration,
        create_protocol=Client,
        session_ticket_handler=saved.append,
        wait_connected=mode != "early",
    )


async def bulk():
    is_upload = given["direction"] == "up"
    async with connection() as client:
        report("ready")
        warm_at = time.perf_counter() + float(given["warmup"])
        end_at = warm_at + float(given["seconds"])
        total = 0
        ends = []

        def count(length, _is_end):
            nonlocal total
            total += length

        def source():
            nonlocal total
            if time.perf_counter() >= end_at:
                return None
            total += len(CHUNK)
            return CHUNK

        for _ in range(int(given["streams"])):
            if is_upload:
                end = asyncio.get_running_loop().create_future()
                stream = client.open(lambda _length, is_end, end=end: is_end and end.set_result(None))
                client._quic.send_stream_data(stream, head(0), False)
                client.pumps[stream] = source
                ends.append(end)
            else:
                client._quic.send_stream_data(client.open(count), head(ENDLESS), True)
        client.refill()
        client.transmit()
        await asyncio.sleep(float(given["warmup"]))
        warm, warm_at = total, time.perf_counter()
        if is_upload:
            await asyncio.gather(*ends)
        else:
            await asyncio.sleep(end_at - time.perf_counter())
        report("result", bytes=total - warm, seconds=time.perf_counter() - warm_at, totalBytes=total)
        await asyncio.Event().wait()


async def requests():
    async with connection() as client:
        await client.request(MESSAGE - 8, MESSAGE)
        report("ready")
        start = time.perf_counter()
        end_at = start + float(given["seconds"])
        done = 0

        async def worker():
            nonlocal done
            while time.perf_counter() < end_at:
                await client.request(MESSAGE - 8, MESSAGE)
                done += 1

        await asyncio.gather(*[worker() for _ in range(int(given["concurrency"]))])
        report("result", count=done, seconds=time.perf_counter() - start)
        await asyncio.Event().wait()


async def handshakes():
    mode = given["mode"]
    async with connection(mode) as client:
        await client.request(0, 1)
        await asyncio.sleep(0.1)
    report("ready")
    start = time.perf_counter()
    end_at = start + float(given["seconds"])
    connected, answered = [], []
    resumed = early = 0

    async def worker():
        nonlocal resumed, early
        while time.perf_counter() < end_at:
            began = time.perf_counter()
            async with connection(mode) as client:
                connected.append((time.perf_counter() - began) * 1e6)
                await client.request(0, 1)
                answered.append((time.perf_counter() - began) * 1e6)
                await client.wait_connected()
                resumed += client._quic.tls.session_resumed
                early += client._quic.tls.early_data_accepted

    await asyncio.gather(*[worker() for _ in range(int(given["concurrency"]))])
    report(
        "result",
        mode=mode,
        count=len(answered),
        seconds=time.perf_counter() - start,
        resumed=resumed,
        early=early,
        connectedP50Us=percentile(connected, 0.5),
        answeredP50Us=percentile(answered, 0.5),
    )
    await asyncio.Event().wait()


async def pingpong():
    async with connection() as client:
        over = asyncio.get_running_loop().create_future()
        warm_at = time.perf_counter() + float(given["warmup"])
        end_at = warm_at + float(given["seconds"])
        times = []
        left, began, is_ready = MESSAGE, time.perf_counter(), False

        def listener(length, _is_end):
            nonlocal left, began, is_ready
            left -= length
            if left > 0 or over.done():
                return
            now = time.perf_counter()
            if is_ready:
                times.append((now - began) * 1e6)
            elif now >= warm_at:
                is_ready = True
                report("ready")
            if now >= end_at:
                over.set_result(None)
                return
            left, began = MESSAGE, time.perf_counter()
            client._quic.send_stream_data(stream, bytes(MESSAGE), False)
            client.transmit()

        stream = client.open(listener)
        client._quic.send_stream_data(stream, head(ECHO, MESSAGE), False)
        client.transmit()
        if given["load"] == "1":
            client.request(0, ENDLESS)
        await over
        report("result", count=len(times), p50Us=percentile(times, 0.5), p99Us=percentile(times, 0.99))
        await asyncio.Event().wait()


async def announce(step):
    looked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, looked.set)
    report(f"step{step}")
    await looked.wait()


async def idle():
    kept = []
    for step in map(int, given["steps"].split(",")):
        while len(kept) < step:
            context = connection()
            client = await context.__aenter__()
            await client.request(0, 1)
            kept.append((context, client))
        await announce(step)


async def streams():
    async with connection() as client:
        opened = 0
        for step in map(int, given["steps"].split(",")):
            while opened < step:
                echoed = asyncio.get_running_loop().create_future()
                stream = client.open(lambda _length, _is_end, echoed=echoed: echoed.done() or echoed.set_result(None))
                client._quic.send_stream_data(stream, head(ECHO, 1), False)
                client.transmit()
                await echoed
                opened += 1
            await announce(step)


cases = {
    "bulk": bulk,
    "requests": requests,
    "handshakes": handshakes,
    "pingpong": pingpong,
    "idle": idle,
    "streams": streams,
}
asyncio.run(run_server() if role == "server" else cases[given["case"]]())
