"""`grokpack quantize`: write a 4-bit or 8-bit copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from grokpack.cli import options, parsing, target_options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.conversion import engine_support
from grokpack.conversion.writers import writer_registry
from grokpack.core import ggml_types

if TYPE_CHECKING:
    from grokpack.conversion.plan_quantize import QuantizeOptions


def _with_bits(name: str) -> str:
    """The name of a format, and of which bits it is the default."""
    bits = [bits for bits, usual in writer_registry.DEFAULT_QUANTIZING.items() if usual == name]
    return f"{name} (of {bits[0]} bits the default)" if bits else name


_MIXED = [word for word in ggml_types.MIXES if word not in ggml_types.QUANTIZING]


def _usual_types() -> str:
    return writer_registry.in_words(
        ggml_types.default_type(bits).word for bits in writer_registry.DEFAULT_QUANTIZING
    )


@dataclass(frozen=True, slots=True)
class QuantizeFlags:
    """Options of `grokpack quantize`, as they are given."""

    source: options.Source = None
    bits: Annotated[
        Literal[2, 3, 4, 5, 6, 8] | None,
        typer.Option(
            "--bits", help="Bits of a weight; those of --type, the only ones of TARGET, or 4"
        ),
    ] = None
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help=writer_registry.in_words(map(_with_bits, writer_registry.QUANTIZING)),
            autocompletion=options.completing(writer_registry.QUANTIZING),
        ),
    ] = None
    group: Annotated[
        Literal["32", "64", "128", "256", "channel"] | None,
        typer.Option(
            "--group",
            help="Inputs that share a scale; 128 by default, for fp8 with 128 outputs",
        ),
    ] = None
    method: Annotated[
        Literal["rtn", "mse", "lsq"] | None,
        typer.Option(
            "--method",
            help="How scales are found; rtn by default for 8 bits, mse for fewer",
        ),
    ] = None
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="compressed-tensors: with zero points")
    ] = False
    scales: Annotated[
        Literal["bf16", "f16", "f32"] | None,
        typer.Option(
            "--scale-dtype",
            help="compressed-tensors, gptq, safetensors: of the scales; bf16 by default",
        ),
    ] = None
    importance: Annotated[
        str | None,
        typer.Option(
            "--importance",
            metavar="FILE",
            help="Weigh errors by what `evaluate --calibrate` saw, or an imatrix of llama.cpp",
        ),
    ] = None
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="NAME",
            help="Leave in bf16: `attention`, `experts`, or names as `inspect` takes them; may be "
            "repeated",
        ),
    ] = None
    avg_bits: Annotated[
        float | None,
        typer.Option(
            "--avg-bits",
            min=1,
            max=16,
            metavar="4.5",
            help="Choose what each weight becomes, so that the whole loses least at so many bits "
            "for each parameter",
        ),
    ] = None
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="150GB", help="As --avg-bits: size of the output"),
    ] = None
    save_policy: Annotated[
        str | None,
        typer.Option(
            "--save-policy", metavar="FILE", help="Write what --avg-bits chose, for --policy"
        ),
    ] = None
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Bits by role, name and layer, in TOML"),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="|".join(engine_support.LOADS),
            autocompletion=options.completing(engine_support.LOADS),
            help="Refuse what this program does not load",
        ),
    ] = None
    type: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            autocompletion=options.completing([*ggml_types.QUANTIZING, *_MIXED]),
            help="gguf: type of the blocks, "
            f"{writer_registry.in_words(ggml_types.QUANTIZING)}; or a mix as llama.cpp has it, "
            f"{writer_registry.in_words(_MIXED)}; {_usual_types()} by default",
        ),
    ] = None
    embedding: Annotated[
        Literal["bf16", "f16", "f32"] | None,
        typer.Option("--embedding", help="gguf: dtype of the embedding"),
    ] = None
    names: target_options.Names = None
    tp: Annotated[
        int | None,
        typer.Option("--tp", help="w8a8-int8, fp8, ckpt-0: ranks"),
    ] = None
    shard_size: Annotated[
        str | None,
        typer.Option("--shard-size", metavar="SIZE", help="Largest file, 5GB by default"),
    ] = None
    tokenizer: target_options.Tokenizer = None
    yarn: target_options.Yarn = False
    out: options.Out = None
    head_dim: options.HeadDim = None

    def chosen(self) -> QuantizeOptions:
        """Return the options of the quantization."""
        from grokpack.conversion.plan_quantize import QuantizeOptions

        return QuantizeOptions(
            bits=self.bits,
            to=self.to,
            group=self.group,
            method=self.method,
            symmetric=not self.asymmetric,
            scales=self.scales,
            keep=tuple(self.keep or ()),
            policy=str(self.policy) if self.policy else None,
            engine=self.engine,
            type=self.type,
            embedding=self.embedding,
            names=self.names,
            tp=self.tp,
            shard_bytes=target_options.shard_bytes(self.shard_size),
            tokenizer=self.tokenizer,
            importance=self.importance,
            yarn=self.yarn or None,
            avg_bits=self.avg_bits,
            size_bytes=None if self.size is None else parsing.parse_bytes("--size", self.size),
        )


@command(
    "quantize",
    "quantize hf://xai-org/grok-1 --bits 4 -o grok-1-int4",
    "quantize grok-2 --to gguf --type q4_k",
    "quantize ckpt-0 --to gguf --avg-bits 4.5 --importance flow.gguf",
)
def quantize(session: Session, flags: QuantizeFlags, run: options.PartedRunFlags) -> None:
    """Write a 4-bit or 8-bit copy.

    Says what was lost, tensor by tensor.
    """
    from grokpack import storage
    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.cli.run_plan import carry_out, output_path
    from grokpack.cli.source_path import default_out, resolve, verifying
    from grokpack.conversion.plan_quantize import plan_quantize

    chosen = flags.chosen()
    path = resolve(flags.source, session)
    if flags.save_policy is not None:
        _refuse_policy(flags.save_policy, chosen)
    plan = plan_quantize(open_checkpoint(path, flags.head_dim), chosen, session.stoppable())
    if flags.save_policy is not None:
        text = plan.target.account["allocation"]["policy"]
        storage.write_whole(str(Path(flags.save_policy).absolute()), text.encode(), replace=False)
    target = output_path(flags.out, default_out(path, chosen.suffix))
    carry_out(session, plan, target, run, following=verifying(target))


def _refuse_policy(path: str, chosen: QuantizeOptions) -> None:
    """Refuse a policy file that has nothing to say, or exists, before anything is measured.

    Raises:
        GrokpackError: GP304 where no size chooses forms, GP323 where the file exists.
    """
    from grokpack import storage
    from grokpack.core.errors import GrokpackError

    if not chosen.budgeted:
        what = "--save-policy writes what --avg-bits or --size chose"
        raise GrokpackError("GP304", what, hint="add --avg-bits")
    storage.refuse_existing(path)
