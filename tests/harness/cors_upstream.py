"""An upstream that speaks to browsers as model servers do, and serves the pages that speak to it.

It answers chats like OpenAI, each with a number of its own. Like gin-cors (Ollama) and Starlette
(vLLM), it adds nothing where a request has no `origin`.
"""

import http.server
import json
import threading


class CorsUpstream:
    """A context manager. `policy` is what it tells a browser, and may be changed meanwhile:

        star        every origin may read
        echo        the origin that asks may read, with credentials
        none        nothing
    """

    def __init__(self) -> None:
        self.policy = "star"
        self.page = b""
        self.methods: list[str] = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "CorsUpstream":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str) -> int:
        return self.methods.count(method)

    def sharing(self, origin: str | None) -> dict[str, str]:
        if origin is None or self.policy == "none":
            return {}
        exposed = {"access-control-expose-headers": "x-cache, cache-status"}
        if self.policy == "star":
            return {"access-control-allow-origin": "*", **exposed}
        return {"access-control-allow-origin": origin, "vary": "Origin",
                "access-control-allow-credentials": "true", **exposed}

    def handler(upstream):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send(200, "text/html", upstream.page)

            def do_OPTIONS(self) -> None:
                upstream.methods.append("OPTIONS")
                wanted = self.headers.get("access-control-request-headers", "")
                allowed = {"access-control-allow-methods": "POST",
                           "access-control-allow-headers": wanted}
                self.send(200, "text/plain", b"", allowed)

            def do_POST(self) -> None:
                upstream.methods.append("POST")
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send(200, *chat(body, upstream.count("POST")))

            def send(self, status: int, kind: str, body: bytes, more: dict | None = None) -> None:
                self.send_response(status)
                sharing = upstream.sharing(self.headers.get("origin"))
                for name, value in {**sharing, **(more or {})}.items():
                    self.send_header(name, value)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        return Handler


def chat(body: dict, number: int) -> tuple[str, bytes]:
    shared = {"id": f"chatcmpl-{number}", "created": number, "model": body["model"]}
    text = f"Answer {number}"
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text},
                  "finish_reason": "stop"}
        answer = {**shared, "object": "chat.completion", "choices": [choice], "usage": usage}
        return "application/json", json.dumps(answer).encode()
    chunk = {**shared, "object": "chat.completion.chunk"}
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [{**chunk, "choices": [choice]}, {**chunk, "choices": [last]},
              {**chunk, "choices": [], "usage": usage}]
    data = [json.dumps(event) for event in events] + ["[DONE]"]
    return "text/event-stream", "".join(f"data: {line}\n\n" for line in data).encode()
