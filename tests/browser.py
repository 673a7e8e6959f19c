"""A real browser, driven over Chromium's DevTools protocol through a pair of pipes."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60
KEYS = {
    "Tab": {"code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Backspace": {"code": "Backspace", "windowsVirtualKeyCode": 8},
    "Escape": {"code": "Escape", "windowsVirtualKeyCode": 27},
    "ArrowLeft": {"code": "ArrowLeft", "windowsVirtualKeyCode": 37},
    "ArrowRight": {"code": "ArrowRight", "windowsVirtualKeyCode": 39},
}


def find_browser() -> str:
    """Return the browser's program; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine (none of {', '.join(NAMES)})")
    return found


class Browser:
    """A headless Chromium without a profile and without a network of its own."""

    def __init__(self, folder: Path) -> None:
        program = find_browser()
        arguments = [
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder / 'profile'}",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,860",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        its_input, self._to = _pipe()
        self._from, its_output = _pipe()
        # The browser reads commands from descriptor 3 and answers on descriptor 4.
        script = f'exec "$@" 3<&{its_input} 4>&{its_output}'
        with (folder / "browser.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", script, "browser", program, *arguments],
                pass_fds=(its_input, its_output),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(its_input)
        os.close(its_output)
        self._buffer, self._number = b"", 0
        self.events: list[dict] = []

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError, EOFError):
            self.send("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._to)
        os.close(self._from)

    def send(self, method: str, session: str | None = None, **parameters: object) -> dict:
        """Give a command and return its result; events that come first are kept."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while (message := self._receive()).get("id") != self._number:
            self.events.append(message)
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        return message["result"]

    def wait_for_event(self, method: str, parameters: dict) -> None:
        """Wait until an event has come with such parameters."""

        def fits(event: dict) -> bool:
            return event["method"] == method and parameters.items() <= event["params"].items()

        while not any(fits(event) for event in self.events):
            self.events.append(self._receive())

    def _receive(self) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], PATIENCE)[0]:
                raise AssertionError("the browser does not answer")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise EOFError("the browser has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """A page that is open in a browser."""

    def __init__(self, browser: Browser, url: str, *, before: str = "") -> None:
        self._browser = browser
        # A context of its own: no page finds what another has stored.
        self._context = browser.send("Target.createBrowserContext")["browserContextId"]
        target = browser.send(
            "Target.createTarget", url="about:blank", browserContextId=self._context
        )["targetId"]
        attached = browser.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.send("Page.setLifecycleEventsEnabled", enabled=True)
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.send(f"{domain}.enable")
        if before:
            self.send("Page.addScriptToEvaluateOnNewDocument", source=before)
        self.open(url)

    def open(self, url: str) -> None:
        """Go to an address, or load it anew, and wait until it is there."""
        loader = self.send("Page.navigate", url=url)["loaderId"]
        loaded = {"loaderId": loader, "name": "load"}
        self._browser.wait_for_event("Page.lifecycleEvent", loaded)

    def send(self, method: str, **parameters: object) -> dict:
        return self._browser.send(method, self._session, **parameters)

    def close(self) -> None:
        self._browser.send("Target.disposeBrowserContext", browserContextId=self._context)

    def value(self, expression: str) -> object:
        """Return the value of a JavaScript expression."""
        result = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press and release keys as a keyboard does."""
        for key in keys:
            event = {"key": key, **KEYS.get(key, {"text": key})}
            self.send("Input.dispatchKeyEvent", type="keyDown", **event)
            event.pop("text", None)
            self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def click(self, selector: str) -> None:
        """Scroll to an element and click its middle with the mouse."""
        element = f"document.querySelector({json.dumps(selector)})"
        box = f"({element}.scrollIntoView({{block: 'center'}}), {element}.getBoundingClientRect())"
        x, y = self.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in a file input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def download(self, folder: Path, selector: str) -> bytes:
        """Click an element that downloads a file, and return what the file holds."""
        folder.mkdir()
        self._browser.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(folder),
            browserContextId=self._context,
        )
        self.click(selector)
        end = time.monotonic() + PATIENCE
        while not (found := [p for p in folder.iterdir() if p.suffix == ".csv"]):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.02)
        return found[0].read_bytes()

    def complaints(self) -> list[str]:
        """Return the errors that the page, its policy or the network gave."""
        self.value("1")  # Events that are on their way come before the answer.
        own = [e for e in self._browser.events if e.get("sessionId") == self._session]
        thrown = [str(e["params"]) for e in own if e["method"] == "Runtime.exceptionThrown"]
        entries = [e["params"]["entry"] for e in own if e["method"] == "Log.entryAdded"]
        return thrown + [entry["text"] for entry in entries if entry["level"] == "error"]

    def requests(self) -> set[str]:
        """Return the schemes of all addresses that the page has asked for."""
        self.value("1")
        own = [e for e in self._browser.events if e.get("sessionId") == self._session]
        asked = [e["params"] for e in own if e["method"] == "Network.requestWillBeSent"]
        return {e["request"]["url"].partition(":")[0] for e in asked}


def _pipe() -> tuple[int, int]:
    """Return a pipe whose descriptors do not collide with those that the browser expects."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]
