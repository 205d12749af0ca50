"""The page of `make demo` and `make run`: the same Envoy serves it, beside the LLM APIs.

`index.html`, `style.css` and `app.js` are the page, and stand in Envoy's configuration as direct
responses. Its counters are one path of the admin interface, with one query, and nothing else of it.
"""

import json
import pathlib

from harness.demo_page import answers
from harness.envoy import Config
from harness.standin import Standin

FOLDER = pathlib.Path(__file__).parent
ADMIN = "demo_admin"
STATS = "/stats?filter=^wasmcustom\\.llm_cache&format=json"
# The page loads nothing from elsewhere, and talks to the gateway only.
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
MAX_FILE_BYTES = 1 << 16


def serve(config: Config, settings: dict) -> None:
    """Adds the page at `/demo/` to an Envoy; `settings` are what `app.js` reads of them."""
    routes = config.manager["route_config"]
    routes["max_direct_response_body_size_bytes"] = MAX_FILE_BYTES
    files = {"/demo/": ("index.html", "text/html; charset=utf-8"),
             "/demo/style.css": ("style.css", "text/css; charset=utf-8"),
             "/demo/app.js": ("app.js", "text/javascript; charset=utf-8")}
    pages = [direct(path, (FOLDER / name).read_text(), kind)
             for path, (name, kind) in files.items()]
    pages.append(direct("/demo/settings.json", json.dumps(settings), "application/json"))
    routes["virtual_hosts"][0]["routes"][:0] = [*pages, counters()]
    admin = config.tree["admin"]["address"]["socket_address"]["port_value"]
    config.add_cluster(ADMIN, admin)


def exactly(path: str) -> dict:
    """GET of this path, without a query."""
    return {"path": path, "headers": [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": ":path", "string_match": {"exact": path}}]}


def direct(path: str, body: str, kind: str) -> dict:
    headers = {"content-type": kind, "content-security-policy": POLICY, "cache-control": "no-store",
               "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return {"match": exactly(path),
            "direct_response": {"status": 200, "body": {"inline_string": body}},
            "response_headers_to_add": [
                {"header": {"key": name, "value": value},
                 "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for name, value in headers.items()]}


def counters() -> dict:
    # A query of the client's would follow this one: `exactly` lets none pass.
    return {"match": exactly("/demo/stats"),
            "route": {"cluster": ADMIN, "regex_rewrite": {
                "pattern": {"regex": ".*"}, "substitution": STATS.replace("\\", "\\\\")}}}


def standin_settings(standin: Standin) -> dict:
    """Has the stand-in answer each API; what the page has to ask for."""
    says = {}
    for api, forms in answers.APIS.items():
        says[api] = {}
        for form, (kind, body, directives) in forms.items():
            fixture = standin.put_fixture(f"demo-{api}-{form}", body)
            says[api][form] = f"{fixture};type={kind};{directives}"
    return {"standin": says}
