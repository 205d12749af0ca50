"""The YAML in README.md and docs/, and the paths of the APIs.

A `yaml` block is a configuration of the plugin; blocks of other YAML have one more word
(`yaml envoy`, `yaml kubernetes`).
"""

import re

import yaml
from harness.envoy import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(yaml[ a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def kinds() -> set[str]:
    return {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())}


def blocks(kind: str) -> list[tuple[str, object]]:
    """The YAML of all pages that is said to be of this kind, each with its page."""
    return [(page.name, yaml.safe_load(text)) for page in PAGES
            for said, text in BLOCK.findall(page.read_text()) if said == kind]


def envoy_block(page: str, member: str) -> dict:
    """The one block of Envoy's configuration on this page that has this member."""
    (found,) = [block for name, block in blocks("yaml envoy") if name == page and member in block]
    return found


def api_paths() -> list[str]:
    """A path of each end in the table of APIs, which tests/docs/ holds to the code."""
    page = (ROOT / "docs" / "apis-and-conversion.md").read_text()
    (table,) = re.findall(r"^\| api \| path ends in .*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    ends = [end.replace("...", "m") for row in table.splitlines()
            for end in re.findall(r"`([^`]+)`", row.split("|")[2])]
    return [f"/v1beta/models/m{end}" if end.startswith(":") else end for end in ends]


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def metrics() -> dict[str, str]:
    """The type of each metric, from the table of docs/operations.md, which tests/docs/ holds to the
    code."""
    page = (ROOT / "docs" / "operations.md").read_text()
    return dict(re.findall(r"^\| `(llm_cache_\w+)` \| (\w+) \|", page, re.MULTILINE))


def series() -> set[str]:
    """The names of the series that these are in Prometheus."""
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for name, kind in metrics().items()
            for suffix in suffixes.get(kind, ("",))}


def series_named(text: str) -> set[str]:
    """The names of series of the filter in a text. Those of recording rules have a colon."""
    return set(re.findall(r"(?<![\w:])llm_cache_\w+", text))
