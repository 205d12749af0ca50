"""`respond.explain` tells which part of two requests' keys differs, and nothing else of them."""

import subprocess
import sys

import pytest
from chats import chat
from harness.envoy import EXAMPLE
from harness.http1 import fetch
from test_callers import other_upstream

SCRIPT = EXAMPLE.parent / "explain.py"
HEADER = "x-cache-key-parts"


def explain(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=False,
                          capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def explaining(envoys, workers):
    config = other_upstream(envoys.config(), "other", headers=[
        {"name": "x-provider", "string_match": {"exact": "other"}}])
    config.configure({"respond": {"explain": True}, "key": {"headers": ["x-team"]}})
    return envoys.shared(config, workers)


def test_each_difference_is_told_by_its_part(explaining, prompt):
    text = prompt()
    plain = fetch(explaining.port, chat(text, user="ann"))
    assert plain.cache == "MISS"
    for difference, body, headers in (
            ("differs: the member user of the body", chat(text, user="bob"), {}),
            ("differs: the member messages of the body", chat(prompt(), user="ann"), {}),
            ("differs: the caller: credentials and identities, see key.tenant",
             chat(text, user="ann"), {"authorization": "Bearer other"}),
            ("differs: the cluster that the route leads to",
             chat(text, user="ann"), {"x-provider": "other"}),
            ("differs: the header x-team", chat(text, user="ann"), {"x-team": "red"}),
            ("only in the second: the header openai-beta",
             chat(text, user="ann"), {"openai-beta": "v2"}),
            ("only in the second: the member seed of the body",
             chat(text, user="ann", seed=1), {})):
        other = fetch(explaining.port, body, headers=headers)
        assert other.cache == "MISS"
        assert explain(plain.header(HEADER), other.header(HEADER)) == (1, [difference])


def test_hits_on_every_worker_explain_alike_and_show_no_value(explaining, prompt):
    body = chat(prompt(), user="ann-of-accounts", my_secret_member="hidden")
    answers = [fetch(explaining.port, body) for _ in range(8)]
    assert [answer.cache for answer in answers] == ["MISS"] + 7 * ["HIT"]
    told, = {answer.header(HEADER) for answer in answers}
    assert "ann" not in told and "secret" not in told and "test-key" not in told
    assert explain(told, told) == (0, ["no difference: both have the same key"])


def test_an_explanation_has_a_bound_and_says_so(explaining, prompt):
    body = chat(prompt(), **{f"x{number}": number for number in range(200)})
    told = fetch(explaining.port, body).header(HEADER)
    assert told.endswith(", ...") and len(told) <= 2048
    assert explain(told, told)[0] == 2


def test_nothing_is_explained_unless_asked_for(single, prompt):
    body = chat(prompt())
    assert [fetch(single.port, body).header(HEADER) for _ in range(2)] == [None, None]


def test_the_script_reads_what_curl_printed(tmp_path):
    files = []
    for digest in ("00000001", "00000002"):
        file = tmp_path / digest
        file.write_text("HTTP/1.1 200 OK\r\n"
                        f"X-Cache-Key-Parts: api=00000000, path={digest}\r\n\r\n{{}}")
        files.append(file)
    assert explain(*files) == (1, ["differs: the path with its query"])
    (tmp_path / "none").write_text("HTTP/1.1 200 OK\r\n\r\n")
    assert explain(files[0], tmp_path / "none") == (2, [])
