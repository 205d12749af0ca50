"""A stand-in LLM provider that speaks HTTP/1.1 with every byte under control.

It runs as a process of its own, on the standard library only:

    python -m harness.provider --port 10001 --control-port 0

and prints one line of JSON with the two ports it listens on. It ends when its standard input does,
so it cannot outlive the process that started it. The control port is apart from the provider's, so
that looking at the counters never changes them.

POST .../chat/completions is answered like OpenAI does, as JSON or as a stream of events. Every
answer carries a serial number, so an answer that was repeated, or that belongs to somebody else,
can be told from a new one. Under /agent/ a model answers that uses tools (`harness.agent_model`).
The request header `x-stainless-standin` changes the answer. Its name is like those of the headers
in which SDKs tell of themselves, so that the filter takes requests that differ in it for alike. Its
directives are separated by `;`:

    cut=N           after N body bytes close the connection, leaving the framing unfinished
    clean_cut=N     after N body bytes end the body as if it were whole
    reset=N         after N body bytes send a TCP reset
    stall=N[,ms]    after N body bytes fall silent, for ever or for so many milliseconds
    close           frame the body by closing the connection (no length, no chunks)
    length_only     frame the body by content-length, streams too
    chunked         frame the body by chunks, JSON too
    split=N         write the body N bytes at a time
    pace=ms         time between two pieces (streams: 20 unless told otherwise)
    step=NAME       write piece k+1 only after POST /_standin/release?step=NAME; so does the ending
    hold            in step mode, hold the head and the first piece back too
    once=NAME       all these directives hold for the first request of this name only
    path=PATH       404 unless the request is for this path
    needs=N:V       401 unless the request has this header
    err=STATUS      an error answer with this status
    err=event       an error event in the stream, then [DONE] (as vLLM does)
    err=named_event an `event: error` in the stream, and no [DONE] (as Groq does)
    err=200         status 200 with an error object for a body
    fixture=PATH    these bytes of the recorded folder; fixture=@NAME: bytes put there by a test
    type=TYPE       the content type of the answer
    status=N        the status of the answer
    header=N:V      one more response header (may be repeated)
    finish=VALUE    the finish reason; no_finish leaves it out
    no_done         leave [DONE] out
    empty           an answer without content
    size=N          pad the content to N bytes
    gzip            gzip the body and say so
    offers=A,B      code the body in the first of these that the request accepts by name, and say so
    trailers[=N:V]  end a chunked body with a trailer
    binary_header   a response header that is not UTF-8
    die             close the connection without an answer
"""

import argparse
import asyncio
import collections
import dataclasses
import gzip
import hashlib
import json
import pathlib
import signal
import socket
import struct
import sys
import urllib.parse

from harness import agent_model, codings

STREAM_PACE_MS = 20.0
HEAD_LIMIT = 1 << 20
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclasses.dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def json(self) -> dict:
        """The body if it is an object, else an empty one."""
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            body = {}
        return body if isinstance(body, dict) else {}


@dataclasses.dataclass
class Answer:
    status: int
    headers: list[tuple[str, bytes]]
    pieces: list[bytes]
    framing: str  # length | chunked | close
    ending: str = "whole"  # whole | fin | reset | stall
    stall_ms: float | None = None
    trailers: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class Directives:
    """What the `x-stainless-standin` header asks for."""

    def __init__(self, header: str):
        self.values: dict[str, str] = {}
        self.extra_headers: list[tuple[str, bytes]] = []
        for part in filter(None, (piece.strip() for piece in header.split(";"))):
            name, _, value = part.partition("=")
            if name == "header":
                key, _, content = value.partition(":")
                self.extra_headers.append((key.strip(), content.strip().encode("latin-1")))
            else:
                self.values[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def number(self, name: str, default: int | None = None) -> int | None:
        value = self.values.get(name)
        return default if value is None else int(value.split(",")[0])


class Step:
    """Lets a test hold the answer back piece by piece."""

    def __init__(self) -> None:
        self.released = 0
        self.written = 0
        self.changed = asyncio.Event()

    def release(self, count: int) -> None:
        self.released += count
        self.changed.set()


class Provider:
    def __init__(self, recorded: pathlib.Path | None):
        self.recorded = recorded
        self.fixtures: dict[str, bytes] = {}
        self.steps: dict[str, Step] = collections.defaultdict(Step)
        self.names_of_once: set[str] = set()
        self.serial = 0
        self.open = 0
        self.reset_counters()

    def reset_counters(self) -> None:
        self.connections = 0
        self.requests = 0
        self.aborted = 0
        self.last: Request | None = None

    def stats(self) -> dict:
        last = self.last
        return {
            "connections": self.connections,
            "open": self.open,
            "requests": self.requests,
            "aborted": self.aborted,
            "serial": self.serial,
            "last": last and {
                "method": last.method,
                "target": last.target,
                "headers": last.headers,
                "trailers": last.trailers,
                "body_bytes": len(last.body),
                "body_sha256": hashlib.sha256(last.body).hexdigest(),
            },
        }

    @property
    def number(self) -> str:
        """The serial number, always as long, so that it can be told from other digits."""
        return f"{self.serial:06}"

    # -- answers ------------------------------------------------------------------------------

    def answer(self, request: Request, asked: Directives) -> Answer:
        self.serial += 1
        path = request.target.partition("?")[0]
        name, _, value = asked.text("needs").partition(":")
        if asked.text("path", path) != path:
            answer = json_answer(404, {"error": {"message": f"no {path} here"}})
        elif request.header(name) != value:
            answer = json_answer(401, {"error": {"message": f"no {name} given"}})
        elif "fixture" in asked:
            answer = self.fixture_answer(asked)
        elif "err" in asked and asked.text("err").isdigit():
            status = int(asked.text("err"))
            error = {"error": {"message": f"stand-in error {self.number}", "type": "server_error",
                               "param": None, "code": None}}
            answer = json_answer(status, error)
        elif path.startswith("/agent/"):
            answer = self.agent_answer(request, path)
        elif request.method == "POST" and path.endswith("/chat/completions"):
            answer = self.chat_answer(request, asked)
        else:
            answer = json_answer(200, {"object": "stand-in", "serial": self.number,
                                       "path": request.target, "bytes": len(request.body)})
        return shaped(answer, asked, request.header("accept-encoding"))

    def fixture_answer(self, asked: Directives) -> Answer:
        name = asked.text("fixture")
        if name.startswith("@"):
            body = self.fixtures[name[1:]]
        elif self.recorded is None:
            raise ValueError("fixture: this stand-in was started without a recorded folder")
        else:
            dialects = self.recorded.with_name(f"{self.recorded.name}-dialects")
            files = [(folder / name).resolve() for folder in (self.recorded, dialects)]
            file = next((file for file in files if file.exists()), files[0])
            if not file.is_relative_to(self.recorded) and not file.is_relative_to(dialects):
                raise ValueError("fixture: a path outside of the recorded folders")
            body = file.read_bytes()
        kind = asked.text("type", "application/json" if name.endswith("json")
                          else "text/event-stream; charset=utf-8")
        framing = "chunked" if "event-stream" in kind else "length"
        return Answer(200, [("content-type", kind.encode("latin-1"))], [body], framing)

    def agent_answer(self, request: Request, path: str) -> Answer:
        answer = agent_model.answer(path, request.json(), self.number)
        return stream_answer(answer) if isinstance(answer, list) else json_answer(200, answer)

    def chat_answer(self, request: Request, asked: Directives) -> Answer:
        try:
            coding = request.header("content-encoding")
            body = json.loads(codings.decoded(coding, request.body))
        except (ValueError, RecursionError):
            body = {}
        if not isinstance(body, dict):
            body = {}
        content = "" if "empty" in asked else f"Answer {self.number} to: {last_words(body)}"
        size = asked.number("size", 0)
        if len(content) < size:
            content = content + " " + "x" * (size - len(content) - 1)
        tool = chosen_tool(body)
        finish = asked.text("finish") or ("tool_calls" if tool else "stop")
        shared = {"id": f"chatcmpl-{self.number}", "created": 1_700_000_000 + self.serial,
                  "model": body.get("model", "stand-in")}
        count = body.get("n") if isinstance(body.get("n"), int) else 1
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        if body.get("stream") is not True:
            if "err" in asked:
                return json_answer(200, {"error": {"message": "stand-in error", "code": 500}})
            message = {"role": "assistant", "content": None if tool else content}
            if tool:
                message["tool_calls"] = [tool_call(tool, self.number)]
            return json_answer(200, {**shared, "object": "chat.completion", "choices": [
                {"index": index, "message": message, "logprobs": None,
                 "finish_reason": None if "no_finish" in asked else finish}
                for index in range(count)], "usage": usage})
        return self.chat_stream(body, asked, shared, content, tool, finish, count, usage)

    def chat_stream(self, body, asked, shared, content, tool, finish, count, usage) -> Answer:
        with_usage = (body.get("stream_options") or {}).get("include_usage") is True

        def chunk(choices: list, **more) -> bytes:
            whole = {**shared, "object": "chat.completion.chunk", "choices": choices}
            if with_usage:
                whole["usage"] = None
            return event({**whole, **more})

        def delta(index: int, change: dict, reason: str | None = None) -> dict:
            return {"index": index, "delta": change, "logprobs": None, "finish_reason": reason}

        pieces = [chunk([delta(index, {"role": "assistant", "content": ""})])
                  for index in range(count)]
        if tool:
            call = tool_call(tool, self.number)
            start = {**call, "index": 0, "function": {"name": tool, "arguments": ""}}
            pieces.append(chunk([delta(0, {"tool_calls": [start]})]))
            for part in ('{"query":', f'"{self.number}"', "}"):
                pieces.append(chunk([delta(0, {"tool_calls": [
                    {"index": 0, "function": {"arguments": part}}]})]))
        else:
            words = content.split(" ") if content else []
            for index in range(count):
                for position, word in enumerate(words):
                    text = word if position == 0 else " " + word
                    pieces.append(chunk([delta(index, {"content": text})]))
        failure = asked.text("err")
        if failure:
            error = {"error": {"message": "stand-in error", "type": "server_error", "code": 500}}
            if failure == "named_event":
                pieces.append(b"event: error\n" + event(error))
                return stream_answer(pieces)
            pieces = [event(error)] if failure == "200" else pieces + [event(error)]
        if "no_finish" not in asked:
            for index in range(count):
                pieces.append(chunk([delta(index, {}, finish)]))
        if with_usage:
            pieces.append(chunk([], usage=usage))
        if "no_done" not in asked:
            pieces.append(b"data: [DONE]\n\n")
        return stream_answer(pieces)

    # -- connections --------------------------------------------------------------------------

    async def serve(self, connection: "Connection") -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                request = await read_request(connection)
                if request is None:
                    return
                self.requests += 1
                self.last = request
                asked = Directives(request.header("x-stainless-standin"))
                name = asked.text("once")
                if name in self.names_of_once:
                    asked = Directives("")
                elif name:
                    self.names_of_once.add(name)
                if "die" in asked:
                    return
                try:
                    answer = self.answer(request, asked)
                except (ValueError, KeyError, OSError) as error:
                    answer = json_answer(500, {"stand-in misuse": repr(error)})
                await self.write(connection, answer, asked)
                if answer.framing == "close" or answer.ending != "whole":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.aborted += 1
        finally:
            self.open -= 1
            connection.writer.close()

    async def write(self, connection: "Connection", answer: Answer, asked: Directives) -> None:
        step = self.steps[asked.text("step")] if "step" in asked else None
        pace = float(asked.text("pace", str(STREAM_PACE_MS if len(answer.pieces) > 1 else 0)))
        one_by_one = step is not None or pace > 0 or "split" in asked
        last = len(answer.pieces) - 1
        waiting = head_of(answer)
        if step and "hold" in asked:
            await step_allowed(connection, step, 1)
        for number, piece in enumerate(answer.pieces):
            if number and step:
                await step_allowed(connection, step, number)
            elif number and pace:
                await connection.pause(pace / 1000)
            waiting += framed(piece, answer.framing)
            # The last piece goes out together with the end, as it does from a real provider.
            if step or (one_by_one and number < last):
                await connection.send(waiting)
                waiting = b""
            if step:
                step.written = number + 1
        if answer.ending == "whole":
            if answer.framing == "chunked":
                if step:
                    await step_allowed(connection, step, len(answer.pieces))
                waiting += b"0\r\n"
                waiting += b"".join(f"{k}: {v}\r\n".encode() for k, v in answer.trailers)
                waiting += b"\r\n"
            await connection.send(waiting)
            return
        await connection.send(waiting)
        if step:
            await step_allowed(connection, step, len(answer.pieces))
        if answer.ending == "stall":
            await connection.pause(None if answer.stall_ms is None else answer.stall_ms / 1000)
        elif answer.ending == "reset":
            connection.reset()

    async def control(self, connection: "Connection") -> None:
        """The counters and the step mode, on a port of their own."""
        try:
            while True:
                request = await read_request(connection)
                if request is None:
                    return
                url = urllib.parse.urlsplit(request.target)
                query = dict(urllib.parse.parse_qsl(url.query))
                result: dict = {}
                if url.path == "/_standin/stats":
                    result = self.stats()
                elif url.path == "/_standin/reset":
                    self.reset_counters()
                elif url.path == "/_standin/release":
                    self.steps[query["step"]].release(int(query.get("count", "1")))
                elif url.path == "/_standin/step":
                    result = {"written": self.steps[query["step"]].written}
                elif url.path.startswith("/_standin/fixture/"):
                    self.fixtures[url.path.rpartition("/")[2]] = request.body
                else:
                    result = {"unknown": url.path}
                answer = json_answer(404 if "unknown" in result else 200, result)
                await connection.send(head_of(answer) + answer.pieces[0])
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            connection.writer.close()


async def step_allowed(connection: "Connection", step: Step, number: int) -> None:
    while step.released < number:
        step.changed.clear()
        await connection.until(step.changed)


def last_words(body: dict) -> str:
    """The end of the question, so that an answer can be seen to belong to it."""
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        content = messages[-1].get("content")
        if isinstance(content, str):
            return content[-60:]
    return "?"


def chosen_tool(body: dict) -> str | None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not tools or choice in (None, "none", "auto"):
        return None
    if isinstance(choice, dict):
        return choice["function"]["name"]
    return tools[0]["function"]["name"]


def tool_call(name: str, number: str) -> dict:
    return {"id": f"call_{number}", "type": "function",
            "function": {"name": name, "arguments": f'{{"query":"{number}"}}'}}


def event(data: dict) -> bytes:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def json_answer(status: int, data: dict) -> Answer:
    body = json.dumps(data).encode()
    return Answer(status, [("content-type", b"application/json")], [body], "length")


def stream_answer(pieces: list[bytes]) -> Answer:
    return Answer(200, [("content-type", b"text/event-stream; charset=utf-8"),
                        ("cache-control", b"no-cache")], pieces, "chunked")


def shaped(answer: Answer, asked: Directives, accepted: str) -> Answer:
    """Applies the directives that have to do with bytes and framing, not with meaning."""
    answer.status = asked.number("status", answer.status)
    if "type" in asked:
        answer.headers = [("content-type", asked.text("type").encode("latin-1"))] + [
            header for header in answer.headers if header[0] != "content-type"]
    answer.headers += asked.extra_headers
    answer.headers.append(("x-request-id", b"standin-request-id"))
    if "binary_header" in asked:
        answer.headers.append(("x-binary", b"caf\xe9 \xff\xfe"))
    if "gzip" in asked:
        answer.headers.append(("content-encoding", b"gzip"))
        answer.pieces = [gzip.compress(b"".join(answer.pieces), mtime=0)]
    for coding in filter(None, asked.text("offers").split(",")):
        if coding in accepted:
            answer.headers.append(("content-encoding", coding.encode()))
            answer.pieces = codings.coded(coding, answer.pieces)
            break
    for framing in ("close", "chunked", "length_only"):
        if framing in asked:
            answer.framing = framing.removesuffix("_only")
    if "trailers" in asked:
        answer.framing = "chunked"
        name, _, value = (asked.text("trailers") or "server-timing:total").partition(":")
        answer.trailers = [(name, value)]
    if answer.framing == "length":
        whole = sum(map(len, answer.pieces))
        answer.headers.append(("content-length", str(whole).encode()))
    for directive, ending in (("cut", "fin"), ("clean_cut", "whole"), ("reset", "reset"),
                              ("stall", "stall")):
        if directive in asked:
            answer.pieces = first_bytes(answer.pieces, asked.number(directive))
            answer.ending = ending
    if "stall" in asked and "," in asked.text("stall"):
        answer.stall_ms = float(asked.text("stall").split(",")[1])
    if "split" in asked:
        size, body = asked.number("split"), b"".join(answer.pieces)
        answer.pieces = [body[start:start + size] for start in range(0, len(body), size)]
    return answer


def first_bytes(pieces: list[bytes], count: int) -> list[bytes]:
    kept = []
    for piece in pieces:
        if count <= 0:
            break
        kept.append(piece[:count])
        count -= len(kept[-1])
    return kept


def head_of(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}".encode()]
    lines += [name.encode() + b": " + value for name, value in answer.headers]
    if answer.framing == "chunked":
        lines.append(b"transfer-encoding: chunked")
    elif answer.framing == "close":
        lines.append(b"connection: close")
    elif not any(name == "content-length" for name, _ in answer.headers):
        lines.append(b"content-length: " + str(sum(map(len, answer.pieces))).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def framed(piece: bytes, framing: str) -> bytes:
    if framing != "chunked":
        return piece
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


class Connection(asyncio.StreamReaderProtocol):
    """A connection that notices at once, also while it waits, that its peer is gone."""

    def __init__(self, handler) -> None:
        self.gone = asyncio.Event()
        self.reader = asyncio.StreamReader(limit=HEAD_LIMIT)
        self.writer: asyncio.StreamWriter
        super().__init__(self.reader, self.connected)
        self.handler = handler

    async def connected(self, _reader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        # A drain is over when the kernel has the bytes: a reset after it cuts none of ours off.
        writer.transport.set_write_buffer_limits(0)
        await self.handler(self)

    def eof_received(self) -> bool:
        super().eof_received()
        self.gone.set()
        return True

    def connection_lost(self, exc) -> None:
        self.gone.set()
        super().connection_lost(exc)

    async def send(self, data: bytes) -> None:
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def pause(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise ConnectionAbortedError("the peer is gone")

    async def until(self, event: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.gone.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.gone.is_set():
            raise ConnectionAbortedError("the peer is gone")

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def read_request(connection: Connection) -> Request | None:
    reader = connection.reader
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = header_pairs(lines)
    names = dict(headers)
    trailers: list[tuple[str, str]] = []
    if "chunked" in names.get("transfer-encoding", ""):
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        while (line := await reader.readline()) not in (b"\r\n", b""):
            trailers += header_pairs([line.decode("latin-1").rstrip("\r\n")])
        body = b"".join(parts)
    else:
        body = await reader.readexactly(int(names.get("content-length", "0")))
    return Request(method, target, headers, body, trailers)


def header_pairs(lines: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for line in lines:
        name, _, value = line.partition(":")
        pairs.append((name.lower(), value.strip()))
    return pairs


async def main() -> None:
    # Ctrl-C in a terminal reaches every process of `make demo`; this one ends with its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(description="Stand-in LLM provider on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--recorded", type=pathlib.Path)
    options = parser.parse_args()
    provider = Provider(options.recorded and options.recorded.resolve())
    loop = asyncio.get_running_loop()
    ports = []
    for port, handler in ((options.port, provider.serve), (options.control_port, provider.control)):
        server = await loop.create_server(
            lambda handler=handler: Connection(handler), "127.0.0.1", port, backlog=1024)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps({"port": ports[0], "control_port": ports[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
