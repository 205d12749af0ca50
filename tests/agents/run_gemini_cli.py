"""Gemini CLI, in a home of its own: python run_gemini_cli.py BASE_URL"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGES = pathlib.Path(__file__).parents[2] / "target" / "node-agents" / "node_modules"

# Each run begins anew, as on another machine, but where it is stands in the prompt.
work = pathlib.Path(tempfile.gettempdir()) / f"llm-cache-gemini-cli-{os.getuid()}"
shutil.rmtree(work, ignore_errors=True)
home, project = work / "home", work / "project"
(home / ".gemini").mkdir(parents=True)
project.mkdir()
(home / ".gemini" / "settings.json").write_text(json.dumps(
    {"security": {"auth": {"selectedType": "gemini-api-key"}},
     "privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}}))
ran = subprocess.run(
    ["node", PACKAGES / "@google" / "gemini-cli" / "bundle" / "gemini.js",
     "--model", "gemini-2.5-flash", "--approval-mode", "yolo", "--skip-trust",
     "--prompt", "List this folder and tell me what is in it."],
    cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": home,
         "GEMINI_API_KEY": "test-key", "GOOGLE_GEMINI_BASE_URL": sys.argv[1],
         "GEMINI_CLI_NO_RELAUNCH": "1"})
sys.stderr.write(ran.stderr)
print(ran.stdout.strip())
sys.exit(ran.returncode)
