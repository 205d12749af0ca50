"""What is measured: the rows of the table, each with its server and the row it is held against."""

import collections.abc
import dataclasses
import email.utils
import functools
import pathlib

from harness.envoy import Config, Envoy
from harness.redis_server import Redis
from harness.server_process import ServerProcess
from harness.webdis import Webdis

from side_by_side import bodies, envoys, machine, peers
from side_by_side.load import Job, Load

JSON = "application/json"
STREAM = "text/event-stream; charset=utf-8"
PROMPT = 1_000
PROMPTS = {"1 KB": PROMPT, "16 KB": 16_000, "100 KB": 100_000, "1 MB": 1_000_000}
ANSWERS = {"1.7 KB": 1_700, "20 KB": 20_000, "200 KB": 200_000}
# One more, in one form, for growth to be seen in between.
MIDDLE = {"64 KB": 64_000}
KINDS = {"JSON": JSON, "stream": STREAM}

# Hits in a store that is filled go to so many entries in turn.
RESIDENT = 256
# These together are longer than what a worker keeps of prompts.
LONG_PROMPTS = 64
STORE_BYTES = 64 * envoys.MIB
# How many entries it has room for, if none is longer than 2 KB; the run checks that they fill it.
STORE_SLOTS = STORE_BYTES // envoys.MIB * 256
# What a small answer takes as an entry, about.
ENTRY_BYTES = 1_900

# 200 tokens a second, as the fastest of models send them, keep the proxy busy for a third to a half
# of the time: that is for processor time. Latency is then that of the queue before it, and so it is
# measured with 50 tokens a second, as a fast model sends them.
BUSY_PACE_US = 5_000
CALM_PACE_US = 20_000
STREAMS = 100
# Enough that a chunk's share of its request is little.
STREAM_EVENTS = 200


@dataclasses.dataclass(frozen=True)
class Filling:
    """Requests that are made once before measuring."""

    job: Job
    count: int = 1
    first: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    group: str
    server: str
    job: Job
    against: str = ""
    fill: tuple[Filling, ...] = ()
    # How many different prompts are asked in turn; 0: never the same one again.
    distinct: int = 1
    connections: int = 16
    # Hits must not ask the upstream, not once.
    asks_upstream: bool = False

    @property
    def streams(self) -> bool:
        """Whether it is about the pieces of streams, and not about requests."""
        return self.job.pace_us > 0


def path(kind: str, size: str) -> str:
    """A path, and so a place in every cache, for each stored answer."""
    return f"/{kind}-{size.replace(' ', '')}/v1/chat/completions"


@functools.cache
def answer_body(kind: str, size: str) -> bytes:
    count = (ANSWERS | MIDDLE)[size]
    return bodies.completion(count) if kind == "JSON" else bodies.events(count)


def question(kind: str, size: str, asked: str = "JSON", prompt: int = PROMPT) -> Job:
    """Asks for an answer of this kind and size, in this form or another one."""
    body = answer_body(kind, size)
    return Job(request=bodies.post(path(kind, size),
                                   bodies.chat(prompt, stream=asked == "stream")),
               answer=bodies.answer(body, KINDS[kind]))


def hit(kind: str = "JSON", size: str = "1.7 KB", asked: str = "", prompt: int = PROMPT,
        expect: str = "x-cache: HIT") -> Job:
    """The same where the answer must come from a cache; where its form stays, so do its bytes."""
    asked = asked or kind
    same = len(answer_body(kind, size)) if asked == kind else 0
    return dataclasses.replace(question(kind, size, asked, prompt), expect=expect,
                               expect_bytes=same)


def hits(name: str, against: str, kind: str = "JSON", size: str = "1.7 KB", asked: str = "",
         prompt: int = PROMPT, server: str = "cache", group: str = "hit") -> Row:
    return Row(name, group, server, hit(kind, size, asked, prompt), against,
               fill=(Filling(question(kind, size, kind, prompt)),))


def floors(letter: str, server: str, prompt: str, size: str) -> Row:
    job = dataclasses.replace(question("JSON", size, prompt=PROMPTS[prompt]),
                              expect_bytes=len(answer_body("JSON", size)))
    return Row(f"floor {letter}: {prompt} prompt, {size} answer", "floors", server, job,
               "floor A: 1 KB prompt, 1.7 KB answer" if letter == "B" and prompt == "1 KB"
               and size == "1.7 KB" else "")


def filled(percent: int) -> Row:
    fill = [Filling(question("JSON", "1.7 KB"), STORE_SLOTS * percent // 100,
                    first=10**12)] if percent else []
    if percent == 100:
        # Beyond the brim, so that entries have been evicted.
        fill[0] = dataclasses.replace(fill[0], count=fill[0].count * 5 // 4)
    fill.append(Filling(question("JSON", "1.7 KB"), RESIDENT))
    return Row(f"hit: store {percent} % full, {RESIDENT} entries in turn", "hit",
               f"cache, {percent} % full", hit(), "" if percent == 0 else
               f"hit: store 0 % full, {RESIDENT} entries in turn", tuple(fill), distinct=RESIDENT)


def in_turn(prompt: str) -> Row:
    """More long prompts than a worker keeps to compare with."""
    job = hit(prompt=PROMPTS[prompt])
    filling = Filling(question("JSON", "1.7 KB", prompt=PROMPTS[prompt]), LONG_PROMPTS)
    return Row(f"hit: {prompt} prompts, {LONG_PROMPTS} in turn", "hit", "cache", job,
               f"floor B: {prompt} prompt, 1.7 KB answer", (filling,), distinct=LONG_PROMPTS)


def stream_job() -> Job:
    return Job(bodies.post("/v1/chat/completions",
                           bodies.chat(PROMPT, stream=True)),
               bodies.chunked_answer(bodies.stamped_events(STREAM_EVENTS)),
               pace_us=BUSY_PACE_US)


def get_job() -> Job:
    """What Envoy's own cache stores: an answer that says how long it is fresh, and since when."""
    body = answer_body("JSON", "1.7 KB")
    return Job(bodies.get(path("JSON", "1.7 KB")),
               bodies.answer(body, JSON, extra="cache-control: max-age=86400\r\n"
                                           f"date: {email.utils.formatdate(usegmt=True)}\r\n"),
               expect="age: ", expect_bytes=len(body))


def rows() -> list[Row]:
    plain = question("JSON", "1.7 KB")
    base = "1 KB prompt, 1.7 KB answer"
    found = []
    for letter, server in (("A", "floor A"), ("B", "floor B")):
        found += [floors(letter, server, prompt, "1.7 KB") for prompt in PROMPTS]
        found += [floors(letter, server, "1 KB", size) for size in ANSWERS if size != "1.7 KB"]
    found += [floors("B", "floor B", "1 KB", size) for size in MIDDLE]
    found += [Row(f"floor C: {prompt} prompt, 1.7 KB answer", "floors", "floor C",
                  hit(prompt=PROMPTS[prompt]), f"floor B: {prompt} prompt, 1.7 KB answer")
              for prompt in ("1 KB", "100 KB")]
    found += [hits(f"hit: {prompt} prompt, 1.7 KB answer",
                   f"floor B: {prompt} prompt, 1.7 KB answer", prompt=size)
              for prompt, size in PROMPTS.items()]
    found.append(in_turn("100 KB"))
    for kind in KINDS:
        for size in ANSWERS:
            if (kind, size) != ("JSON", "1.7 KB"):
                found.append(hits(f"hit: {size} {kind}", f"floor B: 1 KB prompt, {size} answer",
                                  kind, size))
    found += [hits(f"hit: {size} JSON", f"floor B: 1 KB prompt, {size} answer", size=size)
              for size in MIDDLE]
    for kind, asked in (("JSON", "stream"), ("stream", "JSON")):
        for size in ANSWERS:
            same = f"hit: {base}" if (kind, size) == ("JSON", "1.7 KB") else f"hit: {size} {kind}"
            found.append(hits(f"hit: {size} {kind} as {asked}", same, kind, size, asked))
    found += [filled(percent) for percent in (0, 50, 100)]
    found += [
        Row(f"floor B, 2 workers: {base}", "two workers", "floor B, 2 workers",
            dataclasses.replace(plain, expect_bytes=ANSWERS["1.7 KB"]), f"floor B: {base}"),
        hits(f"hit, 2 workers: {base}", f"floor B, 2 workers: {base}",
             server="cache, 2 workers", group="two workers"),
        Row("plain Envoy, proxying", "miss", "plain", plain, asks_upstream=True, distinct=0),
        Row("floor B, proxying", "miss", "floor B, proxying", plain, "plain Envoy, proxying",
            asks_upstream=True, distinct=0),
        Row("floor C, proxying", "miss", "floor C, proxying",
            dataclasses.replace(plain, expect="x-cache: MISS"), "floor B, proxying",
            asks_upstream=True, distinct=0),
        Row("miss, store full", "miss", "cache, written to",
            dataclasses.replace(plain, expect="x-cache: MISS"), "floor B, proxying",
            fill=(Filling(plain, STORE_SLOTS * 5 // 4, first=10**12),),
            asks_upstream=True, distinct=0),
    ]
    for name, server, against in (
            ("plain Envoy: stream, per chunk", "plain", ""),
            ("floor B: stream, per chunk", "floor B, proxying", "plain Envoy: stream, per chunk"),
            ("miss: stream, per chunk", "cache, written to", "plain Envoy: stream, per chunk")):
        found.append(Row(name, "streams", server, stream_job(), against, distinct=0,
                         connections=STREAMS, asks_upstream=True))
    found += [
        Row("Envoy's own cache, GET, 1.7 KB answer", "peers", "Envoy's own cache", get_job(),
            f"floor A: {base}", fill=(Filling(dataclasses.replace(get_job(), expect="")),)),
        Row(f"nginx proxy_cache: {base}", "peers", "nginx", hit(expect="x-cache: HIT"),
            f"hit: {base}", fill=(Filling(plain),)),
        Row("nginx proxy_cache: 16 KB prompt, 1.7 KB answer", "peers",
            "nginx, long keys", hit(prompt=PROMPTS["16 KB"]), "hit: 16 KB prompt, 1.7 KB answer",
            fill=(Filling(question("JSON", "1.7 KB", prompt=PROMPTS["16 KB"])),)),
        Row(f"LiteLLM: {base}", "peers", "LiteLLM",
            Job(bodies.post("/v1/chat/completions", bodies.chat(PROMPT)),
                bodies.answer(answer_body("JSON", "1.7 KB"), JSON)),
            f"hit: {base}",
            fill=(Filling(Job(bodies.post("/v1/chat/completions", bodies.chat(PROMPT)),
                              bodies.answer(answer_body("JSON", "1.7 KB"), JSON))),)),
        Row("plain Envoy: GET from Webdis", "peers", "plain before Webdis", Job(bodies.get(
            "/GET/bench?type=application/octet-stream"), expect_bytes=ENTRY_BYTES)),
        hits(f"hit over Webdis: {base}", "plain Envoy: GET from Webdis",
             server="cache over Webdis", group="peers"),
    ]
    return found


# Between the name of a server and the module that its filter is.
WITH_MODULE = " with "


def with_modules(rows: list[Row], modules: list[pathlib.Path]) -> list[Row]:
    """The rows of the filter once for each module, all held against those of the first one."""
    found = []
    for row in rows:
        if not row.server.startswith("cache"):
            continue
        first, *_ = names = [f"{row.name} [{module.stem}]" for module in modules]
        found += [dataclasses.replace(
            row, name=name, server=f"{row.server}{WITH_MODULE}{module}",
            against="" if name == first else first)
            for name, module in zip(names, modules, strict=True)]
    return found


class Servers:
    """The servers of the rows, each started when first asked for."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.running: dict[str, Envoy | ServerProcess] = {}

    def stop(self) -> None:
        for server in reversed(self.running.values()):
            server.stop()

    def __getitem__(self, name: str) -> Envoy | ServerProcess:
        if name not in self.running:
            self.running[name] = self.start(name)
        return self.running[name]

    def start(self, server: str) -> Envoy | ServerProcess:
        name, _, module = server.partition(WITH_MODULE)
        upstream = self.load.upstream_port
        answers = {path("JSON", size): (answer_body("JSON", size), JSON)
                   for size in ANSWERS | MIDDLE}
        # Each makes a server; `envoys` are those of this repository, the others may be missing.
        makers: dict[str, collections.abc.Callable[[], Config | ServerProcess]] = {
            "floor A": lambda: envoys.answering(envoys.buffered(upstream), answers),
            "floor B": lambda: envoys.answering(envoys.noop(upstream), answers),
            "floor C": lambda: envoys.hit_calls(upstream, answer_body("JSON", "1.7 KB")),
            "floor C, proxying": lambda: envoys.miss_calls(upstream),
            "floor B, 2 workers": lambda: envoys.answering(envoys.noop(upstream), answers),
            "floor B, proxying": lambda: envoys.noop(upstream),
            "plain": lambda: envoys.plain(upstream),
            "Envoy's own cache": lambda: envoys.http_cache(upstream),
            "nginx": lambda: peers.Nginx(upstream),
            "nginx, long keys": lambda: peers.Nginx(upstream, buffer_kib=32),
            "LiteLLM": lambda: peers.Litellm(upstream, bodies.MODEL, bodies.CREDENTIAL),
            "Redis": lambda: beside_the_load(Redis),
            # One each: where a connection is closed before its answer, Webdis may give that answer
            # to the next one, and the two rows ask for different keys.
            "Webdis, asked by plain Envoy": self.webdis,
            "Webdis, asked by the filter": self.webdis,
            "plain before Webdis": self.plain_before_webdis,
            # Webdis and Redis share a core with the load, and a lookup that is late is a miss: the
            # deadline is one that nothing misses.
            "cache over Webdis": lambda: envoys.with_cluster(envoys.cache(upstream, {
                "memory": None, "http": {"cluster": "webdis", "protocol": "webdis",
                                         "lookup_timeout": "10s"}}),
                "webdis", self["Webdis, asked by the filter"].port),
        }
        made = makers.get(name, lambda: envoys.cache(upstream))()
        if not isinstance(made, Config):
            return made
        if module:
            made.plugin["vm_config"]["code"]["local"]["filename"] = module
        return envoys.start(made, workers(name))

    def webdis(self) -> Webdis:
        return beside_the_load(lambda: Webdis(self["Redis"].port, threads=1, pool_size=1))

    def plain_before_webdis(self) -> Config:
        webdis = self["Webdis, asked by plain Envoy"]
        self["Redis"].client.set("bench", b"x" * ENTRY_BYTES)
        return envoys.plain(webdis.port)


def beside_the_load(make: collections.abc.Callable[[], ServerProcess]) -> ServerProcess:
    """For servers that work for what is measured, and are not measured."""
    with machine.pinned({machine.LOAD_CORE}):
        return make()


def has_servers_behind(row: Row) -> bool:
    """Whether such servers work for it."""
    return row.server.partition(WITH_MODULE)[0] in ("plain before Webdis", "cache over Webdis")


def workers(server: str) -> int:
    return 2 if server.partition(WITH_MODULE)[0].endswith("2 workers") else 1


def load_shares_its_core(row: Row) -> bool:
    """Whether others on the load generator's core have to work for the row, so that it must sleep
    where it has nothing to do."""
    return (has_servers_behind(row)
            or machine.LOAD_CORE in machine.proxy_cores(workers(row.server)))


def pids(server: Envoy | ServerProcess) -> list[int]:
    return server.pids if isinstance(server, peers.Peer) else [server.pid]
