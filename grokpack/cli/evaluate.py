"""`grokpack evaluate`: run the network, or two of them side by side."""

from __future__ import annotations

from grokpack.cli.command import command
from grokpack.cli.network_options import EvaluateFlags, NetworkFlags
from grokpack.cli.session import Session


@command(
    "evaluate",
    "evaluate ckpt-0 --text wiki.txt --max-tokens 512",
    "evaluate ckpt-0 --text wiki.txt --against int4 --against int8 --max-kl 0.05",
    "evaluate ckpt-0 --text wiki.txt --calibrate importance.safetensors",
)
def evaluate(session: Session, flags: EvaluateFlags, network: NetworkFlags) -> None:
    """Run the network over a text, or several networks side by side.

    Weights stream by once, a layer and an expert at a time. Alone: perplexity, and what flowed
    through each layer. With --against: whether OTHER says the same of itself, has the same weights
    and computes the same, as far as the formats of both allow; else the exit status is 1. --max-kl,
    --min-top1, --max-router-flips and --min-layer-cosine are limits of what it computes in place of
    those that the formats give. Several --against become a table of size, KL divergence and
    agreement, with SRC computed once; limits hold for each.
    """
    from grokpack.cli import run_evaluation

    run_evaluation.run(session, flags, network)
