"""Writes a corpus for the target `answer` from the recorded answers: every small one as every API.

    python tests/fuzz/seed.py RECORDED CORPUS

An input of that target is four bytes (API, framing, size of the chunks, options) and the answer.
"""

import pathlib
import sys

APIS = 11
FRAMINGS = 5
MAX_BYTES = 4_000


def main(recorded: pathlib.Path, corpus: pathlib.Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    answers = [file for file in sorted(recorded.glob("*/*")) if file.stat().st_size <= MAX_BYTES]
    for number, file in enumerate(answers):
        body = file.read_bytes()
        for api in range(APIS):
            for framing in range(FRAMINGS):
                seed = corpus / f"seed-{number}-{api}-{framing}"
                seed.write_bytes(bytes([api, framing, 7, number % 2]) + body)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
