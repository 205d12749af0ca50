"""A run of a real agent that is repeated asks the provider nothing.

Each agent runs twice, in processes of its own, against Envoy and a stand-in that calls a tool first
and speaks when it has the result. The second run must take the same way and end with the same
words, which have a number that each new answer counts up.

The configurations are those of docs/agents.md. `NOTHING` needs none.
"""

import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
PYTHON = HERE.parents[1] / "target" / "venv-agents" / "bin" / "python"
GUARD_SECONDS = 180

NOTHING: dict = {}
CALL_IDS = {"key": {"exclude": ["call_ids"]}}
MISTRAL = {**CALL_IDS, "client": {"cache_control": "ignore"}}
CODEX = {"key": {
    "exclude": ["attribution", "call_ids"],
    "mask": [{"at": "/input/*/content/*/text", "part": "<current_date>*</current_date>"},
             {"at": "/input/*/output", "line": "Chunk ID: *"},
             {"at": "/input/*/output", "line": "Wall time: *"}]}}
GEMINI_CLI = {"key": {
    "exclude": ["call_ids"],
    "mask": [{"at": "/contents/*/parts/*/text", "line": "Today's date is *"}]}}

RUNS = {
    "langgraph": (NOTHING, "run_langgraph.py"),
    "langgraph, streaming": (NOTHING, "run_langgraph.py", "--stream"),
    "langgraph with ChatMistralAI": (MISTRAL, "run_langchain_mistral.py"),
    "openai-agents": (NOTHING, "run_openai_agents.py"),
    "openai-agents, streaming": (NOTHING, "run_openai_agents.py", "--stream"),
    "openai-agents on chat": (NOTHING, "run_openai_agents.py", "--chat"),
    "openai-agents for Node": (NOTHING, "run_openai_agents.mjs"),
    "openai-agents for Node, streaming": (NOTHING, "run_openai_agents.mjs", "--stream"),
    "openai-agents for Node on chat": (NOTHING, "run_openai_agents.mjs", "--chat"),
    "pydantic-ai": (NOTHING, "run_pydantic_ai.py"),
    "pydantic-ai on responses": (NOTHING, "run_pydantic_ai.py", "--responses"),
    "pydantic-ai on Gemini": (CALL_IDS, "run_pydantic_ai.py", "--gemini"),
    "AI SDK": (NOTHING, "run_ai_sdk.mjs"),
    "AI SDK, streaming": (NOTHING, "run_ai_sdk.mjs", "--stream"),
    "AI SDK on chat": (NOTHING, "run_ai_sdk.mjs", "--chat"),
    "AI SDK on Anthropic": (NOTHING, "run_ai_sdk.mjs", "--anthropic"),
    "AI SDK on Gemini": (CALL_IDS, "run_ai_sdk.mjs", "--gemini"),
    "AI SDK on Gemini, streaming": (CALL_IDS, "run_ai_sdk.mjs", "--gemini", "--stream"),
    "llama-index": (NOTHING, "run_llama_index.py"),
    "strands": (NOTHING, "run_strands.py"),
    "Codex CLI": (CODEX, "run_codex.py"),
    "Codex CLI with agents of its own": (CODEX, "run_codex.py", "--agents"),
    "Gemini CLI": (GEMINI_CLI, "run_gemini_cli.py"),
}
# Without what the table says, these miss: the table says no more than is needed.
NEEDED = [name for name, (plugin, *_) in RUNS.items() if plugin]


def said_by(script: str, url: str, *options: str) -> str:
    program = PYTHON if script.endswith(".py") else "node"
    ran = subprocess.run([program, HERE / script, url, *options], capture_output=True, text=True,
                         timeout=GUARD_SECONDS,
                         env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_repeated_asks_the_provider_nothing(envoy_with, standin, name):
    plugin, script, *options = RUNS[name]
    # Each has a cache of its own.
    envoy = envoy_with({**plugin, "key": {**plugin.get("key", {}), "namespace": name}})
    before = standin.requests()
    first = said_by(script, f"{envoy.url}/agent", *options)
    asked = standin.requests()
    assert asked == before + 2, "a call of a tool, and words"
    assert first.startswith("All done, says answer ")
    assert said_by(script, f"{envoy.url}/agent", *options) == first
    assert standin.requests() == asked
    assert envoy.cache_counters()["llm_cache_requests_total.result.hit"] == 2


@pytest.mark.parametrize("name", NEEDED)
def test_without_its_configuration_such_a_run_misses(envoy_with, standin, name):
    _, script, *options = RUNS[name]
    envoy = envoy_with({"key": {"namespace": f"without {name}"}})
    first = said_by(script, f"{envoy.url}/agent", *options)
    asked = standin.requests()
    assert said_by(script, f"{envoy.url}/agent", *options) != first
    assert standin.requests() > asked
