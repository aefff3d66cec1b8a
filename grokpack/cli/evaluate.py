"""`grokpack evaluate`: what a checkpoint computes, and how far another is from it."""

from __future__ import annotations

from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.session import session

_INPUT, _NETWORK = "Input", "Network"

Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="FILE",
        help="A sentencepiece model; tokenizer.model beside the checkpoint by default",
        rich_help_panel=_INPUT,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="f32|bf16",
        help="f32: what the weights say; bf16: rounded where the reference rounds",
        rich_help_panel=_NETWORK,
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        envvar="GROKPACK_NETWORK_MEMORY",
        metavar="SIZE",
        help="Resident memory that the run keeps to; activations beyond it go to disk",
        rich_help_panel="Work",
    ),
]


def evaluate(
    source: options.Source = None,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="FILE", help="A text in UTF-8", rich_help_panel=_INPUT),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="FILE.npy",
            help="Token ids: i[T], or a sequence in each row",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    tokenizer: Tokenizer = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=1,
            help="Tokens of a window; 512 for a text by default",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Stop after this many", rich_help_panel=_INPUT),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="OTHER",
            help="Another checkpoint, held against SRC layer by layer",
        ),
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option("--max-kl", min=0, metavar="0.05", help="Mean KL divergence allowed, in nats"),
    ] = None,
    min_top1: Annotated[
        float | None,
        typer.Option(
            "--min-top1",
            min=0,
            max=1,
            metavar="0.95",
            help="Share of tokens whose likeliest successor must be the same",
        ),
    ] = None,
    logits: Annotated[
        str | None,
        typer.Option("--logits", metavar="OUT.npy", help="Write all logits, f32[T, vocab]"),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="OUT.safetensors",
            help="Write what flows into each weight, for `quantize --importance`",
        ),
    ] = None,
    precision: Precision = "f32",
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers", min=1, help="The first so many layers only", rich_help_panel=_NETWORK
        ),
    ] = None,
    head_dim: options.HeadDim = None,
    workers: options.Threads = None,
    memory: Memory = "2GiB",
    fmt: options.Format = "auto",
    json: options.Json = False,
    progress: options.Progress = "auto",
    report: options.Report = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> None:
    """Run the network over a text, or two networks side by side.

    Weights stream by once, a layer and an expert at a time. Alone: perplexity, and what flowed
    through each layer. With --against: whether OTHER says the same of itself, has the same weights
    and computes the same, as far as the formats of both allow; else the exit status is 1. --max-kl
    and --min-top1 are limits of what it computes in place of those that the formats give.
    """
    with session(
        "evaluate",
        fmt=fmt,
        json=json,
        progress=progress,
        report=report,
        quiet=quiet,
        verbose=verbose,
        color=color,
    ) as current:
        from grokpack.evaluation.network import blas

        blas.ask_for_one_thread()  # before numpy is loaded
        from grokpack.cli import run_evaluation
        from grokpack.cli.source import resolve

        wanted = run_evaluation.EvaluationRequest(
            source=resolve(source, current),
            text=text,
            tokens=tokens,
            tokenizer=tokenizer,
            context=context,
            max_tokens=max_tokens,
            against=None if against is None else resolve(against, current),
            max_kl=max_kl,
            min_top1=min_top1,
            logits=logits,
            calibrate=calibrate,
            head_dim=head_dim,
        )
        chosen = run_evaluation.options_of(current, precision, layers, workers, memory)
        run_evaluation.run(current, wanted, chosen)
