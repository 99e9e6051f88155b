"""Headless Chromium for tests, by its DevTools protocol. In: an address. Out: what a page shows and complains of."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
ARROW = "ArrowRight"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


class Browser:
    """One tab; `with Browser(folder) as browser`."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        from websockets.sync.client import connect

        size = f"--window-size={width},{height}"
        self._process = subprocess.Popen(
            [CHROMIUM, f"--user-data-dir={folder}", size, *FLAGS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = wait(lambda: (folder / "DevToolsActivePort").read_text().split()[0], 60, OSError, IndexError)
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        tab = next(t for t in tabs if t["type"] == "page")
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(tab["webSocketDebuggerUrl"], max_size=None))
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: object) -> dict:
        """Call a method; events that come meanwhile are noted."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def _note(self, event: dict) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(json.dumps(params["args"])[:500])
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])

    def resize(self, width: int, height: int = 900) -> None:
        """The page's own size, px: windows have a least width, pages on a telephone do not."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def run(self, script: str) -> object:
        """The value of a JavaScript expression."""
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def until(self, words: str, seconds: float = 90) -> str:
        """The page's text as soon as it holds `words`."""
        return wait(lambda: text if words in (text := self.text()) else None, seconds, told=self.text)

    def choose_file(self, path: Path) -> None:
        """Put a file into the page's file input, as a click and a dialog would."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def press_right(self, selector: str, times: int = 1) -> None:
        """Focus an element and press the right arrow."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.send("Input.dispatchKeyEvent", type=kind, key=ARROW, code=ARROW, windowsVirtualKeyCode=39)

    def shoot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(20)


def wait(look, seconds: float, *passing: type[Exception], told=lambda: ""):
    """The first true result of `look` within `seconds`; exceptions named in `passing` count as none."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except passing:
            pass
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain: {told()}")
