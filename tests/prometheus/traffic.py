"""Some minutes of the traffic of a gateway, for a picture of the dashboard."""

import contextlib
import dataclasses
import json
import math
import random
import threading
import time

from harness.envoy import EXAMPLE, Config, Envoy
from harness.http1 import Broken, fetch
from harness.redis_server import Redis
from harness.standin import Standin
from harness.webdis import Webdis

CLIENTS = 8
QUESTIONS = 400
SHADOW = {"x-rule": "shadow"}
# Parts of the time shown in which the store does not answer.
OUTAGE = (0.55, 0.70)


@dataclasses.dataclass
class Service:
    """A model behind an API: how often it is asked, and how it answers."""

    share: float
    model: str
    path: str
    answer: dict
    pieces: int
    pace: int

    @property
    def standin(self) -> str:
        size = len(json.dumps(self.answer)) // self.pieces + 1
        return f"type=application/json;split={size};pace={self.pace}"

    def body(self, question: str, **members) -> dict:
        asked = {"input": question} if "embeddings" in self.path else {
            "messages": [{"role": "user", "content": question}]}
        return {"model": self.model, **asked, **members,
                **({"max_tokens": 500} if "/messages" in self.path else {})}


def chat_answer(model: str, prompt: int, cached: int, output: int) -> dict:
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1764547200, "model": model,
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": "word " * output}}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": output,
                      "total_tokens": prompt + output,
                      "prompt_tokens_details": {"cached_tokens": cached}}}


CHAT = "/v1/chat/completions"
SERVICES = [
    Service(0.35, "gpt-4.1-mini", CHAT, chat_answer("gpt-4.1-mini", 900, 0, 220), 10, 30),
    Service(0.20, "gpt-4.1", CHAT, chat_answer("gpt-4.1", 2400, 1600, 350), 20, 45),
    Service(0.10, "our-own-model", CHAT, chat_answer("our-own-model", 700, 0, 300), 15, 40),
    Service(0.20, "claude-sonnet-5-5", "/v1/messages", {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
        "content": [{"type": "text", "text": "word " * 260}], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 600, "cache_read_input_tokens": 1200,
                                         "cache_creation_input_tokens": 0,
                                         "output_tokens": 260}}, 20, 40),
    Service(0.15, "text-embedding-3-small", "/v1/embeddings", {
        "object": "list", "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3] * 40}],
        "usage": {"prompt_tokens": 320, "total_tokens": 320}}, 2, 30)]


def config(standin: Standin, webdis: Webdis) -> Config:
    """The example with Redis, a small memory, and everything that the dashboard has a panel for."""
    changed = Config.for_tests(standin.port, EXAMPLE.with_name("redis.yaml"))
    changed.at("cache", webdis.port)
    settings = changed.settings
    settings["metrics"] = {"model": True}
    settings["store"]["memory"] = {"max_bytes": "1MiB"}
    settings["store"]["http"]["breaker"] = {"max_open": "4s"}
    settings |= {"stale_while_revalidate": "1h", "collapse": {"max_wait": "5s"},
                 "rules": [{"match": {"header": SHADOW}, "mode": "shadow"}]}
    return changed


class Traffic:
    """Clients that ask for so many seconds. A context manager: leaving it waits for them."""

    def __init__(self, envoy: Envoy, standin: Standin, webdis: Webdis, seconds: float) -> None:
        self.port, self.webdis, self.seconds = envoy.port, webdis, seconds
        self.fixtures = {service.model: standin.put_fixture(
            f"{service.model}.json", json.dumps(service.answer).encode()) for service in SERVICES}
        self.began = time.monotonic()
        works = [*(lambda seed=seed: self.client(seed) for seed in range(CLIENTS)), self.outage]
        self.threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        for thread in self.threads:
            thread.join()

    @property
    def part(self) -> float:
        """How much of the time has passed, from 0 to 1."""
        return (time.monotonic() - self.began) / self.seconds

    def outage(self) -> None:
        time.sleep(OUTAGE[0] * self.seconds)
        self.webdis.pause()
        time.sleep((OUTAGE[1] - OUTAGE[0]) * self.seconds)
        self.webdis.resume()

    def client(self, seed: int) -> None:
        chance = random.Random(seed)
        while self.part < 1:
            # An answer that the upstream breaks off is part of it.
            with contextlib.suppress(Broken, OSError):
                self.ask(chance)
            # More of it around the middle, as around noon.
            time.sleep(chance.expovariate(4 + 8 * math.sin(math.pi * self.part)))

    def ask(self, chance: random.Random) -> None:
        service, = chance.choices(SERVICES, [service.share for service in SERVICES])
        # Few questions are asked often, and what is asked changes slowly.
        number = int(QUESTIONS * chance.random() ** 3 + 40 * self.part)
        standin = f"{self.fixtures[service.model]};{service.standin}"
        headers, members, credential = {}, {}, "Bearer test-key"
        event = chance.random()
        if event < 0.03:
            credential = None
        elif event < 0.05:
            headers["cache-control"] = "no-store"
        elif event < 0.08:
            number, standin = -int(event * 1e6), "err=500"
        elif event < 0.083:
            number, standin = -int(event * 1e7), "cut=50"
        elif event < 0.10 and service.path == CHAT:
            members["user"] = chance.choice(["ann", "bob", "eve"])
        elif event < 0.18:
            headers["x-llm-cache-ttl"] = "3s"
        elif event < 0.25:
            headers |= SHADOW
        fetch(self.port, service.body(f"Question {number}", **members), service.path,
              standin=standin, headers=headers, credential=credential)


def servers() -> tuple[Redis, Webdis]:
    redis = Redis()
    return redis, Webdis(redis.port)
