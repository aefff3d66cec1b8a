"""Topics of the library's page: a sentence, an example that the tests run, and public names."""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """A chapter of the page.

    Attributes:
        title: Its heading.
        text: What it is about, in a sentence or two.
        example: Python that goes on from the examples of the topics before it.
        names: Public names, in the order in which a reader meets them.
    """

    title: str
    text: str
    example: str
    names: tuple[str, ...]


TOPICS = (
    Topic(
        "Open a checkpoint",
        "A checkpoint of any format, of which headers are read and nothing else. Its path will do\n"
        "wherever a function below takes a checkpoint.",
        """\
import grokpack

checkpoint = grokpack.open_checkpoint("checkpoints/ckpt-0")
print(checkpoint)  # model, format, parameters, files
print(checkpoint.geometry.layers, checkpoint.layout.nbytes)

survey = grokpack.survey("checkpoints/ckpt-0")  # also of what is not whole
print(survey.complete, [finding.code for finding in survey.findings])
for row in grokpack.inspect(survey, ["router"])["tensors"]:
    print(row["name"], row["dtype"], row["shape"])
grokpack.extract(checkpoint, ["decoder_layer_0/router"], "router.safetensors")""",
        ("open_checkpoint", "Checkpoint", "survey", "inspect", "extract"),
    ),
    Topic(
        "Read arrays",
        "`grokpack.open` gives each array as a `tensorstore.TensorStore`, by its name or by words\n"
        "of it, as the command line takes them. `read().result()` is a numpy array, bfloat16\n"
        "included; `jnp.asarray` of it is an array of the same values and dtype in JAX.",
        """\
arrays = grokpack.open("checkpoints/ckpt-0")
codes = arrays["decoder_layer_0/moe/linear/w"]  # int8, opened where it lies
print(codes.shape, codes[1, :2, :4].read().result())

floats = arrays.dequantized("bf16")  # codes times scales, computed on each read
print(floats["decoder_layer_0/moe/linear/w"][1, :2, :4].read().result())""",
        ("open", "Opened"),
    ),
    Topic(
        "Check and compare",
        "What `verify` and `diff` do. Findings are data, with a code and a place; an exception is\n"
        "raised only where there is no answer.",
        """\
verdict = grokpack.verify_structure(survey)
verdict = grokpack.verify_values(verdict)  # reads every byte
print([finding.code for finding in verdict.findings])
for row in grokpack.statistics(checkpoint, ["router"]):
    print(row["name"], row["rms"])
print({row.state for row in grokpack.compare(checkpoint, checkpoint).tensors})""",
        ("verify_structure", "verify_values", "statistics", "compare"),
    ),
    Topic(
        "Plan an output",
        "A plan is made from headers. It knows every file and its size, and refuses what cannot\n"
        "work; nothing is written before it is executed.",
        """\
from grokpack import ConvertOptions, QuantizeOptions

cut = grokpack.plan_reshard(checkpoint, tp=4)
converted = grokpack.plan_convert(checkpoint, "hf", ConvertOptions(dtype="bf16"))
small = grokpack.plan_quantize(checkpoint, QuantizeOptions(bits=4, group="32", tokenizer="none"))
noise = grokpack.plan_synth(checkpoint.geometry, seed=1)
for plan in (cut, converted, small, noise):
    print(plan.reads_bytes, plan.writes_bytes, plan.digest())""",
        (
            "plan_reshard",
            "plan_convert",
            "ConvertOptions",
            "plan_quantize",
            "QuantizeOptions",
            "plan_synth",
        ),
    ),
    Topic(
        "Execute a plan",
        "Called again after a stop or a crash, it continues. Parts may be done by several\n"
        "processes, also on other machines.",
        """\
from grokpack import Limits, Part

outcome = grokpack.execute(cut, "grok-1-tp4", Limits(memory_bytes=256 << 20, workers=2))
print(outcome.out, outcome.written_bytes)

for number in (1, 2):  # each could be a job of its own
    outcome = grokpack.execute_part(converted, "grok-1-hf", Part(number, 2))
print(outcome.published)""",
        ("execute", "Limits", "execute_part", "Part"),
    ),
    Topic(
        "Run the network",
        "Layer after layer, so that the weights need not fit in memory.",
        """\
import numpy as np
from grokpack import EvaluateOptions

np.save("tokens.npy", np.arange(24) % checkpoint.geometry.vocab)
inputs = grokpack.read_tokens("tokens.npy", context=None, most=None, pad=0)
print(grokpack.evaluate(checkpoint, inputs, EvaluateOptions(precision="bf16")))

other = grokpack.open_checkpoint("grok-1-tp4")
print(grokpack.evaluate_pair(checkpoint, other, inputs))
print(grokpack.generate(checkpoint, [np.array([5, 7])], count=3))""",
        ("read_tokens", "read_text", "evaluate", "evaluate_pair", "EvaluateOptions", "generate"),
    ),
    Topic(
        "Errors",
        "One class for all. `str(error)` has code, place, facts and what to do.",
        """\
try:
    grokpack.plan_reshard(checkpoint, tp=3)
except grokpack.GrokpackError as error:
    print(error.code, error.exit_status.value)
    print(error)""",
        ("GrokpackError",),
    ),
)
