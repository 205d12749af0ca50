#!/usr/bin/env python3
"""Tells in which parts of their cache keys two requests differ.

The arguments are two values of the response header `x-cache-key-parts`, which comes with
`respond.explain: true`, or two files with what `curl -i` printed. Both must come from one Envoy
process: each has digests of its own. The exit status is 0 if the keys are made of the same, 1 if
not, 2 if that cannot be told.
"""

import pathlib
import re
import sys

HEADER = "x-cache-key-parts"
PART = re.compile(r"([^=,\s]+)=([0-9a-f]{8})")
WORDS = {
    "caller": "the caller: credentials and identities, see key.tenant",
    "cluster": "the cluster that the route leads to",
    "route": "the name of the route",
    "authority": "the authority (host)",
    "path": "the path with its query",
    "api": "the API",
    "body": "the kind of body, or a body that is no JSON object",
    "settings": "what the configuration says of keys",
}


def value(argument: str) -> str:
    """The header's value, as it is given or out of a file."""
    if PART.match(argument.strip()):
        return argument
    for line in pathlib.Path(argument).read_text(encoding="utf-8", errors="replace").splitlines():
        name, colon, text = line.partition(":")
        if colon and name.strip().lower() == HEADER:
            return text
    raise ValueError(f"no {HEADER} in {argument}: is respond.explain on, and did it get a key?")


def words(name: str) -> str:
    if name.startswith("header."):
        return f"the header {name.removeprefix('header.')}"
    if name.startswith("body.~"):
        return f"a member of the body that is not of the API ({name.removeprefix('body.')})"
    if name.startswith("body."):
        return f"the member {name.removeprefix('body.')} of the body"
    return WORDS.get(name, name)


def differences(one: str, other: str) -> list[str]:
    parts = [dict(PART.findall(text)) for text in (one, other)]
    found = []
    for name in dict.fromkeys([*parts[0], *parts[1]]):
        first, second = (part.get(name) for part in parts)
        if first is None or second is None:
            found.append(f"only in the {'second' if first is None else 'first'}: {words(name)}")
        elif first != second:
            found.append(f"differs: {words(name)}")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        one, other = map(value, arguments)
    except (OSError, ValueError) as fault:
        print(fault, file=sys.stderr)
        return 2
    found = differences(one, other)
    if found:
        print("\n".join(found))
        return 1
    if any(text.strip().endswith("...") for text in (one, other)):
        print("no difference in the parts that are told; not all of them are")
        return 2
    print("no difference: both have the same key")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
