"""Whether a server can be reached at all, known within seconds.

An attempt to connect may hang: where a firewall drops packets, or a resolver of names does not
answer, each library waits by its own rules, for minutes. A server that has once taken a connection
is waited for as long as `Patience` says.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

WITHIN_S = 8.0
# Until another address of the same server is tried, too (RFC 8305, 5).
NEXT_ADDRESS_S = 0.25
PORTS = {"http": 80, "https": 443}

_reached: set[tuple[str, int]] = set()


def knock(url: str, within_s: float = WITHIN_S) -> None:
    """Connect to the server of a URL, or to the proxy in front of it, and leave again.

    Parameters
    ----------
    url
        An http(s):// URL.
    within_s
        Longest wait in s, for the name and all addresses together.

    Raises
    ------
    TimeoutError
        If nobody answers.
    OSError
        If the name is unknown, or the connection is refused.
    """
    door = _door(url)
    if door in _reached:
        return
    failed: list[OSError] = [TimeoutError(f"{door[0]} does not answer within {within_s:g} s")]

    def connect() -> None:
        try:
            asyncio.run(_connect(*door))
        except OSError as error:
            failed[:] = [error]
        else:
            failed.clear()

    # The system's search for a name cannot be stopped: it is left to itself.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(within_s)
    for error in failed:
        raise error
    _reached.add(door)


async def _connect(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port, happy_eyeballs_delay=NEXT_ADDRESS_S)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _door(url: str) -> tuple[str, int]:
    proxy = select_proxy(url, get_environ_proxies(url))
    parts = urlsplit(proxy if proxy and "//" in proxy else f"//{proxy}" if proxy else url)
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80)
