"""The official clients, asked through an Envoy, and what they make of the answers.

Streams are added up by the client's own accumulator where it has one, and otherwise as its
documentation says one does it. Nothing here forgives: an event that is not understood, or that
belongs to nothing that was begun, raises.
"""

import contextlib
import dataclasses

import anthropic
import cohere
import httpx
import httpx2
import ollama
import openai
from answers import Pair
from google import genai

KEY = "sk-official"


@dataclasses.dataclass
class Seen:
    """What came of a request: what its headers say, and what the client made of the answer."""

    cache: str | None
    status: str | None
    coding: str | None
    made: dict


def ask(url: str, pair: Pair, text: str, streams: bool, standin: str = "", **members) -> Seen:
    """Asks with the official client of the pair's API; `members` come on top of the question."""
    answers = []
    headers = {"x-stainless-standin": standin} if standin else {}
    made = CLIENTS[pair.api](url, answers.append, headers, pair, text, streams, members)
    (answer,) = answers
    said = (answer.headers.get(name) for name in ("x-cache", "cache-status", "content-encoding"))
    return Seen(*said, made)


def watched(package, watch):
    """An HTTP client that shows every answer it gets."""
    return package.Client(event_hooks={"response": [watch]}, timeout=60)


def usage_asked(streams: bool, members: dict) -> dict:
    """A stream with usage, unless told otherwise."""
    return {"stream_options": {"include_usage": True}, **members} if streams else members


def openai_client(url, watch):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0,
                         http_client=watched(httpx2, watch))


def openai_chat(url, watch, headers, pair, text, streams, members):
    question = {**pair.question(text), **usage_asked(streams, members)}
    with openai_client(url, watch) as client:
        if not streams:
            return client.chat.completions.create(**question, extra_headers=headers).to_dict()
        with client.chat.completions.stream(**question, extra_headers=headers) as stream:
            return stream.get_final_completion().to_dict(warnings=False)


def openai_completions(url, watch, headers, pair, text, streams, members):
    question = {**pair.question(text), **usage_asked(streams, members)}
    with openai_client(url, watch) as client:
        answer = client.completions.create(**question, stream=streams, extra_headers=headers)
        return completion_of(answer) if streams else answer.to_dict()


def completion_of(stream) -> dict:
    whole: dict = {"usage": None}
    choices: dict[int, dict] = {}
    for chunk in stream:
        chunk = chunk.to_dict()
        for choice in chunk.pop("choices"):
            known = choices.setdefault(choice["index"], {
                "index": choice["index"], "text": "", "finish_reason": None, "logprobs": {}})
            known["text"] += choice["text"]
            assert known["finish_reason"] is None, "a choice goes on after its end"
            known["finish_reason"] = choice["finish_reason"]
            for name, values in (choice["logprobs"] or {}).items():
                known["logprobs"].setdefault(name, []).extend(values)
        whole["usage"] = chunk.pop("usage", None) or whole["usage"]
        assert all(whole.get(name, value) == value for name, value in chunk.items())
        whole |= chunk
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def openai_responses(url, watch, headers, pair, text, streams, members):
    question = {**pair.question(text), **members}
    with openai_client(url, watch) as client:
        if not streams:
            return client.responses.create(**question, extra_headers=headers).to_dict()
        with client.responses.stream(**question, extra_headers=headers) as stream:
            events = [event.to_dict(warnings=False) for event in stream]
            final = stream.get_final_response().to_dict(warnings=False)
            return {**final, "steps": steps_of(events)}


def steps_of(events: list[dict]) -> dict:
    """What somebody sees who does not wait for the final response."""
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(events)))
    said: dict[str, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            place = (event["output_index"], event.get("content_index", event.get("summary_index")))
            name = f"{event['type']} {event['item_id']} {place}"
            said[name] = said.get(name, "") + event["delta"]
    kinds = [event["type"] for event in events if not event["type"].endswith(".delta")]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return {"kinds": kinds, "said": said, "done": done, "begun": events[0]["response"]}


def anthropic_messages(url, watch, headers, pair, text, streams, members):
    question = {**pair.question(text), **members}
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0,
                             http_client=watched(httpx2, watch)) as client:
        if not streams:
            return client.messages.create(**question, extra_headers=headers).to_dict()
        with client.messages.stream(**question, extra_headers=headers) as stream:
            return stream.get_final_message().to_dict()


def gemini(url, watch, headers, pair, text, streams, members):
    options = {"base_url": url, "headers": headers, "httpx_client": watched(httpx2, watch)}
    config = {**pair.members, **members}
    if "tools" in config:
        # The client would otherwise want to call the functions itself.
        config["automatic_function_calling"] = {"disable": True}
    with contextlib.closing(genai.Client(api_key=KEY, http_options=options)) as client:
        ask = client.models.generate_content_stream if streams else client.models.generate_content
        answer = ask(model="stand-in", contents=text, config=config)
        return content_of(answer) if streams else plain_content(answer)


def plain_content(answer) -> dict:
    return answer.model_dump(mode="json", exclude={"sdk_http_response"}, exclude_none=True)


def content_of(stream) -> dict:
    whole: dict = {}
    candidates: dict[int, dict] = {}
    for piece in stream:
        piece = plain_content(piece)
        for candidate in piece.pop("candidates", []):
            known = candidates.setdefault(candidate.get("index", 0), {"content": {"parts": []}})
            assert "finish_reason" not in known, "a candidate goes on after its end"
            content = candidate.pop("content", {})
            for part in content.pop("parts", []):
                append_part(known["content"]["parts"], part)
            known["content"] |= content
            known |= candidate
        # All else is said anew in each piece, and the last one counts.
        whole |= piece
    return {**whole, "candidates": [candidates[index] for index in sorted(candidates)]}


def append_part(parts: list[dict], part: dict) -> None:
    """Text goes on where the text before it ended, if it is of its kind."""
    last = parts[-1] if parts else {}
    mergeable = {"text", "thought"}
    if ("text" in part and "text" in last and set(part) | set(last) <= mergeable
            and part.get("thought") == last.get("thought")):
        last["text"] += part["text"]
    else:
        parts.append(part)


def ollama_client(url, watch, headers):
    return ollama.Client(host=url, headers={**headers, "authorization": f"Bearer {KEY}"},
                         event_hooks={"response": [watch]})


def ollama_chat(url, watch, headers, pair, text, streams, members):
    with ollama_client(url, watch, headers) as client:
        answer = client.chat(**pair.question(text), **members, stream=streams)
        return lines_of(answer) if streams else answer.model_dump()


def ollama_generate(url, watch, headers, pair, text, streams, members):
    with ollama_client(url, watch, headers) as client:
        answer = client.generate(**pair.question(text), **members, stream=streams)
        return lines_of(answer) if streams else answer.model_dump()


def lines_of(stream) -> dict:
    whole: dict = {}
    for line in stream:
        assert not whole.get("done"), "a line after the last"
        whole = added(whole, line.model_dump())
    return whole


def added(before: dict, line: dict) -> dict:
    """Text and calls add up, all else is as the later line has it."""
    result = dict(line)
    for name, value in before.items():
        if name == "message":
            result[name] = added(value, line[name])
        elif name in ("content", "thinking", "response", "tool_calls") and value:
            result[name] = value + (line[name] or type(value)())
    return result


def cohere_chat(url, watch, headers, pair, text, streams, members):
    with watched(httpx, watch) as http_client:
        client = cohere.ClientV2(api_key=KEY, base_url=url, httpx_client=http_client,
                                 max_retries=0, log_warning_experimental_features=False)
        asked = client.chat_stream if streams else client.chat
        answer = asked(**pair.question(text), **members,
                       request_options={"additional_headers": headers})
        return reply_of(answer) if streams else answer.dict()


def reply_of(stream) -> dict:
    content: dict[int, dict] = {}
    calls: dict[int, dict] = {}
    plan, citations = "", []
    whole: dict = {}
    ended = []
    for event in stream:
        event = event.dict()
        assert "finish_reason" not in whole, "an event after the last"
        told, index = event.get("delta") or {}, event.get("index")
        message = told.get("message") or {}
        match event["type"]:
            case "message-start":
                whole |= {"id": event["id"], "message": {"role": message["role"]}}
            case "content-start":
                assert index not in content
                content[index] = dict(message["content"])
            case "content-delta":
                for name, piece in message["content"].items():
                    content[index][name] += piece
            case "tool-plan-delta":
                plan += message["tool_plan"]
            case "tool-call-start":
                assert index not in calls
                calls[index] = message["tool_calls"]
            case "tool-call-delta":
                calls[index]["function"]["arguments"] += message["tool_calls"]["function"][
                    "arguments"]
            case "content-end":
                ended.append(content[index])
            case "tool-call-end":
                ended.append(calls[index])
            case "citation-start":
                assert len(citations) == index
                citations.append(message["citations"])
            case "citation-end":
                assert len(citations) == index + 1
            case "message-end":
                whole |= told
            case kind:
                raise AssertionError(f"an event of an unknown type: {kind}")
    assert len(ended) == len(content) + len(calls), "something has no end"
    whole["message"] |= {
        "tool_plan": plan, "citations": citations,
        "content": [content[index] for index in sorted(content)],
        "tool_calls": [calls[index] for index in sorted(calls)]}
    return whole


CLIENTS = {
    "openai_chat": openai_chat,
    "openai_completions": openai_completions,
    "openai_responses": openai_responses,
    "anthropic_messages": anthropic_messages,
    "gemini": gemini,
    "ollama_chat": ollama_chat,
    "ollama_generate": ollama_generate,
    "cohere": cohere_chat,
}
