"""Let compressed-tensors and transformers read what `grokpack quantize` writes.

It makes the folders itself, compares, and then breaks one in several ways to see that the
comparison notices. Run it from the root of the tree in an environment of `requirements-*.txt`:
`python -m tests.oracle.ct.check --python PYTHON_OF_GROKPACK --work FOLDER`.
"""

from __future__ import annotations

import argparse
import io
import logging
import shutil
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import compressed_tensors
import torch
import transformers

from tests.oracle.ct import broken, codec, floats, models, readings
from tests.oracle.ct.folders import Folder
from tests.oracle.ct.results import Result, report, summary
from tests.oracle.grokpack_process import grokpack_at, run_all

TINY = Path("tests/data/tiny3")
CHECKPOINTS = {  # what `grokpack synth` is given
    # Groups of 256 divide it; its own scale groups have 32 inputs; 8 query and 2 kv heads.
    "shared": "--layers 2 --d-model 256 --ffn 256 --experts 4 --vocab 300 --heads 8 --kv-heads 2"
    " --head-dim 32",
    # 36 outputs of key and value do not fill words of zero points.
    "ragged": "--layers 1 --d-model 96 --ffn 256 --experts 2 --vocab 100 --heads 12 --kv-heads 3"
    " --head-dim 12 --scale-groups 2",
    # Its own scale groups have 128 inputs: 8 bits are the released codes.
    "blocky": "--layers 1 --d-model 128 --ffn 1024 --experts 2 --vocab 64 --heads 32 --kv-heads 4"
    " --head-dim 32",
    # Slices of two ranks are whole blocks of 128; the width of the model is not.
    "second": "--model grok-2 --layers 2 --d-model 192 --mlp 512 --ffn 256 --experts 2 --vocab 320"
    " --heads 4 --kv-heads 2 --head-dim 128",
}
W4, W8 = "--bits 4", "--bits 8 --to compressed-tensors"
CODECS = [
    *(
        ("shared", f"{bits} --group {group}{zeros}")
        for bits, group, zeros in product(
            (W4, W8), (32, 64, 128, 256, "channel"), ("", " --asymmetric")
        )
    ),
    *(
        ("ragged", f"{bits} --group channel{zeros}")
        for bits in (W4, W8)
        for zeros in ("", " --asymmetric")
    ),
    ("shared", f"{W4} --method rtn"),
    ("shared", f"{W4} --method lsq"),
    ("shared", f"{W4} --method lsq --asymmetric"),
    ("shared", f"{W8} --method mse --scale-dtype f32"),
    ("shared", f"{W4} --scale-dtype f16 --asymmetric"),
    ("shared", f"{W4} --scale-dtype f32"),
]
GPTQS = [
    *(
        ("shared", f"--bits {bits} --to gptq --group {group}")
        for bits, group in product((4, 8), (32, 64, 128, 256, "channel"))
    ),
    ("blocky", "--bits 8"),
]
FLOATS = [
    ("shared", f"--to {to}{how}") for to in ("mxfp4", "nvfp4") for how in (" --method rtn", "")
]
READINGS = [
    *(
        (name, f"--to {to}{how}")
        for name in ("shared", "second")
        for to in ("mxfp4", "nvfp4")
        for how in (" --names sglang", " --names sglang --method rtn")
    ),
    *(
        (name, f"--to fp8{how}")
        for name in ("ragged", "second")
        for how in ("", " --method mse", " --group channel", " --group channel --method mse")
    ),
    *(("second", f"--to fp8 --tp 2{how}") for how in ("", " --group channel")),
]
AS_READ = ("--to", "hf", "--dtype", "f32", "--names", "sglang")
POLICY = """[[tensors]]
role = "attention"
bits = 8
group = 32

[[tensors]]
name = "*/moe/linear_1/w"
layers = [-1]
bits = 8
group = "channel"

[[tensors]]
name = "*/value/w"
layers = [0]
bits = 16
"""
ZEROS = """[[tensors]]
role = "expert"
symmetric = false
"""
MODELS = {  # name -> options for tiny3 and for the synthetic checkpoint
    "int4, groups": (f"{W4} --group 32", f"{W4} --group 128"),
    "int4, groups, steps of either sign": (
        f"{W4} --group 32 --method lsq",
        f"{W4} --group 128 --method lsq",
    ),
    "int4, groups, zero points": (f"{W4} --group 32 --asymmetric", f"{W4} --group 64 --asymmetric"),
    "int8, per output": (f"{W8} --group channel", f"{W8} --group channel"),
    "int8, groups, zero points": (f"{W8} --group 32 --asymmetric", f"{W8} --asymmetric"),
    "by a policy": (f"{W4} --group 32 --policy POLICY", f"{W4} --group 64 --policy POLICY"),
    "zero points by a policy": (
        f"{W4} --group 32 --policy ZEROS",
        f"{W4} --group 64 --policy ZEROS",
    ),
    "attention kept": (f"{W4} --group 32 --keep attention", f"{W4} --keep attention"),
    "an expert's matrix kept": (f"{W4} --group 32 --keep linear_v", f"{W4} --keep linear_v"),
}


@dataclass(frozen=True)
class Made:
    """A folder to be made: of which checkpoint, and how."""

    title: str
    source: Path
    options: str

    def folder(self, work: Path) -> Folder:
        words = self.options.replace(str(work), "").replace("/", "").replace("--", "").split()
        return Folder(work / "-".join([self.source.name, *words]), self.source)

    def command(self, out: Path) -> list[str]:
        return ["quantize", str(self.source), *self.options.split(), "-o", str(out)]


def codec_cases(work: Path) -> list[Made]:
    return [Made(f"{name} {options}", work / name, options) for name, options in CODECS]


def model_cases(work: Path) -> list[Made]:
    sources = list(enumerate((TINY, work / "shared")))
    return [
        Made(
            f"{what}; {source.name}, {names}",
            source,
            f"{_with_policy(options[column], work)} --names {names}",
        )
        for (what, options), (column, source), names in product(
            MODELS.items(), sources, ("hpcai", "sglang")
        )
    ]


def _with_policy(options: str, work: Path) -> str:
    for word, file in (("POLICY", "policy.toml"), ("ZEROS", "zeros.toml")):
        options = options.replace(word, str(work / file))
    return options


def gptq_cases(work: Path) -> list[Made]:
    return [Made(f"{name} {options}", work / name, options) for name, options in GPTQS]


def float_cases(work: Path) -> list[Made]:
    return [Made(f"{name} {options}", work / name, options) for name, options in FLOATS]


def reading_cases(work: Path) -> list[Made]:
    return [Made(f"{name} {options}", work / name, options) for name, options in READINGS]


def broken_case(work: Path) -> Made:
    """The folder that is broken, with zero points where they can be loaded."""
    zeros = " --asymmetric" if models.loads_zero_points() else ""
    return Made("to be broken", work / "shared", f"{W4} --group 32{zeros}")


def check_codecs(work: Path) -> bool:
    print("\narrays against compressed-tensors' own code")
    good = True
    for case in codec_cases(work):
        good = summary(case.title, codec.check_codec(case.folder(work))) and good
    return good


def check_four_bit_floats(work: Path) -> bool:
    print("\nfour-bit floats against compressed-tensors' own code")
    good = True
    for case in float_cases(work):
        good = summary(case.title, floats.check_floats(case.folder(work))) and good
    return good


def check_readings(work: Path) -> bool:
    print("\nfloats of both models, decompressed by compressed-tensors and read by grokpack")
    good = True
    for case in reading_cases(work):
        folder = case.folder(work).path
        good = summary(case.title, readings.check_reading(folder, _as_read(folder))) and good
    return good


def check_gptqs(work: Path, python: str) -> bool:
    """Where GPTQModel is installed."""
    if find_spec("gptqmodel") is None:
        print("\nGPTQModel is not in this environment; that of transformers 5 has it")
        return True
    from tests.oracle.ct.gptq import check_gptq

    print("\narrays against GPTQModel's own code")
    good = True
    for case in gptq_cases(work):
        good = summary(case.title, check_gptq(case.folder(work))) and good
    good = check_packed_elsewhere(work, python) and good
    print("\nbroken GPTQ folders, and what was noticed")
    whole = gptq_cases(work)[0].folder(work)
    return not list(broken.unnoticed(whole, work, {"gptq": check_gptq})) and good


def check_packed_elsewhere(work: Path, python: str) -> bool:
    """Compare what grokpack reads of folders that GPTQModel packed."""
    from tests.oracle.ct.published import FORMS, check_published

    print("\nfolders packed by GPTQModel, read by grokpack")
    grokpack, good = grokpack_at(python), True
    shutil.rmtree(work / "published", ignore_errors=True)
    for name in ("shared", "second"):
        plain = work / "published" / name
        grokpack("convert", work / name, *AS_READ, "-o", plain)
        for what, form in FORMS.items():
            own = work / "published" / f"{name}-{what}"
            results = check_published(form, plain, own, grokpack)
            good = summary(f"{name}, {what}", results) and good
    return good


def check_broken(work: Path) -> bool:
    print("\nbroken folders, and who noticed")
    checks = {"arrays": codec.check_codec, "model": models.check_model}
    whole = broken_case(work).folder(work)
    with redirect_stderr(io.StringIO()):
        return not list(broken.unnoticed(whole, work, checks))


def check_models(work: Path) -> bool:
    print("\nfolders loaded by transformers")
    good = True
    for case in model_cases(work):
        folder = case.folder(work)
        good = summary(case.title, codec.check_codec(folder)) and good
        zeros = any(name.endswith("zero_point") for name in folder.arrays)
        if zeros and not models.loads_zero_points():
            print("       not loaded: this compressed-tensors cannot, see README.md")
            continue
        with redirect_stderr(io.StringIO()):  # progress bars
            good = summary("  as a model", models.check_model(folder)) and good
            if case.title.startswith("int4, groups;"):
                good = summary("  without a dtype", models.check_default(folder)) and good
    return good


def prepare(work: Path, python: str) -> None:
    """Make the sources and the folders that are not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "policy.toml").write_text(POLICY, encoding="utf-8")
    (work / "zeros.toml").write_text(ZEROS, encoding="utf-8")
    sources = [
        ["synth", str(work / name), *options.split()]
        for name, options in CHECKPOINTS.items()
        if not (work / name).exists()
    ]
    kernels = (
        *codec_cases(work),
        *float_cases(work),
        *reading_cases(work),
        *gptq_cases(work),
        broken_case(work),
    )
    made = [(case, case.folder(work).path) for case in (*kernels, *model_cases(work))]
    missing = [(case, out) for case, out in made if not (out / "config.json").exists()]
    run_all(python, sources)
    run_all(python, [case.command(out) for case, out in missing], "numba")
    plain = [case.command(_by_numpy(out)) for case, out in missing if case in kernels]
    run_all(python, plain, "numpy")
    read = [
        ["convert", str(folder), *AS_READ, "-o", str(out)]
        for case in reading_cases(work)
        for folder in [case.folder(work).path]
        for out in [_as_read(folder)]
        if not (out / "config.json").exists()
    ]
    run_all(python, read)


def _as_read(folder: Path) -> Path:
    """Where what grokpack reads in a folder is written, in float32."""
    return folder.parent / "read" / folder.name


def _by_numpy(folder: Path) -> Path:
    """Where the same folder is written with kernels in numpy."""
    return folder.parent / "numpy" / folder.name


def check_engines(work: Path) -> bool:
    """Every folder that is checked below was made by compiled kernels; numpy's are the same."""
    made = [
        file
        for folder in sorted((work / "numpy").iterdir())
        for file in sorted(folder.iterdir())
        if file.is_file()
    ]
    unlike = sum(
        file.read_bytes() != (work / file.parent.name / file.name).read_bytes() for file in made
    )
    what = f"of {len(made)} files, those that kernels in numpy write otherwise"
    return report("compiled kernels and those in numpy", [Result(what, unlike)])


def quiet() -> None:
    """No progress bars, no hints."""
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has grokpack")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--folder", type=Path, action="append", help="check this folder instead")
    parser.add_argument("--source", type=Path, default=TINY, help="the checkpoint it was made of")
    args = parser.parse_args()
    quiet()
    print(
        f"compressed-tensors {compressed_tensors.__version__}, transformers"
        f" {transformers.__version__}, torch {torch.__version__}"
    )
    if args.folder:
        folders = [Folder(path, args.source) for path in args.folder]
        good = [
            report(str(folder.path), check(folder))
            for folder in folders
            for check in (codec.check_codec, models.check_model)
        ]
        return 0 if all(good) else 1
    prepare(args.work, args.python)
    good = check_engines(args.work)
    good = check_codecs(args.work) and good
    good = check_four_bit_floats(args.work) and good
    good = check_readings(args.work) and good
    good = check_gptqs(args.work, args.python) and good
    good = check_models(args.work) and good
    good = check_broken(args.work) and good
    print("\nall agree" if good else "\nnot all agree: see FAIL above")
    return 0 if good else 1


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main())
