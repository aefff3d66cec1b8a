"""Every error and finding code: its exit status, what it means, and what to do.

The numbers are a promise: they are printed, documented and matched by scripts. A code is never
given another meaning. GP1xx findings, GP2xx source, GP3xx plan and target, GP4xx run, GP9xx bug.
"""

from __future__ import annotations

from dataclasses import dataclass

from grokpack.errors import ExitStatus


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the table that `grokpack explain` prints and docs/reference/codes.md lists."""

    id: str
    title: str
    exit_status: ExitStatus
    meaning: str
    remedy: str


def _table(*rows: Code) -> dict[str, Code]:
    table = {row.id: row for row in rows}
    if len(table) != len(rows):
        message = "a code stands twice in the table"
        raise ValueError(message)
    return table


_NO, _USAGE, _SOURCE = ExitStatus.ANSWER_IS_NO, ExitStatus.USAGE, ExitStatus.SOURCE
_UNSAFE, _TARGET, _BUG = ExitStatus.UNSAFE, ExitStatus.TARGET, ExitStatus.BUG
_AGAIN, _INT = ExitStatus.TRY_AGAIN, ExitStatus.INTERRUPTED
_FETCH = "Fetch the file again; `verify` prints the command."

CODES: dict[str, Code] = _table(
    # findings: what `verify` reports
    Code(
        "GP101",
        "file is missing",
        _NO,
        "The checkpoint should hold this file, and the folder does not.",
        _FETCH,
    ),
    Code(
        "GP102",
        "file does not belong here",
        _NO,
        "The name begins like a tensor file's, but no tensor of this model has it.",
        "Move it out of the folder, or find out which download put it there.",
    ),
    Code(
        "GP103",
        "file ends before its tensor does",
        _NO,
        "The header announces more bytes than the file has: an interrupted download or copy.",
        _FETCH,
    ),
    Code(
        "GP104",
        "file goes on after its tensor ended",
        _NO,
        "Bytes follow the end of the pickle: two files run together, or an edited file.",
        _FETCH,
    ),
    Code(
        "GP105",
        "tensor has another shape than its place asks for",
        _NO,
        "The header names a shape that this position of the model cannot have.",
        _FETCH,
    ),
    Code(
        "GP106",
        "tensor has another dtype than its place asks for",
        _NO,
        "Experts and attention are int8 with bfloat16 scales; router, norms and embedding float32.",
        _FETCH,
    ),
    Code(
        "GP107",
        "scale groups do not fit the tensor",
        _NO,
        "The scales divide the weight's rows unevenly, or have no row for every shard.",
        _FETCH,
    ),
    Code(
        "GP108",
        "file holds the tensor of another file",
        _NO,
        "The contents belong to another position: files were swapped or renumbered.",
        "Rename the files if the finding names a pair; otherwise fetch both again.",
    ),
    Code(
        "GP109",
        "two files hold the same tensor",
        _NO,
        "Two large tensors of a trained model are never equal: one file was copied over another.",
        "Fetch both again: which of the two is the original cannot be told from the files.",
    ),
    Code(
        "GP110",
        "contents changed",
        _NO,
        "The bytes of a tile do not have the checksum that the manifest recorded.",
        "Read it again: if the result changes, suspect memory or disk. Then fetch the file again.",
    ),
    Code(
        "GP111",
        "header cannot be read",
        _NO,
        "The file does not begin like a tensor file, or its header breaks off.",
        _FETCH,
    ),
    Code(
        "GP112",
        "file has another size than the manifest recorded",
        _NO,
        "Something changed, cut or extended the file after it was written.",
        _FETCH,
    ),
    Code(
        "GP113",
        "header differs from what the manifest recorded",
        _NO,
        "Shape, dtype or framing are not those the manifest was made from.",
        _FETCH,
    ),
    Code("GP120", "tensor holds NaN", _NO, "At least one value is not a number.", _FETCH),
    Code("GP121", "tensor holds infinities", _NO, "At least one value is infinite.", _FETCH),
    Code(
        "GP122",
        "scale is zero or negative",
        _NO,
        "A scale of the release is positive; zero erases a column, a negative one flips its sign.",
        _FETCH,
    ),
    Code(
        "GP130",
        "config.json contradicts the tensors",
        _NO,
        "A dimension in config.json is not the one that the shapes show.",
        "Correct config.json, or remove it and give `--head-dim` where it is needed.",
    ),
    # source: what cannot be read
    Code(
        "GP201",
        "no checkpoint found",
        _SOURCE,
        "None of the places that grokpack looks at holds a checkpoint.",
        "Name the folder, or set GROKPACK_CHECKPOINT.",
    ),
    Code(
        "GP202",
        "checkpoint is incomplete",
        _SOURCE,
        "Files are missing or unusable, and this command needs all of them.",
        "Run `grokpack verify` on it: it names the files and the command that fetches them.",
    ),
    Code(
        "GP203",
        "unknown format",
        _SOURCE,
        "The folder holds files, but none of the formats that grokpack reads.",
        "See docs/reference/formats.md for what can be read.",
    ),
    Code(
        "GP204",
        "refused a pickle that names more than arrays",
        ExitStatus.UNSAFE,
        "The file asks Python to import or call something that no array needs. Nothing was run.",
        "Do not open it with anything else. Compare where it came from with the published files.",
    ),
    Code(
        "GP205",
        "refused a pickle beyond all limits",
        ExitStatus.UNSAFE,
        "More opcodes, nesting, memo entries or string bytes than any tensor header has.",
        "Treat the file as hostile; fetch it again from the published source.",
    ),
    Code(
        "GP206",
        "pickle protocol that cannot be streamed",
        _SOURCE,
        "Protocols 0 to 2 transcode the payload to text, so it has no byte range to read.",
        "Load it where it was made and save it again with protocol 4.",
    ),
    Code(
        "GP207",
        "pickle holds jax arrays",
        _SOURCE,
        "Only numpy arrays are laid out as plain bytes.",
        "Where it was made, save `numpy.asarray(x)` instead of `x`.",
    ),
    Code(
        "GP208",
        "array layout is not supported",
        _SOURCE,
        "Fortran order, big-endian, or a dtype outside int8, bfloat16, float16 and float32.",
        "Save it in C order, little-endian, with one of these dtypes.",
    ),
    Code(
        "GP209",
        "header cannot be read",
        _SOURCE,
        "The header breaks off, contradicts itself or does not begin as its format does.",
        "Fetch the file again; `grokpack verify` checks all of them.",
    ),
    Code(
        "GP210",
        "tensors are not those of a Grok-1 model",
        _SOURCE,
        "Number, shapes or dtypes do not fit the architecture at any size.",
        "Run `grokpack verify`: it says which file does not fit.",
    ),
    Code(
        "GP211",
        "head size is not known",
        _SOURCE,
        "Shapes do not tell the size of an attention head, and no config.json does.",
        "Give `--head-dim`, or put a config.json with `key_size` beside the checkpoint.",
    ),
    Code(
        "GP212",
        "output of an unfinished run",
        _SOURCE,
        "The folder belongs to a run that has not been completed.",
        "Run the command that began it once more; it continues.",
    ),
    Code(
        "GP213",
        "source changed during the run",
        _SOURCE,
        "A source file is not the one the run began with; its output would be a mixture.",
        "Restore the source, or begin anew with `--restart`.",
    ),
    Code(
        "GP214",
        "source cannot be read",
        _SOURCE,
        "The operating system refused to open or read a file.",
        "Check permissions, mounts and the disk's health.",
    ),
    Code(
        "GP215",
        "scales do not collapse to groups",
        _SOURCE,
        "Rows of one scale group differ, so that the group has no single scale.",
        "Keep the rows with `--scales expanded`.",
    ),
    Code(
        "GP216",
        "no tensor matches",
        _USAGE,
        "No tensor of this checkpoint has that name or fits that pattern.",
        "List them with `grokpack inspect --tree`.",
    ),
    # plan and target
    Code(
        "GP217",
        "tensor names follow no convention",
        _SOURCE,
        "Names are read in the conventions of hpcai-tech, SGLang and keyfan; most names "
        "of this folder are in none of them, or in more than one.",
        "Rename them to a convention of docs/reference/formats.md; the message lists the nearest.",
    ),
    Code(
        "GP218",
        "output head differs from the embedding",
        _SOURCE,
        "Grok-1 ties its output head to the embedding. This source stores a head of its own whose "
        "values are others, which no tied format can hold.",
        "Take the original checkpoint; a changed head belongs to another model.",
    ),
    Code(
        "GP219",
        "GGUF file that grokpack does not read",
        _SOURCE,
        "It is of another architecture, of another version, or holds types other than F32, F16, "
        "BF16 and Q8_0.",
        "Convert the original checkpoint instead.",
    ),
    Code(
        "GP301",
        "model cannot be cut into that many ranks",
        _USAGE,
        "Heads, expert width, vocabulary or scale groups leave a remainder.",
        "Use one of the widths that the error lists.",
    ),
    Code(
        "GP302",
        "target cannot hold this width",
        _USAGE,
        "The program that reads the target fails at this width.",
        "Use a smaller width, another target, or the flag that the error names.",
    ),
    Code(
        "GP303",
        "hosts do not divide the ranks",
        _USAGE,
        "Each host holds the same number of model shards.",
        "Use a number of hosts that divides --tp.",
    ),
    Code(
        "GP304",
        "options contradict each other",
        _USAGE,
        "Two options of the command exclude one another.",
        "Leave one of them out.",
    ),
    Code(
        "GP305",
        "dimensions do not make a model",
        _USAGE,
        "A dimension does not divide as the architecture needs.",
        "Change the dimension named.",
    ),
    Code(
        "GP306",
        "target cannot be made from this source",
        _USAGE,
        "The format needs something that the source does not have: int8 codes, a tokenizer, widths "
        "that its blocks divide, a type that was not named.",
        "Choose what the hint names; `convert` only re-packages and rounds, it never requantises.",
    ),
    Code(
        "GP307",
        "an optional package is missing",
        _USAGE,
        "This target is written with the help of a package that grokpack does not install itself.",
        "Install the extra that the message names: `pip install 'grokpack[gguf]'`.",
    ),
    Code(
        "GP308",
        "environment variable has a wrong value",
        _USAGE,
        "A variable may have only certain values, or asks for what this machine does not have.",
        "Unset it, or give it a value that `grokpack help environment` names.",
    ),
    Code(
        "GP311",
        "not enough disk",
        _TARGET,
        "The output needs more bytes than the file system has free. Nothing was written.",
        "Choose another disk or a smaller target.",
    ),
    Code(
        "GP312",
        "not enough memory allowed",
        _TARGET,
        "The plan cannot keep to the memory it was given.",
        "Raise --memory or lower --workers, as the error says.",
    ),
    Code(
        "GP321",
        "output belongs to another plan",
        _TARGET,
        "The folder was begun or finished by a run with another source or other options.",
        "Use another --out, or `--restart` to discard what is there.",
    ),
    Code(
        "GP322",
        "output is in use",
        _TARGET,
        "Another process works on this output.",
        "Wait for it, or use another --out.",
    ),
    Code(
        "GP323",
        "output folder holds other files",
        _TARGET,
        "grokpack writes to a new or empty folder, or continues its own run.",
        "Use another --out.",
    ),
    Code(
        "GP324",
        "output cannot be written",
        _TARGET,
        "The operating system refused to create or write a file.",
        "Check permissions and mounts.",
    ),
    Code(
        "GP325",
        "output and source overlap",
        _TARGET,
        "One is inside the other; writing would damage what is being read.",
        "Use an --out beside the source.",
    ),
    # run
    Code(
        "GP401",
        "disk is full",
        _TARGET,
        "The file system ran out of space in mid-run. What was finished is kept.",
        "Free space and run the same command again; it continues.",
    ),
    Code(
        "GP403",
        "stopped",
        _INT,
        "The run was interrupted. Finished tiles are recorded.",
        "Run the same command again; it continues.",
    ),
    Code(
        "GP404",
        "stopped at the deadline",
        _AGAIN,
        "`--max-duration` ended the run between two tiles.",
        "Run the same command again; it continues.",
    ),
    Code(
        "GP405",
        "value does not fit the target's dtype",
        _USAGE,
        "A finite value of the source would become infinite in float16. Nothing was published.",
        "Choose bf16 or f32; both hold every value of the release.",
    ),
    Code(
        "GP406",
        "scale does not fit float16 exactly",
        _USAGE,
        "Q8_0 keeps scales in float16. A scale of the source has no exact float16 value, so the "
        "re-packaging would not be lossless. Nothing was published.",
        "Choose a type that holds every scale.",
    ),
    Code(
        "GP901",
        "bug in grokpack",
        _BUG,
        "Something happened that the program does not expect.",
        "Report it with the crash file that the message names.",
    ),
)
