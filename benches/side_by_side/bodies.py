"""Prompts and answers of given sizes, worded alike in every run."""

import functools
import json
import random

# Where a request has this, the load generator puts another number into each.
COUNTER = "#" * 16
# Where an event has this, the upstream puts the time at which it is written.
STAMP = "~T" + "0" * 20
MODEL = "gpt-4o-mini"
CREDENTIAL = "sk-0123456789abcdef0123456789abcdef"
USAGE = {"prompt_tokens": 250, "completion_tokens": 400, "total_tokens": 650}
WORDS = """the of and to in is that for it as was with be by on not he his but at are this have
from or had an they which one you were all her she there would their we him been has when who will
more no if out so said what up its about into than them can only other new some cache model answer
token gateway request stream latency über naïve → 42 3.14"""


def prose(size: int, seed: int) -> str:
    """Text of so many bytes once it stands in JSON: words, lines, quotes, a little beyond ASCII."""
    chance = random.Random(seed)
    words = WORDS.split()
    parts: list[str] = []
    length = 0
    while length < size:
        word = chance.choice(words)
        word = f'"{word}"' if chance.random() < 0.02 else word
        word += "\n" if chance.random() < 0.07 else " "
        parts.append(word)
        length += json_length(word)
    while parts and length > size:
        length -= json_length(parts.pop())
    return "".join(parts) + "x" * (size - length)


@functools.cache
def json_length(text: str) -> int:
    return len(spelled(text)) - 2


def spelled(value) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def chat(size: int, stream: bool = False, numbered: bool = True) -> bytes:
    """A chat request whose body has exactly `size` bytes without its form.

    A prompt of more than 4 KB has turns of about 2 KB, as a conversation has.
    """
    turns = max(1, size // 2048)
    number = COUNTER if numbered else "0" * len(COUNTER)
    messages = [{"role": "system", "content": "You are a helpful assistant."}]
    messages += [{"role": "assistant" if turn % 2 else "user", "content": ""}
                 for turn in range(turns)]
    body = {"model": MODEL, "temperature": 0.2, "max_tokens": 1024, "messages": messages}
    messages[1]["content"] = f"{number} "
    left = size - len(spelled(body))
    for turn in range(turns):
        share = left // turns if turn else left - (turns - 1) * (left // turns)
        messages[turn + 1]["content"] += prose(share, seed=turn)
    assert len(spelled(body)) == size
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return spelled(body)


def post(path: str, body: bytes) -> bytes:
    """A whole request. The headers are those of the official client, about."""
    head = (f"POST {path} HTTP/1.1\r\nhost: api.example.com\r\naccept: application/json\r\n"
            f"authorization: Bearer {CREDENTIAL}\r\n"
            f"user-agent: OpenAI/Python 2.8.1\r\nx-stainless-lang: python\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n")
    return head.encode() + body


def get(path: str) -> bytes:
    return (f"GET {path} HTTP/1.1\r\nhost: api.example.com\r\naccept: application/json\r\n"
            f"user-agent: OpenAI/Python 2.8.1\r\n\r\n").encode()


def completion(size: int) -> bytes:
    """A whole answer as JSON, of exactly `size` bytes."""
    def body(content: str) -> dict:
        return {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion",
                "created": 1750000000, "model": MODEL,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": content,
                                                     "refusal": None},
                             "logprobs": None, "finish_reason": "stop"}],
                "usage": USAGE, "system_fingerprint": "fp_0123456789"}
    return spelled(body(prose(size - len(spelled(body(""))), seed=1)))


def events(size: int) -> bytes:
    """A whole answer as a stream of about `size` bytes, a token or two an event."""
    count = max(2, (size - 700) // EVENT_BYTES)
    return stream(prose(16 * count, seed=2)[n:n + 12] for n in range(0, 12 * count, 12))


def stamped_events(count: int) -> bytes:
    """A stream of `count` events of 200 bytes, each with the time at which it is written."""
    overhead = len(event({"content": f"{STAMP} "}))
    return stream(f"{STAMP} {prose(200 - overhead, seed=n)}" for n in range(count))


def stream(pieces) -> bytes:
    """The first event has the role, the last ones the finish, the usage and [DONE]."""
    return b"".join([
        event({"role": "assistant", "content": "", "refusal": None}),
        *(event({"content": piece}) for piece in pieces),
        event({}, finish="stop"),
        event(None),
        b"data: [DONE]\n\n"])


def event(delta: dict | None, finish: str | None = None) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    usage = {"usage": USAGE} if delta is None else {}
    return b"data: " + spelled({
        "id": "chatcmpl-01234", "object": "chat.completion.chunk", "created": 1750000000,
        "model": MODEL, "choices": choices, **usage}) + b"\n\n"


EVENT_BYTES = len(event({"content": "x" * 12}))


def answer(body: bytes, content_type: str, extra: str = "") -> bytes:
    """A whole response with a length."""
    return (f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nx-request-id: req_0123456789\r\n"
            f"{extra}content-length: {len(body)}\r\n\r\n").encode() + body


def chunked_answer(body: bytes) -> bytes:
    """A response whose events the load generator sends one by one, as chunks."""
    return (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_01\r\n"
            b"transfer-encoding: chunked\r\n\r\n") + body
