"""The hub, where it can be reached; else the copies that are here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transferscope.transport.reach import knock


@contextmanager
def hub_or_copies() -> Iterator[str]:
    """Let libraries ask the hub only if it can be reached, as they retry for half a minute.

    Yields
    ------
    str
        Why it cannot be reached, in which case they use copies in the cache; else empty.
    """
    import huggingface_hub.constants as hub

    before, reason = hub.HF_HUB_OFFLINE, ""
    if not before:
        try:
            knock(hub.ENDPOINT)
        except OSError as error:
            reason = f"{hub.ENDPOINT} cannot be reached: {error.strerror or error}"
            hub.HF_HUB_OFFLINE = True
    try:
        yield reason
    finally:
        hub.HF_HUB_OFFLINE = before
