"""Options of the commands that run the network: `evaluate` and `generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from grokpack.cli import options

_INPUT, _NETWORK, _CHOICE = "Input", "Network", "Choice of tokens"

Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="FILE",
        help="tokenizer.model or tokenizer.tok.json; the one beside the checkpoint by default",
        rich_help_panel=_INPUT,
    ),
]
Precision = Annotated[
    Literal["f32", "bf16"],
    typer.Option(
        "--precision",
        help="f32: what the weights say; bf16: rounded where the reference rounds",
        rich_help_panel=_NETWORK,
    ),
]
Gelu = Annotated[
    Literal["erf", "tanh"] | None,
    typer.Option(
        "--gelu",
        help="Form of GELU; as the engines of each family have it by default: tanh for Grok-1, "
        "erf for Grok-2",
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
        rich_help_panel=options.WORK,
    ),
]


@dataclass(frozen=True, slots=True)
class NetworkFlags:
    """Options of running the network."""

    precision: Precision = "f32"
    gelu: Gelu = None
    workers: options.Threads = None
    memory: Memory = "2GiB"


@dataclass(frozen=True, slots=True)
class EvaluateFlags:
    """Options of `grokpack evaluate`, as they are given."""

    source: options.Source = None
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="FILE", help="A text in UTF-8", rich_help_panel=_INPUT),
    ] = None
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="FILE.npy",
            help="Token ids: i[T], or a sequence in each row",
            rich_help_panel=_INPUT,
        ),
    ] = None
    tokenizer: Tokenizer = None
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=1,
            help="Tokens of a window; 512 for a text by default",
            rich_help_panel=_INPUT,
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Stop after this many", rich_help_panel=_INPUT),
    ] = None
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="OTHER",
            help="Another checkpoint, held against SRC layer by layer; repeated, a table of all",
        ),
    ] = None
    max_kl: Annotated[
        float | None,
        typer.Option("--max-kl", min=0, metavar="0.05", help="Mean KL divergence allowed, in nats"),
    ] = None
    min_top1: Annotated[
        float | None,
        typer.Option(
            "--min-top1",
            min=0,
            max=1,
            metavar="0.95",
            help="Share of tokens whose likeliest successor must be the same",
        ),
    ] = None
    max_router_flips: Annotated[
        float | None,
        typer.Option(
            "--max-router-flips",
            min=0,
            max=1,
            metavar="0.01",
            help="Share of tokens for which a layer may choose other experts",
        ),
    ] = None
    min_layer_cosine: Annotated[
        float | None,
        typer.Option(
            "--min-layer-cosine",
            min=-1,
            max=1,
            metavar="0.995",
            help="Mean cosine of both streams, after each layer",
        ),
    ] = None
    logits: Annotated[
        str | None,
        typer.Option("--logits", metavar="OUT.npy", help="Write all logits, f32[T, vocab]"),
    ] = None
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="OUT",
            help="Write what flows into each weight, for `quantize --importance`: OUT.safetensors, "
            "or OUT.gguf as an imatrix of llama.cpp",
        ),
    ] = None
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers", min=1, help="The first so many layers only", rich_help_panel=_NETWORK
        ),
    ] = None
    head_dim: options.HeadDim = None


@dataclass(frozen=True, slots=True)
class GenerateFlags:
    """Options of `grokpack generate`, as they are given."""

    source: options.Source = None
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="To be continued", rich_help_panel=_INPUT),
    ] = None
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Take the prompt as the user's turn of a conversation, and answer it",
            rich_help_panel=_INPUT,
        ),
    ] = False
    messages: Annotated[
        str | None,
        typer.Option(
            "--messages",
            metavar="FILE.json",
            help="A conversation to answer: a list of objects with role and content",
            rich_help_panel=_INPUT,
        ),
    ] = None
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="FILE.npy",
            help="Token ids in place of a text: a prompt in each row, all continued at once",
            rich_help_panel=_INPUT,
        ),
    ] = None
    tokenizer: Tokenizer = None
    max_new_tokens: Annotated[
        int,
        typer.Option("--max-new-tokens", min=1, help="Tokens to add", rich_help_panel=_CHOICE),
    ] = 16
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", min=0, help="0 takes the likeliest token", rich_help_panel=_CHOICE
        ),
    ] = 0.0
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            min=0,
            max=1,
            help="Share of probability that is drawn from",
            rich_help_panel=_CHOICE,
        ),
    ] = 1.0
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the draw", rich_help_panel=_CHOICE)
    ] = 0
    head_dim: options.HeadDim = None
