"""`make demo`: a chat through Envoy, streaming and not, twice each, with timings.

Ends with 0 only if each was a MISS and then a HIT of the same bytes. KEEP=1 leaves all of it
running until Ctrl-C, with a page in a browser and to try more with curl.
"""

import dataclasses
import os
import signal
import sys
import time

from harness import demo_page, envoy_program
from harness.envoy import EXAMPLE, ROOT, Config, Envoy
from harness.envoy_binary import NoEnvoy
from harness.http1 import Answer, Http1Connection, request_bytes
from harness.standin import Standin

# One for each, because a stream and a whole answer to one question share one place in the cache.
QUESTIONS = {"stream": "Why is a cache in front of a model a good idea? Answer in one sentence.",
             "json": "When is a cache in front of a model a bad idea? Answer in one sentence."}


@dataclasses.dataclass
class Row:
    kind: str
    answer: Answer
    first_byte: float
    total: float


def timed_chat(port: int, stream: bool) -> Row:
    kind = "stream" if stream else "json"
    body = {"model": "stand-in", "stream": stream,
            "messages": [{"role": "user", "content": QUESTIONS[kind]}]}
    # A provider is no faster with a whole answer than with a stream of it.
    headers = {"authorization": "Bearer demo"}
    with Http1Connection(port) as connection:
        start = time.perf_counter()
        connection.send(request_bytes("POST", "/v1/chat/completions", body, headers,
                                      standin="" if stream else "split=40;pace=20"))
        answer = connection.read_head()
        if not connection.pending:
            connection.fill()
        first_byte = time.perf_counter() - start
        connection.read_body(answer)
        return Row(kind, answer, first_byte, time.perf_counter() - start)


def table(rows: list[Row]) -> str:
    lines = [f"{'request':8} {'x-cache':8} {'status':>6} {'first byte':>12} {'total':>12} "
             f"{'bytes':>7}  bytes equal"]
    earlier: dict[str, bytes] = {}
    for row in rows:
        body = row.answer.body
        same = "-" if row.kind not in earlier else "yes" if earlier[row.kind] == body else "no"
        earlier.setdefault(row.kind, body)
        lines.append(f"{row.kind:8} {row.answer.cache or 'none':8} {row.answer.status:>6} "
                     f"{row.first_byte * 1000:>9.2f} ms {row.total * 1000:>9.2f} ms "
                     f"{len(body):>7}  {same}")
    return "\n".join(lines)


def as_promised(rows: list[Row]) -> bool:
    """MISS then HIT, the same bytes, for each kind of request."""
    for kind in ("stream", "json"):
        miss, hit = (row.answer for row in rows if row.kind == kind)
        if (miss.cache, hit.cache) != ("MISS", "HIT") or miss.body != hit.body:
            return False
        if (miss.status, hit.status) != (200, 200):
            return False
    return True


def main() -> int:
    config = Config()
    envoy_port = config.listener["address"]["socket_address"]["port_value"]
    try:
        program = envoy_program.chosen()
    except NoEnvoy as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Envoy     {program}, {EXAMPLE.relative_to(ROOT)}")
    try:
        standin = Standin(port=config.upstream_address["port_value"])
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    demo_page.serve(config, demo_page.standin_settings(standin))
    with standin, Envoy(config, workers=2) as envoy:
        print(f"provider  127.0.0.1:{standin.port} (a stand-in)\nlistener  127.0.0.1:{envoy_port}"
              f"\nadmin     127.0.0.1:{envoy.admin_port}\n")
        rows = [timed_chat(envoy_port, stream) for stream in (True, True, False, False)]
        print(table(rows))
        good = as_promised(rows)
        print("\n" + ("Each second request was answered by the cache."
                      if good else "This is not MISS, HIT of the same bytes: something is wrong."))
        if os.environ.get("KEEP") != "1":
            print(f"make demo KEEP=1 shows it in a browser, at http://127.0.0.1:{envoy_port}/demo/")
        if os.environ.get("KEEP") == "1":
            print(f"""
Left running; Ctrl-C ends it. The same in a browser, for five APIs:

  http://127.0.0.1:{envoy_port}/demo/

or with curl:

  curl -is 127.0.0.1:{envoy_port}/v1/chat/completions -H 'authorization: Bearer demo' \\
    -H 'content-type: application/json' \\
    -d '{{"model": "stand-in", "messages": [{{"role": "user", "content": "Hello"}}]}}'
  curl -s 127.0.0.1:{envoy.admin_port}/stats/prometheus | grep llm_cache""", flush=True)
            try:
                signal.pause()
            except KeyboardInterrupt:
                print()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
