"""A tab of a real Chromium that a test drives, by the DevTools protocol over a pair of pipes.

Source: https://chromedevtools.github.io/devtools-protocol/ and Chromium's
`devtools_pipe_handler.cc`: commands come on descriptor 3, answers and events go to descriptor 4,
JSON texts with a NUL behind each.
"""

import base64
import contextlib
import json
import os
import subprocess
import tempfile
import time

from harness import browser, debian
from harness.server_process import GUARD_SECONDS, killed_with_parent

OPTIONS = [option for option in browser.OPTIONS if "virtual-time" not in option]


class Tab:
    """One tab in a browser of its own. A context manager: leaving it ends the browser."""

    def __init__(self, width: int = 1200, height: int = 900) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        reads, self.sends = os.pipe()
        self.receives, writes = os.pipe()
        binary = browser.find()

        def inherit() -> None:
            killed_with_parent()
            # Above 4, so that neither is overwritten before it is in its place.
            high = [os.dup2(descriptor, 100 + at) for at, descriptor in enumerate((reads, writes))]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [binary, *OPTIONS, "--remote-debugging-pipe", "--hide-scrollbars",
             f"--window-size={width},{height}", f"--user-data-dir={self.folder.name}",
             "about:blank"],
            env=debian.environment(binary), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=inherit)
        os.close(reads)
        os.close(writes)
        self.pending = b""
        self.number = 0
        self.session: str | None = None
        # What the page says on its console, errors of scripts, and refusals by its policy.
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Tab":
        return self

    def __exit__(self, *_) -> None:
        self.session = None
        with contextlib.suppress(AssertionError, OSError):
            self.send("Browser.close")
        os.close(self.sends)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GUARD_SECONDS)
        self.process.kill()
        self.process.wait()
        os.close(self.receives)
        self.folder.cleanup()

    def send(self, method: str, **parameters) -> dict:
        """Sends a command, and returns its result."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        os.write(self.sends, json.dumps(command).encode() + b"\0")
        while True:
            message = self.receive()
            if message.get("id") == self.number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            self.note(message)

    def receive(self) -> dict:
        while b"\0" not in self.pending:
            data = os.read(self.receives, 1 << 16)
            if not data:
                raise AssertionError("the browser has ended")
            self.pending += data
        text, _, self.pending = self.pending.partition(b"\0")
        return json.loads(text)

    def note(self, event: dict) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(parameters["args"]))
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])

    def open(self, url: str, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=url)

    def evaluate(self, script: str):
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, script: str):
        """Until an expression in the page holds; the limit is a guard against hanging."""
        deadline = time.monotonic() + GUARD_SECONDS
        while not (value := self.evaluate(script)):
            if time.monotonic() > deadline:
                raise AssertionError(f"waiting for {script}; the page has "
                                     f"{self.evaluate('document.body.innerText')!r}, and said "
                                     f"{self.complaints}")
            time.sleep(0.02)
        return value

    def screenshot(self) -> bytes:
        """The tab as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
