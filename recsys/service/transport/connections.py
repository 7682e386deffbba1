"""Connections: limits on the time and size of headers, and on those without a key.

uvicorn has neither: its parser collects headers for as long as they come.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsys.service.options import ServiceOptions

HEADER_BYTES = 64 << 10


class KeylessConnections:
    """Connections on which no key came yet, the oldest first.

    Where there are too many, in all or of one address, the oldest is closed: whoever has a key sends it at
    once and is let in, however many others wait.
    """

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most, self._most_per_address = most, most_per_address
        self._address_of: dict[asyncio.Transport, str] = {}
        self._of_address: defaultdict[str, dict[asyncio.Transport, None]] = defaultdict(dict)

    def add(self, transport: asyncio.Transport, address: str) -> None:
        """Add a connection."""
        self._address_of[transport] = address
        same = self._of_address[address]
        same[transport] = None
        crowded = same if len(same) > self._most_per_address else self._address_of
        if crowded is same or len(crowded) > self._most:
            oldest = next(iter(crowded))
            self.discard(oldest)
            oldest.abort()

    def discard(self, transport: asyncio.Transport) -> None:
        """Forget a connection: it has ended, or a key came."""
        address = self._address_of.pop(transport, None)
        if address is not None:
            same = self._of_address[address]
            del same[transport]
            if not same:
                del self._of_address[address]


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, within limits; see `limited_protocol`."""

    header_s: float
    keyless: KeylessConnections
    _timer: asyncio.TimerHandle | None = None  # runs while headers are awaited
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await headers."""
        super().connection_made(transport)
        self.keyless.add(transport, self.client[0] if self.client else "")
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self.keyless.discard(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound the headers of a request, which may be the next one on this connection."""
        if self._timer is None and self.cycle is not None and self.cycle.response_complete:
            self._await_headers()  # also of bytes that begin no request
        super().data_received(data)
        if self._timer is not None:  # they have not ended
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request, in which the guard can say that a key came."""
        super().on_message_begin()
        if self._timer is None:
            self._await_headers()
        transport = self.transport
        extensions: dict[str, Any] = {"whyrec.authenticated": lambda: self.keyless.discard(transport)}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().on_headers_complete()

    def _await_headers(self) -> None:
        self._header_bytes = 0
        self._timer = self.loop.call_later(self.header_s, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def limited_protocol(options: ServiceOptions) -> type[LimitedProtocol]:
    """Return the protocol of a server with these options."""
    connections = KeylessConnections(options.keyless_connections, options.keyless_per_address)
    return type("Limited", (LimitedProtocol,), {"header_s": float(options.header_s), "keyless": connections})
