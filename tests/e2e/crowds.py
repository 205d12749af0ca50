"""Many requests under way at once, over HTTP/1.1 or HTTP/2, and their answers as they come."""

import re
import selectors
import time

from harness.envoy import Envoy
from harness.http1 import GUARD_SECONDS, Answer, Http1Connection, request_bytes
from harness.http2 import Http2Connection, Stream
from harness.standin import Standin

PATH = "/v1/chat/completions"

# Streams share connections, and connections are spread over the workers.
HTTP2_CONNECTIONS = 8

COLLAPSED = re.compile(r"envoy-llm-cache; fwd=uri-miss; collapsed; ttl=\d+")


class Member:
    """One request of a crowd. `ended` is when its answer was there as a whole."""

    answer: Answer | Stream | None = None
    ended: float | None = None

    def __init__(self, connection: Http1Connection | Http2Connection, stream: int | None) -> None:
        self.connection = connection
        self.stream = stream
        if stream is not None:
            self.answer = connection.streams[stream]

    def has_ended(self) -> bool:
        ended = self.answer is not None and bool(self.answer.ending)
        if ended and self.ended is None:
            self.ended = time.perf_counter()
        return ended


class Crowd:
    """Leaving it closes its connections."""

    def __init__(self, port: int, protocol: str) -> None:
        self.port = port
        self.members: list[Member] = []
        self.shared = [Http2Connection(port) for _ in range(HTTP2_CONNECTIONS)] \
            if protocol == "http2" else []

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_) -> None:
        for connection in {*self.shared, *(member.connection for member in self.members)}:
            connection.close()

    def ask(self, body, count: int = 1, path: str = PATH, **named) -> list[Member]:
        """So many of one request; does not wait for answers."""
        return [self.ask_one(body, path, **named) for _ in range(count)]

    def ask_one(self, body, path: str, **named) -> Member:
        if self.shared:
            connection = self.shared[len(self.members) % len(self.shared)]
            stream = connection.start(body, path=path, **named)
        else:
            connection, stream = Http1Connection(self.port), None
            connection.send(request_bytes("POST", path, body, **named))
        self.members.append(Member(connection, stream))
        return self.members[-1]

    def leave(self, members: list[Member]) -> None:
        """These clients go, and wait for nothing any more."""
        for member in members:
            if member.stream is None:
                member.connection.close()
            else:
                member.connection.reset_stream(member.stream)
            self.members.remove(member)

    def answers(self, members: list[Member] | None = None) -> list[Answer | Stream]:
        """The answers of these, or of all, in the order of their requests."""
        members = self.members if members is None else members
        with selectors.DefaultSelector() as selector:
            while waiting := [member for member in members if not member.has_ended()]:
                awaited = {member.connection for member in waiting}
                for key in list(selector.get_map().values()):
                    if key.data not in awaited:
                        selector.unregister(key.fileobj)
                    awaited.discard(key.data)
                for connection in awaited:
                    selector.register(connection.socket, selectors.EVENT_READ, connection)
                ready = selector.select(GUARD_SECONDS)
                assert ready, f"{len(waiting)} requests got no answer"
                for key, _ in ready:
                    self.read(key.data, waiting)
        return [member.answer for member in members]

    def read(self, connection: Http1Connection | Http2Connection, waiting: list[Member]) -> None:
        if isinstance(connection, Http2Connection):
            connection.read_events()
            return
        member = next(member for member in waiting if member.connection is connection)
        member.answer = connection.read_answer()


def active(envoy: Envoy) -> int:
    """Requests that Envoy has and has not answered."""
    return envoy.stat("http.llm.downstream_rq_active")


def wait_for_active(envoy: Envoy, count: int) -> None:
    envoy.wait_until(lambda: active(envoy) == count, f"{count} requests to be under way")


def first_to_ask(crowd: Crowd, upstream: Standin, body, **named) -> Member:
    """Asks, and returns when the request is with the upstream: who comes now finds it there."""
    before = upstream.requests()
    leader, = crowd.ask(body, **named)
    upstream.wait_for(lambda stats: stats["requests"] == before + 1, "the first request")
    return leader


def outcome(answer: Answer | Stream) -> tuple:
    return answer.status, answer.cache, answer.ending


def is_collapsed(answer: Answer | Stream) -> bool:
    said = answer.header("cache-status") or ""
    return outcome(answer) == (200, "HIT", "whole") and bool(COLLAPSED.fullmatch(said))


class Counted:
    """How much the filter's counters have grown since it was made. Near misses are left out: which
    requests a worker has seen before is up to Envoy and to other tests."""

    def __init__(self, envoy: Envoy) -> None:
        self.envoy = envoy
        self.before = envoy.cache_counters()

    def since(self) -> dict[str, int]:
        after = self.envoy.cache_counters()
        grown = {name: value - self.before.get(name, 0) for name, value in after.items()}
        return {name.removeprefix("llm_cache_").replace("_total", ""): value
                for name, value in grown.items()
                if value and "near_misses" not in name}
