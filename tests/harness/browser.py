"""A real browser: Debian's Chromium, without a screen."""

import json
import pathlib
import re
import subprocess
import tempfile
import urllib.parse

from harness import debian
from harness.server_process import GUARD_SECONDS, killed_with_parent

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--disable-dev-shm-usage",
           # The clock of the page runs only while it waits for nothing, and for so long.
           "--virtual-time-budget=10000"]

# Runs the fetches one after the other and leaves in the page what a script of it sees of each.
PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><pre id="saw"></pre><script>
(async () => {
  const saw = [];
  for (const [url, options] of FETCHES) {
    try {
      const answer = await fetch(url, options);
      saw.push({status: answer.status, headers: Object.fromEntries(answer.headers),
                body: await answer.text()});
    } catch (error) {
      saw.push({error: String(error)});
    }
  }
  document.getElementById("saw").textContent = encodeURIComponent(JSON.stringify(saw));
})();
</script>
"""


def find() -> pathlib.Path:
    """The browser itself, of which the package's script would look in the wrong place."""
    script = debian.find("chromium")
    unpacked = script.parents[1] / "lib" / "chromium" / "chromium"
    return unpacked if unpacked.exists() else script


def page(fetches: list[tuple[str, dict]]) -> bytes:
    """A page that makes these calls of `fetch`."""
    return PAGE.replace("FETCHES", json.dumps(fetches)).encode()


def visit(url: str) -> list[dict]:
    """Opens a page that `page` made, and says what its script saw."""
    binary = find()
    with tempfile.TemporaryDirectory(prefix="chromium-") as folder:
        seen = subprocess.run(
            [binary, *OPTIONS, f"--user-data-dir={folder}", "--dump-dom", url],
            env=debian.environment(binary), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=GUARD_SECONDS, check=False, preexec_fn=killed_with_parent)
    found = re.search(r'<pre id="saw">([^<]+)</pre>', seen.stdout)
    assert found, f"the page did not finish:\n{seen.stdout}\n{seen.stderr[-4000:]}"
    return json.loads(urllib.parse.unquote(found[1]))
