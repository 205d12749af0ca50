"""Answers that a provider could have given in either form: as JSON, and as a stream.

Both forms of a pair are written by hand and say the same: ids, text, calls, usage. Where an API
gives JSON a member that its streams have no place for (`"annotations": []` of a chat message, say)
the pair is without it, because nobody could tell it from the stream.
"""

import dataclasses
import json

TOOL = {"type": "function", "function": {"name": "look_up", "strict": True, "parameters": {
    "type": "object", "additionalProperties": False, "required": ["query"],
    "properties": {"query": {"type": "string"}}}}}


@dataclasses.dataclass(frozen=True)
class Pair:
    """One answer, in both forms, and what one asks to get it."""

    api: str
    name: str
    whole: bytes
    stream: bytes
    members: dict = dataclasses.field(default_factory=dict)

    @property
    def stream_type(self) -> str:
        return "application/x-ndjson" if self.api.startswith("ollama") else "text/event-stream"

    def path(self, streams: bool) -> str:
        if self.api == "gemini":
            method = "streamGenerateContent?alt=sse" if streams else "generateContent"
            return f"/v1beta/models/stand-in:{method}"
        return PATHS[self.api]

    def question(self, text: str) -> dict:
        """The body of a request for it, but for what chooses the form."""
        messages = [{"role": "user", "content": text}]
        if self.api == "gemini":
            return {"contents": [{"role": "user", "parts": [{"text": text}]}], **self.members}
        asked = {
            "openai_completions": {"prompt": text},
            "openai_responses": {"input": text},
            "anthropic_messages": {"messages": messages, "max_tokens": 400},
            "ollama_generate": {"prompt": text},
        }.get(self.api, {"messages": messages})
        return {"model": "stand-in", **asked, **self.members}

    def body(self, text: str, streams: bool) -> dict:
        if self.api == "gemini":
            return self.question(text)
        body = {**self.question(text), "stream": streams}
        if streams and self.api in ("openai_chat", "openai_completions"):
            body["stream_options"] = {"include_usage": True}
        return body

    def standin(self, standin, streams: bool) -> str:
        """The directive that makes the stand-in answer so."""
        name = f"{self.api}-{self.name}-{'stream' if streams else 'whole'}"
        fixture = standin.put_fixture(name, self.stream if streams else self.whole)
        return f"{fixture};type={self.stream_type if streams else 'application/json'}"


PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_completions": "/v1/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "ollama_chat": "/api/chat",
    "ollama_generate": "/api/generate",
    "cohere": "/v2/chat",
}


def spelled(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def data(*documents, line_end: bytes = b"\n") -> bytes:
    """Events without a name."""
    return b"".join(b"data: " + spelled(document) + 2 * line_end for document in documents)


def named(*documents: dict) -> bytes:
    """Events that have their type for a name as well."""
    return b"".join(b"event: " + document["type"].encode() + b"\ndata: " + spelled(document)
                    + b"\n\n" for document in documents)


DONE = b"data: [DONE]\n\n"


# -- chat completions ---------------------------------------------------------------------------

CHAT_USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30,
              "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0,
                                            "accepted_prediction_tokens": 0,
                                            "rejected_prediction_tokens": 0}}


def completion(choices: list[dict], **more) -> bytes:
    return spelled({"id": "chatcmpl-Hand1", "object": "chat.completion", "created": 1_710_000_001,
                    "model": "stand-in-2024", "choices": choices, "usage": CHAT_USAGE,
                    "service_tier": "default", "system_fingerprint": "fp_hand", **more})


def chunks(*choices: list[dict], usage: bool = True, **more) -> bytes:
    """A stream whose chunks have these choices, then a chunk with the usage."""
    head = {"id": "chatcmpl-Hand1", "object": "chat.completion.chunk", "created": 1_710_000_001,
            "model": "stand-in-2024", "service_tier": "default", "system_fingerprint": "fp_hand",
            **more}
    if not usage:
        return data(*({**head, "choices": choice} for choice in choices)) + DONE
    return data(*({**head, "choices": choice, "usage": None} for choice in choices),
                {**head, "choices": [], "usage": CHAT_USAGE}) + DONE


def delta(change: dict, index: int = 0, finish: str | None = None, logprobs=None) -> dict:
    return {"index": index, "delta": change, "logprobs": logprobs, "finish_reason": finish}


def logprob(token: str, value: float, *others: tuple[str, float]) -> dict:
    def entry(token, value):
        return {"token": token, "logprob": value, "bytes": list(token.encode())}
    return {**entry(token, value), "top_logprobs": [entry(*other) for other in others]}


def chat_text(usage: bool = True) -> Pair:
    tokens = [logprob("Grüße", -0.25, ("Grüße", -0.25), ("Hallo", -1.5)),
              logprob(" aus", -0.0078125, (" aus", -0.0078125)),
              logprob(" 世界", -2.125, (" 世", -1.0625))]
    message = {"role": "assistant", "content": "Grüße aus 世界", "refusal": None}
    whole = completion([{"index": 0, "message": message, "finish_reason": "stop",
                         "logprobs": {"content": tokens, "refusal": None}}])
    first = {"role": "assistant", "content": "", "refusal": None}
    stream = chunks(
        [delta(first)],
        *([delta({"content": token["token"]}, logprobs={"content": [token], "refusal": None})]
          for token in tokens),
        [delta({}, finish="stop")], usage=usage)
    return Pair("openai_chat", "text", whole, stream, {"logprobs": True, "top_logprobs": 2})


def chat_tools() -> Pair:
    calls = [{"id": "call_one", "type": "function",
              "function": {"name": "look_up", "arguments": '{"query":"\\"Zürich\\" \\\\ 1"}'}},
             {"id": "call_two", "type": "function",
              "function": {"name": "look_up", "arguments": '{"query": "Bern"}'}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls, "refusal": None}
    whole = completion([{"index": 0, "message": message, "logprobs": None,
                         "finish_reason": "tool_calls"}])

    def start(index):
        call = calls[index]
        return [delta({"tool_calls": [{"index": index, "id": call["id"], "type": "function",
                                       "function": {"name": "look_up", "arguments": ""}}]})]

    def part(index, text):
        return [delta({"tool_calls": [{"index": index, "function": {"arguments": text}}]})]
    stream = chunks(
        [delta({"role": "assistant", "content": None, "refusal": None})],
        start(0), part(0, '{"query":'), part(0, '"\\"Zü'), part(0, 'rich\\" \\'),
        part(0, '\\ 1"}'),
        start(1), part(1, '{"query": "'), part(1, 'Bern"}'),
        [delta({}, finish="tool_calls")])
    return Pair("openai_chat", "two-tool-calls", whole, stream, {"tools": [TOOL]})


def chat_choices() -> Pair:
    def choice(index, text):
        return {"index": index, "logprobs": None, "finish_reason": "stop",
                "message": {"role": "assistant", "content": text, "refusal": None}}
    whole = completion([choice(0, "Heads, it is."), choice(1, "Tails!")])
    first = {"role": "assistant", "content": "", "refusal": None}
    stream = chunks(
        [delta(first, 0)], [delta({"content": "Heads"}, 0)],
        [delta(first, 1)], [delta({"content": "Tails"}, 1)],
        [delta({"content": ", it"}, 0)], [delta({"content": "!"}, 1)],
        [delta({"content": " is."}, 0)],
        [delta({}, 1, finish="stop")], [delta({}, 0, finish="stop")])
    return Pair("openai_chat", "two-choices", whole, stream, {"n": 2})


def chat_reasoning() -> Pair:
    """As DeepSeek writes it."""
    message = {"role": "assistant", "content": "It is 42.",
               "reasoning_content": "Six times seven.\n\nThat is 42."}
    whole = completion([{"index": 0, "message": message, "logprobs": None,
                         "finish_reason": "stop"}])
    stream = chunks(
        [delta({"role": "assistant", "content": None, "reasoning_content": ""})],
        [delta({"content": None, "reasoning_content": "Six times seven.\n"})],
        [delta({"content": None, "reasoning_content": "\nThat is 42."})],
        [delta({"content": "It is", "reasoning_content": None})],
        [delta({"content": " 42.", "reasoning_content": None})],
        [delta({"content": "", "reasoning_content": None}, finish="stop")])
    return Pair("openai_chat", "reasoning", whole, stream)


def chat_annotations() -> Pair:
    """As OpenAI's search models write it: all of them in one piece."""
    annotations = [{"type": "url_citation", "url_citation": {
        "url": f"https://example.test/{place}", "title": place, "start_index": start,
        "end_index": start + 4}} for start, place in ((0, "Bern"), (9, "Zürich"))]
    message = {"role": "assistant", "content": "Bern and Zürich.", "refusal": None,
               "annotations": annotations}
    whole = completion([{"index": 0, "message": message, "logprobs": None,
                         "finish_reason": "stop"}])
    stream = chunks(
        [delta({"role": "assistant", "content": "", "refusal": None})],
        [delta({"content": "Bern and"})], [delta({"content": " Zürich."})],
        [delta({"annotations": annotations})], [delta({}, finish="stop")])
    return Pair("openai_chat", "annotations", whole, stream)


def chat_unknown_members() -> Pair:
    """With members that nobody knows, each of which comes once, as gateways add them."""
    metadata = {"gateway": {"provider": "vertex", "cost": "0.00099"}}
    call = {"id": "call_one", "type": "function",
            "extra_content": {"google": {"signature": "Zü=="}},
            "function": {"name": "look_up", "arguments": '{"query":"Bern"}'}}
    message = {"role": "assistant", "content": "Let me see.", "refusal": None,
               "tool_calls": [call], "reasoning_encrypted": "gAAA==", "provider_metadata": metadata}
    more = {"generation": "gen-hand"}
    whole = completion([{"index": 0, "message": message, "logprobs": None,
                         "finish_reason": "tool_calls"}], **more)
    stream = chunks(
        [delta({"role": "assistant", "content": "", "refusal": None})],
        [delta({"content": "Let me"})],
        [delta({"content": " see.", "reasoning_encrypted": "gAAA=="})],
        [delta({"tool_calls": [{"index": 0, **call}]})],
        [delta({"provider_metadata": metadata})],
        [delta({}, finish="tool_calls")], **more)
    return Pair("openai_chat", "unknown-members", whole, stream, {"tools": [TOOL]})


# -- completions --------------------------------------------------------------------------------

def completions_text(usage: bool = True) -> Pair:
    head = {"id": "cmpl-Hand2", "object": "text_completion", "created": 1_710_000_002,
            "model": "stand-in-instruct"}
    counts = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    logprobs = [
        {"tokens": [" fell"], "token_logprobs": [-0.5], "text_offset": [11],
         "top_logprobs": [{" fell": -0.5, " rose": -1.25}]},
        {"tokens": [" 🙂"], "token_logprobs": [-1.75], "text_offset": [16],
         "top_logprobs": [{" 🙂": -1.75}]}]
    both = {name: logprobs[0][name] + logprobs[1][name] for name in logprobs[0]}
    whole = spelled({**head, "usage": counts, "choices": [
        {"text": " fell 🙂", "index": 0, "logprobs": both, "finish_reason": "stop"}]})

    def piece(text, logprobs, finish=None):
        return {**head, **({"usage": None} if usage else {}), "choices": [
            {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}]}
    last = [{**head, "choices": [], "usage": counts}] if usage else []
    stream = data(piece(" fell", logprobs[0]), piece(" 🙂", logprobs[1]),
                  piece("", None, "stop"), *last) + DONE
    return Pair("openai_completions", "text", whole, stream, {"logprobs": 2})


# -- responses ----------------------------------------------------------------------------------

RESPONSE = {
    "id": "resp_hand3", "object": "response", "created_at": 1_710_000_003, "status": "completed",
    "background": False, "completed_at": 1_710_000_004, "error": None, "incomplete_details": None,
    "instructions": None, "max_output_tokens": None, "model": "stand-in-2025", "output": [],
    "parallel_tool_calls": True, "previous_response_id": None,
    "reasoning": {"effort": "low", "summary": "auto"}, "service_tier": "default", "store": False,
    "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
    "user": None, "metadata": {},
    "usage": {"input_tokens": 31, "input_tokens_details": {"cached_tokens": 8},
              "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 6},
              "total_tokens": 43}}


def responses(name: str, output: list[dict], between: list[dict], **members) -> Pair:
    """A response with this output, and the events between the one that it began and the last."""
    whole = {**RESPONSE, "output": output, **members}
    begun = {**whole, "status": "in_progress", "completed_at": None, "output": [], "usage": None}
    events = [{"type": "response.created", "response": begun},
              {"type": "response.in_progress", "response": begun},
              *between, {"type": "response.completed", "response": whole}]
    stream = named(*({**event, "sequence_number": number} for number, event in enumerate(events)))
    return Pair("openai_responses", name, spelled(whole), stream, {"store": False, **members})


def message_events(message: dict, pieces: list[str], index: int) -> list[dict]:
    """The events of a message with one part of text, without annotations."""
    part = message["content"][0]
    place = {"item_id": message["id"], "output_index": index, "content_index": 0}
    assert "".join(pieces) == part["text"]
    return [
        {"type": "response.output_item.added", "output_index": index,
         "item": {**message, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
          for piece in pieces),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": index, "item": message}]


def message(text: str) -> dict:
    return {"id": "msg_hand3", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]}


def responses_text() -> Pair:
    item = message("Ein Gruß an 世界.")
    return responses("text", [item], message_events(item, ["Ein", " Gruß", " an 世界", "."], 0))


def responses_annotations() -> Pair:
    def found(number):
        return {"type": "url_citation", "url": f"https://example.test/{number}", "title": "Ü",
                "start_index": number, "end_index": number + 2}

    def token(text):
        entry = {"token": text, "bytes": list(text.encode()), "logprob": -0.5}
        return {**entry, "top_logprobs": [entry]}
    item = message("Ja, nein.")
    pieces = ["Ja", ",", " nein", "."]
    annotations, logprobs = [found(0), found(4)], [token(piece) for piece in pieces]
    part = {**item["content"][0], "annotations": annotations, "logprobs": logprobs}
    item["content"] = [part]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    return responses("annotations-and-logprobs", [item], [
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place,
         "part": {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": [one]}
          for piece, one in zip(pieces, logprobs, strict=True)),
        *({"type": "response.output_text.annotation.added", **place, "annotation_index": index,
           "annotation": annotation} for index, annotation in enumerate(annotations)),
        {"type": "response.output_text.done", **place, "text": part["text"],
         "logprobs": logprobs},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item}])


def responses_custom_tool() -> Pair:
    call = {"id": "ctc_hand3", "type": "custom_tool_call", "status": "completed",
            "call_id": "call_hand3", "name": "write", "input": "SELECT 'ü';\n"}
    place = {"item_id": call["id"], "output_index": 0}
    return responses("custom-tool-call", [call], [
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**call, "status": "in_progress", "input": ""}},
        *({"type": "response.custom_tool_call_input.delta", **place, "delta": piece}
          for piece in ("SELECT ", "'ü'", ";\n")),
        {"type": "response.custom_tool_call_input.done", **place, "input": call["input"]},
        {"type": "response.output_item.done", "output_index": 0, "item": call}])


def responses_tool() -> Pair:
    call = {"id": "fc_hand3", "type": "function_call", "status": "completed",
            "arguments": '{"query":"Genève"}', "call_id": "call_hand3", "name": "look_up"}
    place = {"item_id": call["id"], "output_index": 0}
    tool = {"type": "function", **TOOL["function"]}
    return responses("function-call", [call], [
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**call, "status": "in_progress", "arguments": ""}},
        *({"type": "response.function_call_arguments.delta", **place, "delta": piece}
          for piece in ('{"', 'query":"', "Genève", '"}')),
        {"type": "response.function_call_arguments.done", **place, "name": "look_up",
         "arguments": call["arguments"]},
        {"type": "response.output_item.done", "output_index": 0, "item": call},
    ], tools=[tool])


def responses_reasoning() -> Pair:
    summary = {"type": "summary_text", "text": "**Adding**\n\nTwo and two."}
    thought = {"id": "rs_hand3", "type": "reasoning", "summary": [summary],
               "encrypted_content": "gAAAAABhand=="}
    place = {"item_id": thought["id"], "output_index": 0, "summary_index": 0}
    item = message("Four.")
    return responses("reasoning", [thought, item], [
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**thought, "summary": []}},
        {"type": "response.reasoning_summary_part.added", **place, "part": {**summary, "text": ""}},
        *({"type": "response.reasoning_summary_text.delta", **place, "delta": piece}
          for piece in ("**Adding**", "\n\n", "Two and two.")),
        {"type": "response.reasoning_summary_text.done", **place, "text": summary["text"]},
        {"type": "response.reasoning_summary_part.done", **place, "part": summary},
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        *message_events(item, ["Fo", "ur."], 1)])


# -- messages -----------------------------------------------------------------------------------

def messages(name: str, content: list[dict], blocks: list[tuple], stop: str = "end_turn",
             stop_sequence: str | None = None, **members) -> Pair:
    """A message with this content; `blocks` are the same blocks as they begin, and the deltas."""
    usage = {"input_tokens": 17, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3,
             "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
             "output_tokens": 11, "service_tier": "standard"}
    whole = {"id": "msg_hand4", "type": "message", "role": "assistant", "model": "stand-in-opus",
             "content": content, "stop_reason": stop, "stop_sequence": stop_sequence,
             "usage": usage}
    begun = {**whole, "content": [], "stop_reason": None, "stop_sequence": None,
             "usage": {**usage, "output_tokens": 1}}
    events: list[dict] = [{"type": "message_start", "message": begun}]
    for index, (start, deltas) in enumerate(blocks):
        events += [{"type": "content_block_start", "index": index, "content_block": start},
                   {"type": "ping"},
                   *({"type": "content_block_delta", "index": index, "delta": change}
                     for change in deltas),
                   {"type": "content_block_stop", "index": index}]
    events += [{"type": "message_delta", "usage": {"output_tokens": 11},
                "delta": {"stop_reason": stop, "stop_sequence": stop_sequence}},
               {"type": "message_stop"}]
    return Pair("anthropic_messages", name, spelled(whole), named(*events), members)


def text_deltas(*pieces: str) -> list[dict]:
    return [{"type": "text_delta", "text": piece} for piece in pieces]


def messages_text() -> Pair:
    return messages("text", [{"type": "text", "text": "Grüezi, 世界!"}],
                    [({"type": "text", "text": ""}, text_deltas("Grü", "ezi, 世", "界!"))],
                    stop="stop_sequence", stop_sequence="###", stop_sequences=["###"])


def messages_thinking() -> Pair:
    thought = {"type": "thinking", "thinking": "Two and\ntwo.", "signature": "EqQBhand+/4=="}
    hidden = {"type": "redacted_thinking", "data": "EmwKhand=="}
    return messages(
        "thinking", [thought, hidden, {"type": "text", "text": "Four."}],
        [({"type": "thinking", "thinking": "", "signature": ""},
          [{"type": "thinking_delta", "thinking": "Two and"},
           {"type": "thinking_delta", "thinking": "\ntwo."},
           {"type": "signature_delta", "signature": thought["signature"]}]),
         (hidden, []),
         ({"type": "text", "text": ""}, text_deltas("Fo", "ur."))],
        thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)


def messages_tools() -> Pair:
    first = {"type": "tool_use", "id": "toolu_one", "name": "look_up",
             "input": {"query": "a \"b\" ü", "deep": {"list": [1, 2.5, None, True]}}}
    second = {"type": "tool_use", "id": "toolu_two", "name": "look_up", "input": {}}

    def json_deltas(*pieces):
        return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    tool = {"name": "look_up", "input_schema": {"type": "object", "properties": {}}}
    return messages(
        "tool-use", [{"type": "text", "text": "I look."}, first, second],
        [({"type": "text", "text": ""}, text_deltas("I ", "look.")),
         ({**first, "input": {}},
          json_deltas("", '{"query": "a \\"b\\"', ' ü", "deep": {"list": [1, 2.',
                      "5, null, true]}}")),
         ({**second, "input": {}}, json_deltas(""))],
        stop="tool_use", tools=[tool])


def messages_citations() -> Pair:
    def cited(start, end, text):
        return {"type": "char_location", "cited_text": text, "document_index": 0,
                "document_title": "Colours", "start_char_index": start, "end_char_index": end,
                "file_id": None}
    both = [cited(0, 17, "Grass is green. "), cited(17, 33, "Skies are blue.")]
    return messages(
        "citations", [{"type": "text", "text": "It says: "},
                      {"type": "text", "text": "green and blue.", "citations": both}],
        [({"type": "text", "text": ""}, text_deltas("It says: ")),
         ({"type": "text", "text": "", "citations": []},
          [*({"type": "citations_delta", "citation": one} for one in both[:1]),
           *text_deltas("green", " and blue."),
           *({"type": "citations_delta", "citation": one} for one in both[1:])])])


# -- Gemini -------------------------------------------------------------------------------------

def gemini(name: str, parts: list[dict], pieces: list[list[dict]], **members) -> Pair:
    """An answer with these parts; `pieces` are the parts of each event of the stream."""
    head = {"modelVersion": "stand-in-pro", "responseId": "hand5-ResponseId"}
    ratings = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}]

    def usage(candidates):
        return {"promptTokenCount": 9, "candidatesTokenCount": candidates, "thoughtsTokenCount": 5,
                "totalTokenCount": 14 + candidates,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]}

    def answer(parts, count, **more):
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **more}
        return {"candidates": [candidate], "usageMetadata": usage(count), **head}
    last = {"finishReason": "STOP", "safetyRatings": ratings}
    *others, end = pieces
    stream = data(*(answer(piece, number + 1) for number, piece in enumerate(others)),
                  answer(end, len(pieces), **last), line_end=b"\r\n")
    return Pair("gemini", name, spelled(answer(parts, len(pieces), **last)), stream, members)


def gemini_text() -> Pair:
    return gemini("text", [{"text": "Grüße aus 世界.\n"}],
                  [[{"text": "Grüße"}], [{"text": " aus 世"}], [{"text": "界.\n"}]])


def gemini_thoughts() -> Pair:
    return gemini("thoughts", [{"text": "**Sum**\nTwo and two.", "thought": True},
                               {"text": "Four."}],
                  [[{"text": "**Sum**\n", "thought": True}],
                   [{"text": "Two and two.", "thought": True}], [{"text": "Fo"}],
                   [{"text": "ur."}]])


def gemini_tool() -> Pair:
    call = {"functionCall": {"name": "look_up", "args": {"query": "Zürich", "count": 3}},
            "thoughtSignature": "CiQBhandAA=="}
    again = {"functionCall": {"name": "look_up", "args": {"query": "Bern"}}}
    tool = {"functionDeclarations": [{"name": "look_up", "parameters": {
        "type": "OBJECT", "properties": {"query": {"type": "STRING"}}}}]}
    return gemini("function-calls", [{"text": "I look."}, call, again],
                  [[{"text": "I "}], [{"text": "look."}], [call], [again]], tools=[tool])


def gemini_candidates() -> Pair:
    """Two candidates by turns, of which one tells what it is grounded in."""
    head = {"modelVersion": "stand-in-pro", "responseId": "hand5-ResponseId"}
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 6, "totalTokenCount": 10}
    grounding = {"webSearchQueries": ["bern"], "groundingChunks": [
        {"web": {"uri": "https://example.test/bern", "title": "Bern"}}],
        "groundingSupports": [{"segment": {"endIndex": 4, "text": "Bern"},
                               "groundingChunkIndices": [0]}]}

    def candidate(index, text, **more):
        return {"content": {"parts": [{"text": text}], "role": "model"}, **more, "index": index}

    def answer(*candidates):
        return {"candidates": list(candidates), "usageMetadata": usage, **head}
    ends = {"finishReason": "STOP", "groundingMetadata": grounding}, {"finishReason": "STOP"}
    whole = answer(candidate(0, "Bern it is.", **ends[0]), candidate(1, "Zürich!", **ends[1]))
    stream = data(answer(candidate(0, "Bern")), answer(candidate(1, "Zür")),
                  answer(candidate(0, " it is.", **ends[0]), candidate(1, "ich!", **ends[1])),
                  line_end=b"\r\n")
    return Pair("gemini", "two-candidates", spelled(whole), stream)


# -- Ollama -------------------------------------------------------------------------------------

OLLAMA_END = {"done": True, "done_reason": "stop", "total_duration": 3_000_000_017,
              "load_duration": 1_000_000_003, "prompt_eval_count": 17,
              "prompt_eval_duration": 200_000_009, "eval_count": 4,
              "eval_duration": 1_700_000_001}


def ollama(api: str, name: str, whole: dict, pieces: list[dict], last: dict, **members) -> Pair:
    """`whole`, `pieces` and `last` hold the members that differ between the lines."""
    def stamped(second: int) -> dict:
        return {"model": "stand-in:1b", "created_at": f"2025-01-01T00:00:{second:02}.123456789Z"}
    lines = [{**stamped(number), **piece, "done": False} for number, piece in enumerate(pieces)]
    end = stamped(len(pieces))
    stream = b"".join(spelled(line) + b"\n" for line in [*lines, {**end, **last, **OLLAMA_END}])
    # A newline ends the JSON as well.
    return Pair(api, name, spelled({**end, **whole, **OLLAMA_END}) + b"\n", stream, members)


def ollama_chat(name: str, whole: dict, pieces: list[dict], **members) -> Pair:
    def said(message):
        return {"message": {"role": "assistant", **message}}
    return ollama("ollama_chat", name, said(whole), [said(piece) for piece in pieces],
                  said({"content": ""}), **members)


def ollama_chat_text() -> Pair:
    return ollama_chat("text", {"content": "Grüße, 世界"},
                       [{"content": "Grü"}, {"content": "ße, 世"}, {"content": "界"}])


def ollama_chat_thinking() -> Pair:
    return ollama_chat("thinking", {"content": "Four.", "thinking": "Two and two."},
                       [{"content": "", "thinking": "Two and"},
                        {"content": "", "thinking": " two."}, {"content": "Four."}], think=True)


def ollama_chat_tools() -> Pair:
    calls = [{"function": {"name": "look_up", "arguments": {"query": city}}}
             for city in ("Zürich", "Bern")]
    return ollama_chat("tool-calls", {"content": "", "tool_calls": calls},
                       [{"content": "", "tool_calls": [call]} for call in calls], tools=[TOOL])


def ollama_generate() -> Pair:
    return ollama("ollama_generate", "text",
                  {"response": "Grüße, 世界", "context": [105, 2364, 107, 9]},
                  [{"response": "Grü"}, {"response": "ße, 世界"}],
                  {"response": "", "context": [105, 2364, 107, 9]})


def ollama_generate_thinking() -> Pair:
    return ollama("ollama_generate", "thinking",
                  {"response": "Four.", "thinking": "Two and two."},
                  [{"response": "", "thinking": "Two and"}, {"response": "", "thinking": " two."},
                   {"response": "Fo"}, {"response": "ur."}], {"response": ""}, think=True)


# -- Cohere -------------------------------------------------------------------------------------

def cohere(name: str, message: dict, between: list[dict], finish: str = "COMPLETE",
           **members) -> Pair:
    """An answer with this message, and the events between the first and the last."""
    reply_id = "0f0f0f0f-0000-4000-8000-hand00000006"
    usage = {"billed_units": {"input_tokens": 12, "output_tokens": 7},
             "tokens": {"input_tokens": 507, "output_tokens": 10}, "cached_tokens": 448}
    whole = {"id": reply_id, "message": {"role": "assistant", **message}, "finish_reason": finish,
             "usage": usage}
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
             "citations": []}
    stream = named({"id": reply_id, "type": "message-start", "delta": {"message": empty}},
                   *between,
                   {"type": "message-end", "delta": {"finish_reason": finish, "usage": usage}})
    return Pair("cohere", name, spelled(whole), stream + DONE, members)


def changed(kind: str, index: int, **message) -> dict:
    return {"type": kind, "index": index, "delta": {"message": message}}


def cohere_text() -> Pair:
    return cohere(
        "text", {"content": [{"type": "text", "text": "Grüße aus 世界."}]},
        [changed("content-start", 0, content={"type": "text", "text": ""}),
         *(changed("content-delta", 0, content={"text": piece})
           for piece in ("Grüße", " aus", " 世界", ".")),
         {"type": "content-end", "index": 0}])


def cohere_thinking() -> Pair:
    return cohere(
        "thinking", {"content": [{"type": "thinking", "thinking": "Two and two."},
                                 {"type": "text", "text": "Four."}]},
        [changed("content-start", 0, content={"type": "thinking", "thinking": ""}),
         *(changed("content-delta", 0, content={"thinking": piece})
           for piece in ("Two and", " two.")),
         {"type": "content-end", "index": 0},
         changed("content-start", 1, content={"type": "text", "text": ""}),
         *(changed("content-delta", 1, content={"text": piece}) for piece in ("Fo", "ur.")),
         {"type": "content-end", "index": 1}])


def cohere_citations() -> Pair:
    cited = {"start": 0, "end": 5, "text": "Green", "content_index": 0, "type": "TEXT_CONTENT",
             "sources": [{"type": "document", "id": "doc:0",
                          "document": {"id": "doc:0", "text": "Grass is green."}}]}
    return cohere(
        "citations", {"content": [{"type": "text", "text": "Green it is."}],
                      "citations": [cited]},
        [changed("content-start", 0, content={"type": "text", "text": ""}),
         *(changed("content-delta", 0, content={"text": piece}) for piece in ("Green", " it is.")),
         changed("citation-start", 0, citations=cited),
         {"type": "citation-end", "index": 0},
         {"type": "content-end", "index": 0}])


def cohere_tools() -> Pair:
    queries = ['{"query":"Zürich"}', '{\n    "query": "Bern"\n}']
    calls = [{"id": f"look_up_{number}", "type": "function",
              "function": {"name": "look_up", "arguments": query}}
             for number, query in enumerate(queries)]
    between = [{"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}
               for piece in ("I will", " look it", " up.")]
    for index, call in enumerate(calls):
        text = call["function"]["arguments"]
        between += [
            changed("tool-call-start", index, tool_calls={
                **call, "function": {"name": "look_up", "arguments": ""}}),
            *(changed("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})
              for piece in (text[:4], text[4:])),
            {"type": "tool-call-end", "index": index}]
    return cohere("tool-calls", {"tool_plan": "I will look it up.", "tool_calls": calls}, between,
                  finish="TOOL_CALL", tools=[TOOL])


PAIRS = [
    chat_text(), chat_tools(), chat_choices(), chat_reasoning(), chat_annotations(),
    chat_unknown_members(),
    completions_text(),
    responses_text(), responses_tool(), responses_custom_tool(), responses_reasoning(),
    responses_annotations(),
    messages_text(), messages_thinking(), messages_tools(), messages_citations(),
    gemini_text(), gemini_thoughts(), gemini_tool(), gemini_candidates(),
    ollama_chat_text(), ollama_chat_thinking(), ollama_chat_tools(),
    ollama_generate(), ollama_generate_thinking(),
    cohere_text(), cohere_thinking(), cohere_citations(), cohere_tools(),
]
