"""`grokpack synth`: write synthetic checkpoints in the release's format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from grokpack.cli import options
from grokpack.cli.command import command
from grokpack.cli.session import Session

if TYPE_CHECKING:
    from grokpack.models.architecture import Geometry

_DIMENSION = "Dimensions (override the preset)"


def _dimension(flag: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        flag, min=1, help=text, rich_help_panel=_DIMENSION
    )
    return option


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Dimensions that replace a preset's."""

    layers: Annotated[int | None, _dimension("--layers", "Decoder layers")] = None
    d_model: Annotated[int | None, _dimension("--d-model", "Residual width")] = None
    ffn: Annotated[int | None, _dimension("--ffn", "Inner width of an expert")] = None
    mlp: Annotated[int | None, _dimension("--mlp", "Inner width of the dense MLP")] = None
    experts: Annotated[int | None, _dimension("--experts", "Experts per layer")] = None
    vocab: Annotated[int | None, _dimension("--vocab", "Vocabulary")] = None
    heads: Annotated[int | None, _dimension("--heads", "Query heads")] = None
    kv_heads: Annotated[int | None, _dimension("--kv-heads", "Key/value heads")] = None
    head_dim: Annotated[int | None, _dimension("--head-dim", "Size of a head")] = None
    scale_groups: Annotated[
        int | None, _dimension("--scale-groups", "Scale rows of row-parallel weights")
    ] = None

    def over(self, base: Geometry) -> Geometry:
        """Return the geometry of a preset with these dimensions."""
        head = self.head_dim or base.head_dim or 1
        given = {
            "layers": self.layers,
            "d_model": self.d_model,
            "ffn": self.ffn,
            "mlp": self.mlp,
            "experts": self.experts,
            "vocab": self.vocab,
            "scale_groups": self.scale_groups,
            "head_dim": head,
            "q_width": (self.heads or base.q_heads or 1) * head,
            "kv_width": (self.kv_heads or base.kv_heads or 1) * head,
        }
        return replace(base, **{name: n for name, n in given.items() if n is not None})


@command(
    "synth",
    "synth tiny",
    "synth grok-2-small --model grok-2 --preset small",
    "synth whole --preset grok-1 --sparse",
)
def synth(
    session: Session,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write; Grok-1 gets a ckpt-0 in it")
    ],
    model: Annotated[
        Literal["grok-1", "grok-2"], typer.Option("--model", help="Whose release it looks like")
    ] = "grok-1",
    preset: Annotated[
        Literal["tiny", "small", "medium", "real-layer", "grok-1", "grok-2"],
        typer.Option(
            "--preset",
            help="5 MB, 0.3 GB, 3 GB, a layer in 8 GB (Grok-2: 13 GB), 318 GB or 539 GB",
        ),
    ] = "tiny",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other weights")] = 0,
    uneven: Annotated[
        float,
        typer.Option(
            "--uneven",
            min=0,
            max=1,
            help="Let layers, roles and channels differ in outliers and magnitude; 1 for most",
        ),
    ] = 0.0,
    sparse: Annotated[
        bool,
        typer.Option(
            "--sparse", help="Files of full size as holes: true headers, zero weights, no disk"
        ),
    ] = False,
    *,
    dimensions: Dimensions,
    run: options.RunFlags,
) -> None:
    """Write a synthetic checkpoint of any size.

    It is byte for byte in the release's format; the weights are noise.
    """
    from grokpack.cli.run_plan import carry_out
    from grokpack.cli.source_path import verifying
    from grokpack.conversion.plan_synth import plan_synth
    from grokpack.conversion.plan_synth import preset as preset_of

    if preset == "grok-2":  # a release is of its own model, whatever the default is
        model = preset
    geometry = dimensions.over(preset_of(model, preset))
    plan = plan_synth(geometry, seed, sparse=sparse, model=model, uneven=uneven)
    target = str(out.absolute())
    carry_out(session, plan, target, run, following=verifying(target))
