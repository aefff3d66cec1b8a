"""`grokpack generate`: continue a prompt, slowly."""

from __future__ import annotations

from grokpack.cli.command import command
from grokpack.cli.network_options import GenerateFlags, NetworkFlags
from grokpack.cli.session import Session


@command(
    "generate",
    'generate ckpt-0 --prompt "The answer is"',
    'generate grok-2 --chat --prompt "Why is the sky blue?"',
    "generate grok-2 --messages conversation.json --max-new-tokens 32",
)
def generate(session: Session, flags: GenerateFlags, network: NetworkFlags) -> None:
    """Continue a prompt, with the weights streamed anew for each token.

    No accelerator and little memory are needed, and much patience: how much is said before it
    begins.
    """
    from grokpack.cli import run_generation

    run_generation.run(session, flags, network)
