"""What the stand-in of the demo answers in each API, as a stream and as JSON, slowly."""

import json

ANSWER = ("Most questions that reach a model have been asked before. A cache gives the stored "
          "answer at once: the user waits milliseconds instead of seconds, nobody pays for the "
          "same tokens twice, and the provider's rate limit is left for what is new. It must "
          "never give a wrong answer, though: one of somebody else, one that was cut off, or one "
          "that is out of date.")
WORDS = [f"{' ' if at else ''}{word}" for at, word in enumerate(ANSWER.split(" "))]
PROMPT_TOKENS, ANSWER_TOKENS = 17, len(WORDS)
SSE, NDJSON, JSON = "text/event-stream", "application/x-ndjson", "application/json"
# Pieces of so many bytes, and the milliseconds between them.
PACE = {"stream": "split=240;pace=25", "json": "split=200;pace=150"}


def events(documents: list[dict], named: bool = False, done: bool = False) -> bytes:
    lines = [(f"event: {document['type']}\n" if named else "") + f"data: {json.dumps(document)}\n\n"
             for document in documents]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def openai_chat() -> tuple[bytes, bytes]:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS,
             "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS}
    head = {"id": "chatcmpl-demo", "created": 1764547200, "model": "gpt-4o-mini"}

    def chunk(delta: dict, finish: str | None = None) -> dict:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "object": "chat.completion.chunk", "choices": [choice], "usage": None}
    chunks = [chunk({"role": "assistant", "content": ""}),
              *(chunk({"content": word}) for word in WORDS), chunk({}, "stop"),
              {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}]
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    whole = {**head, "object": "chat.completion", "usage": usage, "choices": [
        {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]}
    return events(chunks, done=True), json.dumps(whole).encode()


def openai_responses() -> tuple[bytes, bytes]:
    usage = {"input_tokens": PROMPT_TOKENS, "input_tokens_details": {"cached_tokens": 0},
             "output_tokens": ANSWER_TOKENS, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS}

    def response(status: str, output: list[dict], reported: dict | None) -> dict:
        return {"id": "resp_demo", "object": "response", "created_at": 1764547200, "status": status,
                "error": None, "incomplete_details": None, "instructions": None,
                "model": "gpt-4o-mini", "output": output, "parallel_tool_calls": True,
                "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}},
                "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": reported}

    def part(text: str) -> dict:
        return {"type": "output_text", "text": text, "annotations": []}

    def item(status: str, content: list[dict]) -> dict:
        return {"id": "msg_demo", "type": "message", "role": "assistant", "status": status,
                "content": content}
    place = {"item_id": "msg_demo", "output_index": 0, "content_index": 0}
    whole = response("completed", [item("completed", [part(ANSWER)])], usage)
    documents = [
        {"type": "response.created", "response": response("in_progress", [], None)},
        {"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", [])},
        {"type": "response.content_part.added", **place, "part": part("")},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": ANSWER},
        {"type": "response.content_part.done", **place, "part": part(ANSWER)},
        {"type": "response.output_item.done", "output_index": 0, "item": whole["output"][0]},
        {"type": "response.completed", "response": whole}]
    numbered = [{**document, "sequence_number": at} for at, document in enumerate(documents)]
    return events(numbered, named=True), json.dumps(whole).encode()


def anthropic_messages() -> tuple[bytes, bytes]:
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": ANSWER_TOKENS}
    head = {"id": "msg_demo", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    documents = [
        {"type": "message_start", "message": {**head, "content": [], "stop_reason": None,
                                              "stop_sequence": None,
                                              "usage": {**usage, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
          for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": ANSWER_TOKENS}},
        {"type": "message_stop"}]
    whole = {**head, "content": [{"type": "text", "text": ANSWER}], **end, "usage": usage}
    return events(documents, named=True), json.dumps(whole).encode()


def gemini() -> tuple[bytes, bytes]:
    usage = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": ANSWER_TOKENS,
             "totalTokenCount": PROMPT_TOKENS + ANSWER_TOKENS}

    def document(text: str, is_last: bool) -> dict:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
        if is_last:
            candidate["finishReason"] = "STOP"
        return {"candidates": [candidate], "usageMetadata": usage,
                "modelVersion": "gemini-2.5-flash", "responseId": "demo"}
    pieces = ["".join(WORDS[at:at + 4]) for at in range(0, len(WORDS), 4)]
    documents = [document(piece, at == len(pieces) - 1) for at, piece in enumerate(pieces)]
    return events(documents), json.dumps(document(ANSWER, True)).encode()


def ollama() -> tuple[bytes, bytes]:
    end = {"done": True, "done_reason": "stop", "total_duration": 2_000_000_000,
           "load_duration": 1_000_000, "prompt_eval_count": PROMPT_TOKENS,
           "prompt_eval_duration": 100_000_000, "eval_count": ANSWER_TOKENS,
           "eval_duration": 1_800_000_000}

    def document(text: str, rest: dict) -> dict:
        return {"model": "llama3.2", "created_at": "2025-12-01T00:00:00Z",
                "message": {"role": "assistant", "content": text}, **rest}
    documents = [*(document(word, {"done": False}) for word in WORDS), document("", end)]
    lines = "".join(json.dumps(one) + "\n" for one in documents)
    return lines.encode(), json.dumps(document(ANSWER, end)).encode()


# By API and form: the content type, the body, and how it is sent.
APIS = {make.__name__: {"stream": (NDJSON if make is ollama else SSE, stream, PACE["stream"]),
                        "json": (JSON, whole, PACE["json"])}
        for make in (openai_chat, openai_responses, anthropic_messages, gemini, ollama)
        for stream, whole in [make()]}
