"""The page of `make demo` and `make run`, in a real browser."""

import json

import pytest
from harness import browser, debian, demo_page, run
from harness.demo_page.answers import ANSWER, APIS
from harness.devtools import Tab
from harness.envoy import Config, Envoy
from harness.http1 import fetch
from harness.server_process import free_port
from harness.standin import Standin

ASKED = "document.body?.dataset.asked === '1'"
# What each of the two panes shows.
SHOWN = """[...document.querySelectorAll(".pane")].map((pane) => ({
  cache: pane.querySelector(".badge").textContent,
  text: pane.querySelector(".answer").textContent,
  fault: pane.querySelector(".fault").textContent,
  saved: pane.querySelector(".saved").textContent,
  ...Object.fromEntries([...pane.querySelectorAll(".facts dt")].map(
    (name) => [name.textContent, name.nextElementSibling.textContent])),
}))"""
COUNTED = """Object.fromEntries([...document.querySelectorAll("#main div")].map(
  (box) => [box.querySelector("dt").textContent, box.querySelector("dd").textContent]))"""


@pytest.fixture(scope="module")
def tab():
    try:
        browser.find()
    except debian.NoProgram as error:
        pytest.skip(str(error))
    with Tab() as tab:
        yield tab


@pytest.fixture(scope="module")
def own_standin():
    with Standin() as standin:
        yield standin


def with_page(config: Config, settings: dict) -> Envoy:
    config.tree["admin"]["address"]["socket_address"]["port_value"] = free_port()
    demo_page.serve(config, settings)
    return Envoy(config)


@pytest.fixture(scope="module")
def demo(own_standin):
    config = Config.for_tests(own_standin.port)
    with with_page(config, demo_page.standin_settings(own_standin)) as envoy:
        yield envoy


def ask(tab: Tab, envoy: Envoy, api: str, form: str, question: str) -> list[dict]:
    """Opens the page by a link that asks by itself, and says what both panes show."""
    tab.open("about:blank")
    tab.complaints.clear()
    tab.open(f"{envoy.url}/demo/#ask=1&api={api}&form={form}&question={question}")
    tab.wait_for(ASKED)
    assert tab.evaluate("location.host") == f"127.0.0.1:{envoy.port}"
    return tab.evaluate(SHOWN)


@pytest.mark.parametrize("form", ["stream", "json"])
@pytest.mark.parametrize("api", APIS)
def test_the_second_answer_comes_from_the_cache_at_once(tab, demo, prompt, api, form):
    first, second = ask(tab, demo, api, form, prompt())
    assert (first["cache"], second["cache"]) == ("MISS", "HIT")
    assert first["text"] == second["text"] == ANSWER
    assert int(first["pieces"]) > 2
    assert first["tokens"] == second["tokens"] == "17 in, 67 out"
    assert first["cache-status"] == "envoy-llm-cache; fwd=uri-miss"
    assert second["cache-status"].startswith("envoy-llm-cache; hit; ttl=")
    assert second["saved"].startswith("Saved ") and second["saved"].endswith(" and 84 tokens.")
    assert tab.complaints == []


def test_the_counters_are_those_of_the_filter(tab, demo, prompt):
    ask(tab, demo, "openai_chat", "json", prompt())
    metrics = demo.cache_counters()
    for name, counter in (("misses", "miss.reason.absent"), ("from the cache", "hit")):
        value = metrics[f"llm_cache_requests_total.result.{counter}"]
        tab.wait_for(f"({COUNTED})['{name}'] === '{value}'")
    tab.wait_for(f"Number(({COUNTED})['tokens saved']) > 0")
    rows = tab.evaluate("[...document.querySelectorAll('#all tr')].map((row) => row.textContent)")
    assert any("llm_cache_info" in row and "version=" in row for row in rows)


def test_words_appear_as_they_come(tab, own_standin, prompt):
    """The answer is held back in the middle, and its beginning can be read."""
    settings = demo_page.standin_settings(own_standin)
    name = prompt()
    settings["standin"]["openai_chat"]["stream"] += f";step={name}"
    config = Config.for_tests(own_standin.port)
    with with_page(config, settings) as envoy:
        tab.open(f"{envoy.url}/demo/#ask=1&api=openai_chat&form=stream&question={name}")
        own_standin.release(name, 20)
        begun = tab.wait_for("document.querySelector('.answer')?.textContent.length > 20 && "
                             "document.querySelector('.answer').textContent")
        assert ANSWER.startswith(begun) and begun != ANSWER
        own_standin.release(name, 1000)
        tab.wait_for(ASKED)
        assert [pane["text"] for pane in tab.evaluate(SHOWN)] == [ANSWER, ANSWER]


def test_errors_are_shown_and_markup_stays_text(tab, own_standin, prompt):
    text = "<img src=x onerror=\"document.title='bad'\"><b>bold</b>"
    answer = json.loads(APIS["openai_chat"]["json"][1])
    answer["choices"][0]["message"]["content"] = text
    fixture = own_standin.put_fixture("markup", json.dumps(answer).encode())
    settings = {"standin": {"openai_chat": {"stream": "err=500",
                                            "json": f"{fixture};type=application/json"}}}
    with with_page(Config.for_tests(own_standin.port), settings) as envoy:
        for pane in ask(tab, envoy, "openai_chat", "json", prompt()):
            assert (pane["text"], pane["fault"]) == (text, "")
        assert tab.evaluate("document.querySelectorAll('.answer *').length") == 0
        assert tab.evaluate("document.title") == "envoy-llm-cache"
        first, second = ask(tab, envoy, "openai_chat", "stream", prompt())
        assert first["fault"].startswith("500 ")
        assert (first["text"], second["cache"], second["saved"]) == ("", "", "")


@pytest.mark.parametrize(("standin_says", "fault"), [
    ("err=event", "error"), ("cut=900", ""), ("clean_cut=900", "ended before"),
    ("no_done", "ended before")])
def test_a_stream_that_fails_is_not_shown_as_an_answer(
        tab, own_standin, prompt, standin_says, fault):
    settings = {"standin": {"openai_chat": {"stream": f"{standin_says};pace=0"}}}
    with with_page(Config.for_tests(own_standin.port), settings) as envoy:
        first, second = ask(tab, envoy, "openai_chat", "stream", prompt())
    assert first["fault"] and fault in first["fault"]
    assert (second["cache"], second["saved"]) == ("", "")


STREAM = ('\ufeff: a comment\r\ndata: {"a": 1}\r\n\r\nevent: x\ndata: one\ndata:two\n\n'
          "id: 1\rdata: three\r\rdata: \u2028\n\nevent: none\n\ndata: cut")
EVENTS = ['{"a": 1}', "one\ntwo", "three", "\u2028"]


def test_events_and_lines_are_read_wherever_they_are_cut(tab, demo):
    tab.open(f"{demo.url}/demo/")
    tab.wait_for("document.querySelectorAll('#apis input').length === 5")
    found = tab.evaluate(f"""import("/demo/app.js").then(({{EventStream, Lines}}) => {{
        const text = {json.dumps(STREAM)}, lines = "[1]\\n\\r\\n[2]\\n[3]", found = [];
        const read = (Reader, text, at) => {{
            const taken = [], reader = new Reader((document) => taken.push(document));
            reader.feed(text.slice(0, at));
            reader.feed(text.slice(at));
            reader.end();
            return taken;
        }};
        for (let at = 0; at <= text.length; at += 1) found.push(read(EventStream, text, at));
        for (let at = 0; at <= lines.length; at += 1) found.push(read(Lines, lines, at));
        found.push(read(EventStream, "data: last\\r\\r", 3));
        return found;
    }})""")
    *cuts, last = found
    assert last == ["last"]
    events, lines = cuts[:len(STREAM) + 1], cuts[len(STREAM) + 1:]
    assert events == [EVENTS] * len(events)
    assert [[line.strip() for line in one] for one in lines] == [["[1]", "[2]", "[3]"]] * len(lines)


def test_the_page_is_all_of_the_admin_interface_that_can_be_reached(demo):
    stats = fetch(demo.port, None, "/demo/stats", "GET")
    names = [stat.get("name", "") for stat in stats.json()["stats"]]
    assert names and all(name.startswith("wasmcustom.llm_cache_") for name in names if name)
    # All else is the provider's.
    for path, method in (("/demo/stats?filter=.", "GET"), ("/demo/stats", "POST"),
                         ("/demo/quitquitquit", "GET"), ("/demo/../stats", "GET"),
                         ("/stats", "GET"), ("/demo/?x", "GET"),
                         ("/demo/", "POST"), ("/", "GET")):
        answer = fetch(demo.port, b"" if method == "POST" else None, path, method)
        assert b"wasmcustom" not in answer.body and b"<html" not in answer.body, path
    page = fetch(demo.port, None, "/demo/", "GET")
    assert page.header("content-security-policy").startswith("default-src 'none'")
    assert page.cache is None


def test_a_real_provider_is_asked_with_the_key_and_the_model_of_the_page(
        tab, own_standin, prompt):
    upstream = f"http://127.0.0.1:{own_standin.port}"
    config = run.config_for(upstream)
    config.listen(0)
    with with_page(config, {"standin": None, "upstream": upstream}) as envoy:
        told = run.introduction(upstream, envoy)
        assert f"page      {envoy.url}/demo/" in told and "OPENAI_API_KEY" not in told
        tab.open("about:blank")
        tab.complaints.clear()
        # A link does not ask a provider that costs money.
        tab.open(f"{envoy.url}/demo/#ask=1&form=json&question={prompt()}")
        tab.wait_for("document.querySelectorAll('#apis input').length === 5")
        assert tab.evaluate("document.getElementById('provider').hidden") is False
        before = own_standin.requests()
        tab.evaluate("""document.getElementById("model").value = "my-model";
            document.getElementById("key").value = "sk-from-the-page";
            document.getElementById("ask").requestSubmit()""")
        tab.wait_for(ASKED)
        first, second = tab.evaluate(SHOWN)
        assert (first["cache"], second["cache"]) == ("MISS", "HIT")
        assert own_standin.requests() == before + 1
        headers = dict(own_standin.last()["headers"])
        assert headers["authorization"] == "Bearer sk-from-the-page"
        assert "x-stainless-standin" not in headers
        kept = tab.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, "
                            "location.href])")
        assert "sk-" not in kept
        assert tab.complaints == []
