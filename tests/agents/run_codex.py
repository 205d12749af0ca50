"""Codex CLI, in a home of its own: python run_codex.py BASE_URL [--agents]

Its answer comes last; what it says of itself goes to standard error.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGES = pathlib.Path(__file__).parents[2] / "target" / "node-agents" / "node_modules"

CONFIG = """
model = "gpt-5"
model_provider = "cached"
# A tool that the provider runs: such requests take no part by default.
web_search = "disabled"

[features]
multi_agent = {agents}

[model_providers.cached]
name = "cached"
base_url = "{base}/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
request_max_retries = 0
stream_max_retries = 0
"""

# Each run begins anew, as on another machine, but where it is stands in the prompt.
work = pathlib.Path(tempfile.gettempdir()) / f"llm-cache-codex-{os.getuid()}"
shutil.rmtree(work, ignore_errors=True)
home, project = work / "home", work / "project"
home.mkdir(parents=True)
project.mkdir()
(home / "config.toml").write_text(CONFIG.format(
    base=sys.argv[1], agents=json.dumps("--agents" in sys.argv)))
ran = subprocess.run(
    ["node", PACKAGES / "@openai" / "codex" / "bin" / "codex.js", "exec",
     "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
     "Run echo and tell me what it said."],
    cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    env={"PATH": "/usr/bin:/bin:/usr/local/bin", "CODEX_HOME": home, "HOME": home,
         "OPENAI_API_KEY": "sk-test"})
sys.stderr.write(ran.stderr)
print(ran.stdout.strip())
sys.exit(ran.returncode)
