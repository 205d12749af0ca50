"""Compressed answers for the clients of today, and compressed requests."""

import gzip
import hashlib
import json
import subprocess
import zlib

import httpx
import openai
import pytest
from asserts import upstream_asked
from chats import chat
from harness.codings import decoded, zstd_stored
from harness.envoy import ROOT
from harness.http1 import Http1Connection, fetch

AUTHORIZATION = {"authorization": "Bearer test-key"}
CHROMIUM = "gzip, deflate, br, zstd"
# As those providers that compress prefer it.
OFFERS = "offers=br,zstd,gzip,deflate;pace=0"


def body_of(prompt, stream: bool = False) -> bytes:
    return json.dumps(chat(prompt, stream)).encode()


def ask(port: int, body, accepts: str | None, standin: str = OFFERS, **named):
    accepting = {} if accepts is None else {"accept-encoding": accepts}
    headers = {**AUTHORIZATION, **accepting, **named.pop("headers", {})}
    return fetch(port, body, headers=headers, standin=standin, **named)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(("accepts", "offered", "coding"), [
    (CHROMIUM, "gzip, deflate, zstd", "zstd"),
    ("br, gzip, deflate", "gzip, deflate", "gzip"),
    ("gzip;q=0.5, br, *;q=0.1", "gzip;q=0.5", "gzip"),
    ("deflate", "deflate", "deflate"),
    ("br", "identity", None),
    ("*", "gzip", "gzip"),
    (None, None, None),
])
def test_the_upstream_is_offered_what_can_be_judged_and_the_answer_is_stored(
        single, standin, prompt, stream, accepts, offered, coding):
    body = body_of(prompt(), stream)
    with upstream_asked(standin, 1):
        miss = ask(single.port, body, accepts)
        assert dict(standin.last()["headers"]).get("accept-encoding") == offered
        hit = ask(single.port, body, accepts)
    assert (miss.cache, miss.header("content-encoding")) == ("MISS", coding)
    assert hit.cache == "HIT"
    if hit.header("content-encoding") == coding:
        assert hit.body == miss.body
    else:
        # `*` is taken for no more than is sure.
        assert hit.body == decoded(coding, miss.body)
    with upstream_asked(standin, 0):
        plain = ask(single.port, body, "identity")
    assert (plain.cache, plain.header("content-encoding")) == ("HIT", None)
    assert plain.body == decoded(coding or "", miss.body)


def test_several_lines_become_one(single, standin, prompt):
    body = body_of(prompt())
    lines = (b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\n"
             b"authorization: Bearer test-key\r\ncontent-type: application/json\r\n"
             b"accept-encoding: br\r\naccept-encoding: gzip;q=0.9\r\naccept-encoding: dcz\r\n"
             b"content-length: %d\r\n\r\n%b" % (len(body), body))
    with Http1Connection(single.port) as connection:
        connection.send(lines)
        assert connection.read_head().cache == "MISS"
    sent = [value for name, value in standin.last()["headers"] if name == "accept-encoding"]
    assert sent == ["gzip;q=0.9"]


@pytest.mark.parametrize("accepts", ["br, identity;q=0", "br, *;q=0", "gzip, deflate", "identity"])
def test_what_would_leave_nothing_and_what_is_fine_stays_as_it_came(
        single, standin, prompt, accepts):
    ask(single.port, body_of(prompt()), accepts)
    assert dict(standin.last()["headers"])["accept-encoding"] == accepts


@pytest.mark.parametrize("mode", ["shadow", "disabled", "read_only"])
def test_a_mode_that_leaves_requests_untouched_keeps_accept_encoding(
        envoys, standin, prompt, mode):
    envoy = envoys.configured({"mode": mode})
    answer = ask(envoy.port, body_of(prompt()), CHROMIUM)
    assert dict(standin.last()["headers"])["accept-encoding"] == CHROMIUM
    assert answer.header("content-encoding") == "br"


def test_a_request_that_takes_no_part_is_left_alone(single, standin):
    ask(single.port, b"{}", CHROMIUM, path="/v1/unknown")
    assert dict(standin.last()["headers"])["accept-encoding"] == CHROMIUM


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_python_client_reads_hits_whatever_it_accepts(single, standin, prompt, stream):
    """httpx decodes br and zstd only with its extras; what it was told to accept it must decode."""
    question = chat(prompt(), stream)
    outcomes = []
    with upstream_asked(standin, 1):
        for accepts in ("gzip, deflate, br", "gzip, deflate, br", "identity"):
            with openai.OpenAI(base_url=f"{single.url}/v1", api_key="sk-codings", max_retries=0,
                               default_headers={"accept-encoding": accepts}) as client:
                raw = client.chat.completions.with_raw_response.create(
                    **question, extra_headers={"x-stainless-standin": "offers=br,gzip;pace=0"})
                parsed = raw.parse()
                chunks = list(parsed) if stream else [parsed]
                outcomes.append((raw.headers["x-cache"], raw.headers.get("content-encoding"),
                                 [chunk.model_dump() for chunk in chunks]))
    (_, _, said), *_ = outcomes
    assert outcomes == [("MISS", "gzip", said), ("HIT", "gzip", said), ("HIT", None, said)]


def test_httpx_reads_all_of_what_it_is_served(single, prompt):
    body = body_of(prompt())
    with httpx.Client(headers={**AUTHORIZATION, "content-type": "application/json"}) as client:
        answers = [client.post(f"{single.url}/v1/chat/completions", content=body, headers={
            "accept-encoding": accepts, "x-stainless-standin": "offers=x-gzip,gzip,deflate"})
            for accepts in ("x-gzip", "gzip, deflate", "deflate")]
    assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT", "HIT"]
    # To who does not name it, x-gzip is not served.
    assert [answer.headers.get("content-encoding") for answer in answers] == ["x-gzip", None, None]
    assert gzip.decompress(answers[0].content) == answers[1].content == answers[2].content


def test_an_answer_of_two_gzip_members_is_not_stored(single, standin, prompt):
    body = body_of(prompt())
    whole = ask(single.port, body_of(prompt()), "identity").body
    two = gzip.compress(whole[:40]) + gzip.compress(whole[40:])
    fixture = standin.put_fixture("two-members", two)
    for _ in range(2):
        answer = ask(single.port, body, "gzip", standin=(
            f"{fixture};type=application/json;header=content-encoding:gzip"))
        assert (answer.cache, answer.body) == ("MISS", two)


FETCH = """
const [url, body, standin] = process.argv.slice(1);
const results = [];
for (let n = 0; n < 2; n++) {
  const response = await fetch(url, {method: "POST", body, headers: {
    authorization: "Bearer node", "content-type": "application/json",
    "x-stainless-standin": standin, "accept-encoding": "br, gzip, deflate"}});
  results.push([response.headers.get("x-cache"), await response.text()]);
}
console.log(JSON.stringify(results));
"""


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_fetch_of_node_reads_hits(single, standin, prompt, stream):
    with upstream_asked(standin, 1):
        ran = subprocess.run(
            ["node", "--input-type=module", "-e", FETCH, f"{single.url}/v1/chat/completions",
             body_of(prompt(), stream).decode(), "offers=br,gzip;pace=1"],
            capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    (first, miss), (second, hit) = json.loads(ran.stdout)
    assert (first, second) == ("MISS", "HIT")
    assert miss == hit
    assert "Answer" in hit


CODED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: b"".join(zstd_stored([body])),
}


@pytest.mark.parametrize("coding", CODED)
def test_a_compressed_request_is_passed_on_as_it_came_and_shares_the_answer(
        envoy, standin, prompt, coding):
    body = body_of(prompt())
    coded = CODED[coding](body)
    headers = {"content-encoding": coding}
    with upstream_asked(standin, 1):
        miss = ask(envoy.port, coded, None, headers=headers)
        last = standin.last()
        again = ask(envoy.port, coded, None, headers=headers)
        plain = ask(envoy.port, body, None)
    assert last["body_sha256"] == hashlib.sha256(coded).hexdigest()
    assert dict(last["headers"])["content-encoding"] == coding
    assert (miss.cache, again.cache, plain.cache) == ("MISS", "HIT", "HIT")
    assert b"Answer" in miss.body
    assert miss.body == again.body == plain.body


@pytest.mark.parametrize(("coding", "coded", "detail"), [
    ("br", b"\x0b\x00\x80{}\x03", "content_encoding"),
    ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), "content_encoding"),
    ("gzip", b"{}", "coding_malformed"),
    ("gzip", gzip.compress(b"{}")[:-1], "coding_truncated"),
    ("gzip", gzip.compress(b"{}") * 2, "coding_after_end"),
    ("gzip", gzip.compress(b" " * (15 << 20)), "coding_laborious"),
    ("gzip", gzip.compress(b"[%s]" % b",".join(b"%d" % (n * n) for n in range(1_700_000)), 1),
     "coding_too_large"),
], ids=["brotli", "twice", "plain", "cut", "members", "bomb", "long"])
def test_a_compressed_request_that_cannot_be_read_passes_and_says_why(
        single, standin, coding, coded, detail):
    with upstream_asked(standin, 1):
        answer = ask(single.port, coded, None, standin="err=400",
                     headers={"content-encoding": coding})
        assert standin.last()["body_sha256"] == hashlib.sha256(coded).hexdigest()
    assert (answer.status, answer.cache) == (400, "BYPASS")
    assert answer.header("cache-status") == f"envoy-llm-cache; fwd=bypass; detail={detail}"
