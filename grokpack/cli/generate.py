"""`grokpack generate`: tokens that continue a prompt, slowly."""

from __future__ import annotations

from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.evaluate import Memory, Precision, Tokenizer
from grokpack.cli.session import session

_INPUT, _CHOICE = "Input", "Choice of tokens"


def generate(
    source: options.Source = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="To be continued", rich_help_panel=_INPUT),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="FILE.npy",
            help="Token ids in place of a text: a prompt in each row, all continued at once",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    tokenizer: Tokenizer = None,
    max_new_tokens: Annotated[
        int,
        typer.Option("--max-new-tokens", min=1, help="Tokens to add", rich_help_panel=_CHOICE),
    ] = 16,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", min=0, help="0 takes the likeliest token", rich_help_panel=_CHOICE
        ),
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            min=0,
            max=1,
            help="Share of probability that is drawn from",
            rich_help_panel=_CHOICE,
        ),
    ] = 1.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the draw", rich_help_panel=_CHOICE)
    ] = 0,
    precision: Precision = "f32",
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
    """Continue a prompt, with the weights streamed anew for each token.

    No accelerator and little memory are needed, and much patience: how much is said before it
    begins.
    """
    with session(
        "generate",
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
        from grokpack.cli import run_evaluation, run_generation
        from grokpack.cli.source import resolve
        from grokpack.evaluation.generation import Sampling

        place = resolve(source, current)
        chosen = run_evaluation.options_of(current, precision, None, workers, memory)
        wanted = run_generation.GenerationRequest(
            place, prompt, tokens, tokenizer, head_dim, max_new_tokens
        )
        run_generation.run(current, wanted, Sampling(temperature, top_p, seed), chosen)
