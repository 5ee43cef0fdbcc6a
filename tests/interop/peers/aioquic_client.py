"""HTTP/3 client on aioquic for the interop runner: does the requests of its specification and reports what it saw."""

import asyncio
import base64
import hashlib
import time

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset

from aioquic_common import Facts, Peer, body, closed_facts, configuration, report, run

CHUNK = 65536


class ClientPeer(Peer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.facts = Facts(self._quic)
        self.http = None
        self.exchanges = {}
        self.migrate_after = None
        self.bind_host = None
        self.migrations = 0

    def connection_made(self, transport):
        """Second time: a migration. RFC 9000 section 9.5: not one packet with an old connection ID from the new port."""
        if self._transport is not None:
            self._quic.change_connection_id()
        super().connection_made(transport)

    def start_http(self):
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.facts.on_handshake(event)
        elif isinstance(event, ConnectionTerminated):
            self.facts.closed = closed_facts(event)
            for exchange in self.exchanges.values():
                if not exchange["done"].done():
                    exchange["done"].set_exception(ConnectionError(f"connection closed: {self.facts.closed}"))
        elif isinstance(event, StreamReset) and event.stream_id in self.exchanges:
            exchange = self.exchanges[event.stream_id]
            if not exchange["done"].done():
                exchange["done"].set_exception(ConnectionError(f"stream reset with {event.error_code}"))
        if self.http is not None:
            for http_event in self.http.handle_event(event):
                self.on_http(http_event)

    def on_http(self, event):
        exchange = self.exchanges.get(getattr(event, "stream_id", None))
        if exchange is None:
            return
        if isinstance(event, HeadersReceived):
            for name, value in event.headers:
                if name == b":status":
                    exchange["status"] = int(value)
        elif isinstance(event, DataReceived):
            exchange["bytes"] += len(event.data)
            exchange["sha"].update(event.data)
            if exchange["bytes"] <= 4096:
                exchange["head"] += event.data
            self.count(len(event.data))
            self.maybe_migrate(len(event.data))
        if getattr(event, "stream_ended", False) and not exchange["done"].done():
            exchange["done"].set_result(None)

    def maybe_migrate(self, size):
        if self.migrate_after is None:
            return
        self.migrate_after -= size
        if self.migrate_after <= 0:
            self.migrate_after = None
            asyncio.ensure_future(self.migrate())

    async def migrate(self):
        """Moves to a new local port."""
        old = self._transport
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(self.bind_host, 0))
        old.close()
        self.migrations += 1
        self.transmit()

    def connection_lost(self, exc):
        """The old socket of a migration is closed: no news."""

    async def request(self, request, authority):
        stream_id = self._quic.get_next_available_stream_id()
        exchange = {"bytes": 0, "sha": hashlib.sha256(), "status": None, "head": b""}
        exchange["done"] = asyncio.get_running_loop().create_future()
        self.exchanges[stream_id] = exchange
        method = request["method"]
        headers = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", request["path"].encode()),
            (b"user-agent", b"aioquic-interop"),
        ] + [(n.encode(), v.encode()) for n, v in request.get("headers", [])]
        payload = base64.b64decode(request["base64"]) if "base64" in request else body(request.get("size", 0))
        self.http.send_headers(stream_id, headers, end_stream=len(payload) == 0)
        if len(payload) > 0:
            for start in range(0, len(payload), CHUNK):
                part = payload[start : start + CHUNK]
                self.http.send_data(stream_id, part, start + CHUNK >= len(payload))
                self.count(len(part))
        self.transmit()
        await exchange["done"]
        return {
            "path": request["path"],
            "status": exchange["status"],
            "bytes": exchange["bytes"],
            "sha256": exchange["sha"].hexdigest(),
            "text": exchange["head"].decode(errors="replace") if exchange["bytes"] <= 4096 else None,
        }


async def one_connection(spec, config, plan, keep_ticket, keep_token):
    loop = asyncio.get_running_loop()
    from aioquic.quic.connection import QuicConnection

    quic = QuicConnection(configuration=config, session_ticket_handler=keep_ticket, token_handler=keep_token)
    transport, peer = await loop.create_datagram_endpoint(
        lambda: ClientPeer(quic), local_addr=(spec["bindHost"], 0)
    )
    peer.bind_host = spec["bindHost"]
    peer.key_update_after = plan.get("keyUpdateAfterBytes")
    peer.migrate_after = plan.get("migrateAfterBytes")
    authority = spec["serverName"]
    early = plan.get("earlyData", False)
    began = time.monotonic()
    # The form in which asyncio reports senders: with flow and scope for IPv6.
    address = (spec["host"], spec["port"], 0, 0) if ":" in spec["host"] else (spec["host"], spec["port"])
    peer.connect(address, transmit=not early)
    peer.start_http()
    try:
        if not early:
            await peer.wait_connected()
        handshake_ms = (time.monotonic() - began) * 1000
        tasks = [asyncio.ensure_future(peer.request(request, authority)) for request in plan["requests"]]
        responses = await asyncio.gather(*tasks)
        await peer.ping()  # the handshake is confirmed and the ticket has come
        facts = peer.facts.as_json()
        facts["closed"] = None
        return {"responses": responses, "migrations": peer.migrations, "handshakeMs": handshake_ms, **facts}
    except ConnectionError as error:
        raise ConnectionError(f"{error} {peer.facts.closed}")
    finally:
        peer.close(0x100)
        try:
            await asyncio.wait_for(peer.wait_closed(), 3)
        except asyncio.TimeoutError:
            pass
        peer._transport.close()


async def main(spec):
    config = configuration(spec, is_client=True)
    state = {"ticket": None}

    def keep_ticket(ticket):
        state["ticket"] = ticket

    def keep_token(token):
        config.token = token

    done = []
    try:
        async with asyncio.timeout(spec["timeoutMs"] / 1000):
            for plan in spec["connections"]:
                config.session_ticket = state["ticket"] if plan.get("resume") else None
                if plan.get("resume") and state["ticket"] is None:
                    raise ConnectionError("no session ticket came on the connection before")
                done.append(await one_connection(spec, config, plan, keep_ticket, keep_token))
        report("result", ok=True, connections=done)
    except TimeoutError:
        report("result", ok=False, error=f"not done within {spec['timeoutMs']} ms", connections=done)
    except (ConnectionError, OSError) as error:
        report("result", ok=False, error=f"{type(error).__name__}: {error}", connections=done)


run(main)
