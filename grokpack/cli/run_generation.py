"""Run of `grokpack generate`, and its result."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.run_evaluation import introduce, options_of
from grokpack.cli.source_path import resolve
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError
from grokpack.core.escaping import escape_line
from grokpack.core.layout import Box
from grokpack.evaluation import conversation
from grokpack.evaluation.generation import Generation, Sampling, generate, step_bytes
from grokpack.evaluation.input_tokens import read_tokens, stop_tokens, text_tokenizer
from grokpack.models import hyperparameters
from grokpack.report.text import numbers

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.cli.network_options import GenerateFlags, NetworkFlags
    from grokpack.cli.session import Session
    from grokpack.core.documents.answer_json import NetworkJson
    from grokpack.core.documents.generation_json import GenerationJson
    from grokpack.formats.tokenizers.tokenizer_kinds import Encoder

_PROBE_BYTES = 64 << 20  # read to tell how fast reading is here


def run(session: Session, flags: GenerateFlags, network: NetworkFlags) -> None:
    """Generate, and show the result."""
    source = resolve(flags.source, session)
    options = options_of(session, network)
    wanted = replace(flags, source=source)
    _check(wanted)
    checkpoint = open_checkpoint(source, wanted.head_dim)
    tokenizer, prompts, stops = _input(wanted, checkpoint)
    about = introduce(session, checkpoint, options)
    sampling = Sampling(wanted.temperature, wanted.top_p, wanted.seed)
    _announce(session, checkpoint, len(prompts))

    def said(number: int, token: int) -> None:
        shown = (
            f"{token}" if tokenizer is None else f"{token}  {escape_line(tokenizer.piece(token))}"
        )
        session.say(f"prompt {number}: {shown}" if len(prompts) > 1 else shown)

    found = generate(checkpoint, prompts, wanted.max_new_tokens, sampling, options, said, stops)
    data = document(about, found, wanted, prompts, tokenizer)
    session.result(_text(data), data, verbatim=True)


def _check(wanted: GenerateFlags) -> None:
    """Refuse options that contradict each other.

    Raises:
        GrokpackError: GP304.
    """
    given = (wanted.prompt, wanted.messages, wanted.tokens)
    if sum(one is not None for one in given) != 1:
        what = "give either --prompt, --messages or --tokens"
        hint = "`--prompt TEXT`, `--messages FILE.json`, or `--tokens FILE.npy`"
        raise GrokpackError("GP304", what, hint=hint)
    if wanted.chat and wanted.tokens is not None:
        raise GrokpackError("GP304", "--chat takes words, and --tokens has none", hint="leave one")


def _input(
    wanted: GenerateFlags, checkpoint: Checkpoint
) -> tuple[Encoder | None, list[np.ndarray], frozenset[int]]:
    """Read the prompts, with the tokenizer that they need and the tokens that end an answer."""
    if wanted.tokens is not None:
        pad = hyperparameters.masked_token(checkpoint.config, checkpoint.model)
        prompts = list(read_tokens(wanted.tokens, None, None, pad).sequences)
        return None, prompts, stop_tokens(checkpoint, wanted.tokenizer)
    text = _text_of(wanted, checkpoint)
    tokenizer = text_tokenizer(checkpoint, wanted.tokenizer)
    prompt = np.array(tokenizer.encoder.encode(text), np.int64)
    return tokenizer.encoder, [prompt], tokenizer.stops


def _text_of(wanted: GenerateFlags, checkpoint: Checkpoint) -> str:
    """Return the prompt, or the conversation as a text."""
    if wanted.messages is None and not wanted.chat:
        return wanted.prompt or ""
    form = conversation.chat_format(checkpoint.model.family)
    if wanted.messages is None:
        return form.text([(conversation.USER, wanted.prompt or "")])
    return form.text(conversation.read_messages(wanted.messages, form.labels.keys()))


def _announce(session: Session, checkpoint: Checkpoint, sequences: int) -> None:
    """Say how slow the run will be before it begins."""
    step = step_bytes(checkpoint, sequences)
    rate = _reading_rate(checkpoint)
    each = numbers.duration(step / rate)
    read = f"each token reads {byte_size(step)} of weights"
    session.say(f"{read}: {each} at the {numbers.byte_rate(rate)} that this source gives, or more")


def _reading_rate(checkpoint: Checkpoint) -> float:
    """Measure bytes per second of reading some rows of the largest weight."""
    tensor = max(checkpoint.tensors.values(), key=lambda t: t.values.nbytes)
    *lead, rows, columns = tensor.values.shape
    count = max(1, min(rows, _PROBE_BYTES // (columns * tensor.values.dtype.itemsize)))
    start = (*(n // 2 for n in lead), (rows - count) // 2, 0)
    began = time.monotonic()
    got = ArrayReader(checkpoint).read(
        tensor.name, Box(start, (*(1 for _ in lead), count, columns))
    )
    return got.nbytes / max(time.monotonic() - began, 1e-6)


def document(
    about: NetworkJson,
    found: Generation,
    wanted: GenerateFlags,
    prompts: list[np.ndarray],
    tokenizer: Encoder | None,
) -> GenerationJson:
    """Make `data` of `grokpack generate --json`."""
    made = sum(map(len, found.tokens))
    after = max(found.seconds - found.first_s, 1e-9)
    steps = max(map(len, found.tokens)) - 1
    return {
        **about,
        "source": str(wanted.source),
        "sequences": [
            {
                "prompt": [int(t) for t in prompt],
                "tokens": list(tokens),
                "text": None if tokenizer is None else tokenizer.decode(tokens),
                "ended": ended,
            }
            for prompt, tokens, ended in zip(prompts, found.tokens, found.ended, strict=True)
        ],
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "seed": wanted.seed,
        "tokens": made,
        "read_bytes": found.read_bytes,
        "first_s": round(found.first_s, 3),
        "seconds": round(found.seconds, 3),
        "s_per_token": round(after / steps, 4) if steps > 0 else None,
    }


def _text(data: GenerationJson) -> str:
    return "\n".join(
        row["text"] if row["text"] is not None else " ".join(map(str, row["tokens"]))
        for row in data["sequences"]
    )
