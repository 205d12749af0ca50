"""The recorded answers, and for each a request that it could have answered. Those in the folder of
the same name with `-dialects` behind it belong to them."""

import csv
import dataclasses
import json
import pathlib
import urllib.parse

# The folders whose name does not tell the path, and those that belong to no API of ours.
PATHS = {
    "anthropic-messages": "/v1/messages",
    "bedrock-converse": "/model/m/converse",
    "bedrock-converse-stream": "/model/m/converse-stream",
    "bedrock-invoke": "/model/m/invoke",
    "bedrock-invoke-stream": "/model/m/invoke-with-response-stream",
    "cohere-v1-embed": "/v1/embed",
    "cohere-v1-chat": "/v1/chat",
    "cohere-v2-chat": "/v2/chat",
    "cohere-v2-embed": "/v2/embed",
    "ollama-chat": "/api/chat",
    "ollama-embeddings": "/api/embed",
    "ollama-generate": "/api/generate",
    "workers-ai": "/client/v4/accounts/a/ai/run/@cf/m",
}
SUFFIXES = {"-chat": "/v1/chat/completions", "-completions": "/v1/completions",
            "-responses": "/v1/responses", "-embeddings": "/v1/embeddings"}
TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "json": "application/json",
         "eventstream": "application/vnd.amazon.eventstream"}


@dataclasses.dataclass
class Recording:
    file: pathlib.Path
    name: str
    folder: str
    status: str
    http_status: int
    content_type: str
    content_encoding: str
    path: str
    request: dict

    @property
    def standin(self) -> str:
        # Directives are separated by semicolons, as are the parameters of a media type.
        media_type = self.content_type.partition(";")[0]
        told = f"fixture={self.name};type={media_type};pace=0"
        if self.http_status != 200:
            told += f";status={self.http_status}"
        if self.content_encoding:
            told += f";header=content-encoding:{self.content_encoding}"
        return told


def recordings(recorded: pathlib.Path) -> list[Recording]:
    """Every recorded answer of an API of ours."""
    dialects = recorded.with_name(f"{recorded.name}-dialects")
    return [found for folder in (recorded, dialects) if folder.is_dir()
            for found in recordings_in(folder)]


def recordings_in(folder: pathlib.Path) -> list[Recording]:
    requests = {}
    known = folder / "REQUESTS.jsonl"
    for line in known.read_text().splitlines() if known.exists() else ():
        request = json.loads(line)
        requests[request["fixture"]] = request
    with (folder / "INDEX.tsv").open() as index:
        rows = list(csv.DictReader(index, delimiter="\t"))
    return [found for row in rows if (found := recording(folder, row, requests))]


def recording(recorded: pathlib.Path, row: dict, requests: dict) -> Recording | None:
    name, folder, streams = row["path"], row["api"], row["kind"] == "stream"
    known = requests.get(name, {})
    path = path_of(name, folder, streams, known)
    if path is None or row["kind"] == "vectors":
        return None
    body = known.get("request", {})
    if set(body) <= {"summary"}:
        body = {}
    body = dict(body) or default_request(recorded / name, path)
    if not any(word in path for word in ("/model/", ":generate", ":stream", "embed")):
        body["stream"] = streams
    return Recording(recorded / name, name, folder, row["status"], int(row["http_status"] or 200),
                     row["content_type"] or TYPES[row["format"]],
                     "gzip" if name.endswith(".gz") else "", path, body)


def path_of(name: str, folder: str, streams: bool, known: dict) -> str | None:
    if folder == "derived":
        file = name.partition("/")[2]
        if file.startswith("gemini_array"):
            return "/v1beta/models/m:streamGenerateContent"
        prefix = {"openai": "openai-chat", "vllm": "vllm-chat", "anthropic": "anthropic-messages",
                  "ollama": "ollama-generate"}
        folder = prefix[file.partition("_")[0]]
        known = {}
    if folder in ("anthropic-complete", "sse-spec"):
        return None
    if "url" in known:
        url = urllib.parse.urlsplit(known["url"])
        path = url.path + (f"?{url.query}" if url.query else "")
        # Azure's recorded URLs begin with two slashes: that is one host too many for a target.
        return "/" + path.lstrip("/")
    if folder == "gemini":
        return ("/v1beta/models/m:streamGenerateContent?alt=sse" if streams
                else "/v1beta/models/m:generateContent")
    if folder == "gemini-embeddings":
        return "/v1beta/models/m:batchEmbedContents"
    if folder in PATHS:
        return PATHS[folder]
    return next((path for end, path in SUFFIXES.items() if folder.endswith(end)), None)


def default_request(file: pathlib.Path, path: str) -> dict:
    """A request for an answer that was recorded without one."""
    if "embed" not in path:
        return {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    answer = json.loads(file.read_bytes())
    found = answer.get("data") or answer.get("embeddings") or [answer.get("embedding")]
    if isinstance(found, dict):
        found = next(iter(found.values()))
    texts = ["text"] * len(found)
    return {"model": "m", "input": texts, "texts": texts,
            "requests": [{"content": {"parts": [{"text": "t"}]}} for _ in texts]}
