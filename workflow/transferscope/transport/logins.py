"""Logins of the servers that files are fetched from: those of ~/.netrc, as for git, pip and wget.

A login is sent to the server that the file names, and to no other: not the entry `default`, which
would be sent to every server, and not without encryption. It is neither printed nor written.
"""

from __future__ import annotations

import netrc
import os
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from transferscope.errors import user_error

VARIABLE = "NETRC"
FILES = (".netrc", "_netrc")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
HOW = "it asks for a login: add it to ~/.netrc (docs/remote-data.md)"


def login_of(url: str) -> tuple[str, str] | None:
    """Return user and password of the server of a URL; None: there is no login to send there.

    Raises
    ------
    UserError
        If the file of logins cannot be read.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme.lower() != "https" and host not in THIS_MACHINE:
        return None
    for path in _files():
        # `default` is not among the hosts by name.
        known = _logins(path)
        if host != "default" and host in known:
            user, account, password = known[host]
            return user or account or "", password or ""
    return None


def _files() -> list[Path]:
    if named := os.environ.get(VARIABLE):
        return [Path(named).expanduser()]
    home = Path("~").expanduser()
    return [home / name for name in FILES if (home / name).is_file()]


@cache
def _logins(path: Path) -> dict[str, tuple[str, str | None, str | None]]:
    try:
        return dict(netrc.netrc(path).hosts)
    except FileNotFoundError:
        return {}
    except netrc.NetrcParseError as error:
        # What it says of the line may be a password.
        what = f"line {error.lineno} cannot be read" if error.lineno else "cannot be read"
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read ({type(error).__name__})"
    fix = f"Fix it, or name another file in the variable {VARIABLE}."
    raise user_error(path, what, fix) from None


class Logins(AuthBase):
    """Adds the login of a request's server, if there is one."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request with its login."""
        login = login_of(request.url or "")
        if login is None:
            return request
        user, password = (text.encode() for text in login)
        return HTTPBasicAuth(user, password)(request)


class LoginSession(requests.Session):
    """A session that sends each login to its own server only, also where one redirects."""

    def __init__(self) -> None:
        super().__init__()
        # With it, requests does not look for logins itself.
        self.auth = Logins()

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Exchange the login of a request that follows a redirection."""
        prepared_request.headers.pop("Authorization", None)
        Logins()(prepared_request)
