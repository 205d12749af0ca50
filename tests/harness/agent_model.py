"""A model that uses tools: what the stand-in provider answers under /agent/.

It is asked in the APIs that agents use: chat completions, OpenAI's responses, Gemini, Anthropic's
messages. Where a request has no results of tools yet, it calls one that the request offers, else it
says that it is done. The serial number in each answer tells a new one from one that was repeated.
Gemini's calls have no id: agents make up their own.
"""

import json

# What is called, in this order of preference, and with what; a tool that is not here is not called.
CALLS = {
    "get_weather": [{"city": "Berlin"}, {"city": "Paris"}],
    "exec_command": [{"cmd": "echo from-the-tool"}],
    "shell": [{"command": ["echo", "from-the-tool"]}],
    "shell_command": [{"command": "echo from-the-tool"}],
    "Bash": [{"command": "echo from-the-tool", "description": "Say it"}],
    "list_directory": [{"path": ".", "dir_path": "."}],
}


class Calls:
    """What is to be called: `(name, arguments)` each, none if there is nothing to call."""

    def __init__(self, offered: list[str], answered: bool):
        name = next((name for name in CALLS if name in offered), None)
        self.calls = [] if answered or name is None else [(name, call) for call in CALLS[name]]


def words(number: str) -> str:
    return f"All done, says answer {number}."


def sse(data: dict, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


# -- chat completions ---------------------------------------------------------------------------


def chat(body: dict, number: str) -> dict | list[bytes]:
    offered = [tool["function"]["name"] for tool in body.get("tools", [])]
    answered = any(message["role"] == "tool" for message in body["messages"])
    calls = [{"index": index, "id": f"call_{number}_{index}", "type": "function",
              "function": {"name": name, "arguments": json.dumps(arguments)}}
             for index, (name, arguments) in enumerate(Calls(offered, answered).calls)]
    shared = {"id": f"chatcmpl-{number}", "created": 1_700_000_000, "model": body["model"]}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    finish = "tool_calls" if calls else "stop"
    said = {"role": "assistant", "content": None if calls else words(number)}
    if calls:
        said["tool_calls"] = calls
    if body.get("stream") is not True:
        choice = {"index": 0, "message": said, "finish_reason": finish}
        return {**shared, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(delta: dict, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({**shared, "object": "chat.completion.chunk", "choices": [choice]})

    end = [sse({**shared, "object": "chat.completion.chunk", "choices": [], "usage": usage})]
    if not (body.get("stream_options") or {}).get("include_usage"):
        end = []
    return [chunk(said), chunk({}, finish), *end, b"data: [DONE]\n\n"]


# -- responses ----------------------------------------------------------------------------------


def responses(body: dict, number: str) -> dict | list[bytes]:
    offered = [tool.get("name") for tool in body.get("tools", [])]
    items = body["input"] if isinstance(body["input"], list) else []
    answered = any(item.get("type", "").endswith("_output") for item in items)
    output = [{"id": f"fc_{number}_{index}", "type": "function_call", "status": "completed",
               "call_id": f"call_{number}_{index}", "name": name,
               "arguments": json.dumps(arguments)}
              for index, (name, arguments) in enumerate(Calls(offered, answered).calls)]
    if not output:
        text = {"type": "output_text", "text": words(number), "annotations": []}
        output = [{"id": f"msg_{number}", "type": "message", "role": "assistant",
                   "status": "completed", "content": [text]}]
    response = {
        "id": f"resp_{number}", "object": "response", "created_at": 1_700_000_000,
        "status": "completed", "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "model": body["model"], "output": output, "parallel_tool_calls": True,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0},
                  "total_tokens": 12}}
    if body.get("stream") is not True:
        return response
    return [sse({**event, "sequence_number": at}, event["type"])
            for at, event in enumerate(events(response))]


def events(response: dict):
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for at, item in enumerate(response["output"]):
        place = {"output_index": at, "item_id": item["id"]}
        if item["type"] == "message":
            yield {"type": "response.output_item.added", "output_index": at,
                   "item": {**item, "status": "in_progress", "content": []}}
            [part] = item["content"]
            place["content_index"] = 0
            yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
            yield {"type": "response.output_text.delta", **place, "delta": part["text"],
                   "logprobs": []}
            yield {"type": "response.output_text.done", **place, "text": part["text"],
                   "logprobs": []}
            yield {"type": "response.content_part.done", **place, "part": part}
        else:
            yield {"type": "response.output_item.added", "output_index": at,
                   "item": {**item, "status": "in_progress", "arguments": ""}}
            yield {"type": "response.function_call_arguments.delta", **place,
                   "delta": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **place,
                   "arguments": item["arguments"]}
        yield {"type": "response.output_item.done", "output_index": at, "item": item}
    yield {"type": "response.completed", "response": response}


# -- Anthropic's messages -----------------------------------------------------------------------


def messages(body: dict, number: str) -> dict | list[bytes]:
    offered = [tool["name"] for tool in body.get("tools", [])]
    answered = any(block["type"] == "tool_result" for message in body["messages"]
                   for block in message["content"] if isinstance(block, dict))
    content = [{"type": "tool_use", "id": f"toolu_{number}_{index}", "name": name, "input": call}
               for index, (name, call) in enumerate(Calls(offered, answered).calls)]
    finish = "tool_use" if content else "end_turn"
    content = content or [{"type": "text", "text": words(number)}]
    usage = {"input_tokens": 7, "output_tokens": 5}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant",
               "model": body["model"], "content": content, "stop_reason": finish,
               "stop_sequence": None, "usage": usage}
    if body.get("stream") is not True:
        return message
    begun = {**message, "content": [], "stop_reason": None}
    events = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(content):
        if block["type"] == "text":
            start = {**block, "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events += [{"type": "content_block_start", "index": index, "content_block": start},
                   {"type": "content_block_delta", "index": index, "delta": delta},
                   {"type": "content_block_stop", "index": index}]
    events += [{"type": "message_delta", "usage": usage,
                "delta": {"stop_reason": finish, "stop_sequence": None}},
               {"type": "message_stop"}]
    return [sse(event, event["type"]) for event in events]


# -- Gemini -------------------------------------------------------------------------------------


def gemini(body: dict, number: str, stream: bool) -> dict | list[bytes]:
    offered = [function["name"] for tool in body.get("tools", [])
               for function in tool.get("functionDeclarations", [])]
    answered = any("functionResponse" in part for content in body["contents"]
                   for part in content["parts"])
    calls = Calls(offered, answered).calls
    parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
    text = words(number)
    # Asked for an object, it gives one.
    config = body.get("generationConfig", {})
    if config.get("responseMimeType") == "application/json":
        text = json.dumps({"said": text})
    answer = {
        "candidates": [{"content": {"role": "model", "parts": parts or [{"text": text}]},
                        "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12},
        "modelVersion": "stand-in", "responseId": f"response-{number}"}
    return [sse(answer)] if stream else answer


def answer(path: str, body: dict, number: str) -> dict | list[bytes]:
    """A JSON document, or the pieces of an event stream."""
    if path.endswith("/chat/completions"):
        return chat(body, number)
    if path.endswith("/responses"):
        return responses(body, number)
    if path.endswith("/messages"):
        return messages(body, number)
    if ":generateContent" in path or ":streamGenerateContent" in path:
        return gemini(body, number, ":stream" in path)
    return {"object": "list", "data": [], "models": []}
