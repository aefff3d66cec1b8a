"""Load the tokenizer of converted folders of Grok-2 with transformers, and cut texts.

`python -m tests.oracle.hf.tokenizer FOLDER...`, folders converted from tests/data/grok2-tiny.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

CASES = Path("tests/data/grok2-tiny/tokenizer_cases.json")
TURNS = [
    {"role": "system", "content": "You keep the light."},
    {"role": "user", "content": "Will it rain at 12 today?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And then?"},
]
"""The conversation of the second of the golden texts."""


def differing(folder: str) -> list[str]:
    """What a folder's tokenizer does otherwise."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cases = json.loads(CASES.read_bytes())
    found = [repr(c["text"]) for c in cases if tokenizer.encode(c["text"]) != c["ids"]]
    found += [f"back: {c['ids']}" for c in cases if tokenizer.decode(c["ids"]) != c["text"]]
    if (
        tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
        != (cases[1]["text"])
    ):
        found.append("the conversation")
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return found + ([] if ids == (None, 2, 0) else [f"bos, eos and pad: {ids}"])


def main() -> int:
    wrong = {folder: differing(folder) for folder in sys.argv[1:]}
    for folder, found in wrong.items():
        print(f"tokenizer of {folder}: {found or 'as listed'}")
    return int(not wrong or any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
