"""Endpoints beside the well-known ones, and spellings of a request that are the same request."""

import json

import boto3
import botocore
import botocore.config
import pytest
from asserts import upstream_asked
from chats import chat
from harness.http1 import fetch

KEY = {"authorization": "Bearer key-of-endpoints"}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
           "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
           "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
TITAN = {"inputTextTokenCount": 5, "results": [
    {"tokenCount": 2, "outputText": "Hello", "completionReason": "FINISH"}]}
GEMINI = {"candidates": [{"content": {"parts": [{"text": "Hello"}], "role": "model"},
                          "finishReason": 1, "index": 0}]}
CLAUDE = "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1"
NUMBERS = "%24alt=json%3Benum-encoding%3Dint"


def answered(standin, envoy, path: str, body: dict, answer, standin_more: str = "", **named):
    """A request that the upstream, if it is asked, answers with this JSON."""
    standin.put_fixture("endpoint.json", json.dumps(answer).encode())
    named["headers"] = {**KEY, **named.get("headers", {})}
    return fetch(envoy.port, body, path=path,
                 standin=f"fixture=@endpoint.json{standin_more}", **named)


@pytest.mark.parametrize(("path", "body", "answer"), [
    (f"{CLAUDE}:rawPredict", {"anthropic_version": "vertex-2023-10-16"}, MESSAGE),
    ("/api/embeddings", {"model": "m"}, {"embedding": [0.25, -1.5]}),
    ("/v1/embed", {"texts": ["a", "b"]}, {"id": "i", "embeddings": [[0.5], [0.25]]}),
    ("/model/amazon.titan-text/invoke", {}, TITAN),
    ("/model/amazon.nova-lite/invoke", {"schemaVersion": "messages-v1"},
     {"output": {"message": {"content": [{"text": "Hello"}], "role": "assistant"}},
      "stopReason": "end_turn", "usage": {"inputTokens": 1}}),
    ("/model/cohere.embed-v3/invoke", {"texts": ["a"]}, {"id": "i", "embeddings": [[0.5]]}),
    (f"/v1beta/models/m:generateContent?{NUMBERS}", {"contents": []}, GEMINI),
], ids=["vertex", "ollama", "cohere", "titan", "nova", "bedrock-embed", "gemini-numbers"])
def test_an_answer_of_each_endpoint_is_replayed(single, standin, prompt, path, body, answer):
    body = {**body, "prompt": prompt()}
    miss = answered(standin, single, path, body, answer)
    with upstream_asked(standin, 0):
        hit = answered(standin, single, path, body, {"another": "answer"})
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert hit.body == miss.body == json.dumps(answer).encode()


def test_the_verb_of_vertex_ai_chooses_the_form_of_the_hit(single, standin, prompt):
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9,
            "messages": [{"role": "user", "content": prompt()}]}
    miss = answered(standin, single, f"{CLAUDE}:rawPredict", body, MESSAGE)
    with upstream_asked(standin, 0):
        stream = answered(standin, single, f"{CLAUDE}:streamRawPredict",
                          {**body, "stream": True}, {})
    assert (miss.cache, stream.cache) == ("MISS", "HIT")
    assert stream.header("content-type").startswith("text/event-stream")
    assert b"event: message_stop" in stream.body
    assert b"Hello" in stream.body


CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
COMPLETION = {"choices": [{"index": 0, "finish_reason": "stop",
                           "message": {"role": "assistant", "content": "Hello"}}]}


@pytest.mark.parametrize(("path", "tool", "answer", "is_the_client_s"), [
    # As Mistral's older client sends it.
    (CHAT, {"function": {"name": "look_up", "parameters": {}}}, COMPLETION, True),
    (CHAT, {"type": None, "function": {"name": "look_up"}}, COMPLETION, True),
    (CHAT, {"google_search": {}}, COMPLETION, False),
    (CHAT, {"type": "web_search", "function": {"name": "look_up"}}, COMPLETION, False),
    (MESSAGES, {"name": "look_up", "input_schema": {"type": "object"}}, MESSAGE, True),
    (MESSAGES, {"url": "https://mcp.test"}, MESSAGE, False),
    (MESSAGES, {"type": "web_search_20250305", "name": "web_search"}, MESSAGE, False),
], ids=["chat", "chat-null", "chat-search", "chat-typed-search", "messages", "messages-nameless",
        "messages-search"])
def test_tools_without_a_type_are_the_client_s_where_they_look_like_it(
        single, standin, prompt, path, tool, answer, is_the_client_s):
    body = {"max_tokens": 9, "tools": [tool], **chat(prompt())}
    answers = [answered(standin, single, path, body, answer) for _ in range(2)]
    expected = ["MISS", "HIT"] if is_the_client_s else ["BYPASS", "BYPASS"]
    assert [answer.cache for answer in answers] == expected
    told = answers[0].header("cache-status").endswith("; detail=server_tools")
    assert told is not is_the_client_s


def test_numbers_for_words_are_another_answer(single, standin, prompt):
    path = "/v1beta/models/m:generateContent"
    body = {"contents": [{"parts": [{"text": prompt()}]}]}
    words = {"candidates": [{**GEMINI["candidates"][0], "finishReason": "STOP"}]}
    for query, answer in ((f"?{NUMBERS}", GEMINI), ("", words)):
        assert answered(standin, single, path + query, body, answer).cache == "MISS"
    for query, answer in ((f"?{NUMBERS}", GEMINI), ("?$alt=json;enum-encoding=int", GEMINI),
                          ("", words), ("?%24alt=json", words)):
        hit = answered(standin, single, path + query, body, {})
        assert (hit.cache, hit.json()) == ("HIT", answer), query


@pytest.mark.parametrize("path", [
    "/v1/threads/thread_1/messages", "/openai/threads/thread_1/messages", "/v1/messages/batches",
    "/v1/messages/count_tokens", "/v1/assistants", "/v1/batches", "/v1/files",
    f"{CLAUDE.rpartition('/')[0]}/count-tokens:rawPredict"])
def test_what_is_no_question_to_a_model_passes_untouched(single, standin, prompt, path):
    body = {"messages": [{"role": "user", "content": prompt()}]}
    for _ in range(2):
        with upstream_asked(standin, 1):
            answer = answered(standin, single, path, body, MESSAGE)
        assert (answer.status, answer.cache, answer.header("cache-status")) == (200, None, None)


@pytest.mark.parametrize(("one", "others", "apart", "headers"), [
    ("llm.test", ["LLM.Test", "llm.test.", "llm.test:80", "LLM.test.:80"],
     ["llm.test:443", "llm.test:8080", "other.test"], {}),
    ("llm.test:443", ["llm.test", "llm.test.:443"], ["llm.test:80"],
     {"x-forwarded-proto": "https"}),
], ids=["http", "https"])
def test_spellings_of_one_authority_are_one_request(
        single, standin, prompt, one, others, apart, headers):
    body = chat(prompt())
    headers = {**KEY, **headers}
    miss = fetch(single.port, body, host=one, headers=headers)
    assert miss.cache == "MISS"
    for other in others:
        with upstream_asked(standin, 0):
            hit = fetch(single.port, body, host=other, headers=headers)
        assert (hit.cache, hit.body) == ("HIT", miss.body), other
    for other in apart:
        assert fetch(single.port, body, host=other, headers=headers).cache == "MISS", other
        # The upstream gets it as it came.
        assert ["host", other] in standin.stats()["last"]["headers"]


@pytest.mark.parametrize(("one", "others", "apart"), [
    ("/v1/chat/completions/?v=1", ["/v1/chat/completions?v=1"],
     ["/v1/chat/completions//?v=1", "/v1/chat/completions/?v=2", "/V1/chat/completions?v=1"]),
    ("/OpenAI/deployments/Gpt/chat/completions?api-version=1",
     ["/openai/deployments/Gpt/chat/completions?api-version=1",
      "/OPENAI/Deployments/Gpt/Chat/Completions/?api-version=1"],
     ["/openai/deployments/gpt/chat/completions?api-version=1"]),
], ids=["slash", "azure"])
def test_spellings_of_one_path_are_one_request(single, standin, prompt, one, others, apart):
    body = chat(prompt())
    recorded = json.dumps({"object": "chat.completion", "choices": [
        {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()
    standin.put_fixture("chat.json", recorded)

    def ask(path: str):
        return fetch(single.port, body, path=path, headers=KEY, standin="fixture=@chat.json")
    assert ask(one).cache == "MISS"
    assert standin.stats()["last"]["target"] == one, "the upstream gets it as it came"
    for other in others:
        with upstream_asked(standin, 0):
            assert ask(other).cache == "HIT", other
    for other in apart:
        assert ask(other).cache in ("MISS", None), other


def test_boto3_reads_a_hit_of_invoke_model_as_it_reads_an_answer_of_bedrock(
        single, standin, prompt):
    body = {"inputText": prompt()}
    path = "/model/amazon.titan-text-express-v1/invoke"
    host = f"127.0.0.1:{single.port}"
    more = (";header=x-amzn-requestid:of-the-first"
            ";header=x-amzn-bedrock-input-token-count:5"
            ";header=x-amzn-bedrock-output-token-count:2"
            ";header=x-amzn-bedrock-service-tier:flex")
    miss = answered(standin, single, path, body, TITAN, more, host=host)
    assert (miss.cache, miss.header("x-amzn-requestid")) == ("MISS", "of-the-first")
    # Bearer tokens it sends over TLS only, which ends before the gateway where there is any.
    client = boto3.client("bedrock-runtime", region_name="us-east-1",
                          endpoint_url=f"http://{host}",
                          config=botocore.config.Config(signature_version=botocore.UNSIGNED,
                                                        retries={"max_attempts": 0}))
    client.meta.events.register(
        "before-send", lambda request, **_: request.headers.update(KEY))
    ids = set()
    for _ in range(2):
        with upstream_asked(standin, 0):
            answer = client.invoke_model(modelId="amazon.titan-text-express-v1",
                                         body=json.dumps(body))
        assert json.loads(answer["body"].read()) == TITAN
        assert answer["serviceTier"] == "flex"
        metadata = answer["ResponseMetadata"]
        headers = metadata["HTTPHeaders"]
        assert headers["x-cache"] == "HIT"
        assert headers["x-amzn-bedrock-input-token-count"] == "5"
        assert headers["x-amzn-bedrock-output-token-count"] == "2"
        ids.add(metadata["RequestId"])
    # That of each request, and none of another's.
    assert len(ids) == 2
    assert "of-the-first" not in ids


def test_counts_in_headers_are_zero_where_usage_is(envoys, standin, prompt):
    envoy = envoys.configured({"respond": {"usage": "zero"}})
    body = {"inputText": prompt()}
    path = "/model/amazon.titan-text/invoke"
    more = ";header=x-amzn-bedrock-input-token-count:5"
    miss = answered(standin, envoy, path, body, TITAN, more)
    assert (miss.cache, miss.header("x-amzn-bedrock-input-token-count")) == ("MISS", "5")
    for _ in range(2):
        hit = answered(standin, envoy, path, body, {})
        assert (hit.cache, hit.header("x-amzn-bedrock-input-token-count")) == ("HIT", "0")
        assert hit.json()["inputTextTokenCount"] == 0
