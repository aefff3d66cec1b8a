"""Codes of errors in a plan or its target: GP3xx."""

from __future__ import annotations

from grokpack.core.error_codes.code import Code
from grokpack.core.exit_status import ExitStatus

PLANS = (
    Code(
        "GP301",
        "model cannot be cut into that many ranks",
        ExitStatus.USAGE,
        "Heads, expert width, vocabulary or scale groups leave a remainder.",
        "Use one of the widths that the error lists.",
    ),
    Code(
        "GP302",
        "target cannot hold this width",
        ExitStatus.USAGE,
        "The program that reads the target fails at this width.",
        "Use a smaller width, another target, or the flag that the error names.",
    ),
    Code(
        "GP303",
        "hosts do not divide the ranks",
        ExitStatus.USAGE,
        "Each host holds the same number of model shards.",
        "Use a number of hosts that divides --tp.",
    ),
    Code(
        "GP304",
        "options contradict each other",
        ExitStatus.USAGE,
        "Two options of the command exclude one another.",
        "Leave one of them out.",
    ),
    Code(
        "GP305",
        "dimensions do not make a model",
        ExitStatus.USAGE,
        "A dimension does not divide as the architecture needs.",
        "Change the dimension named.",
    ),
    Code(
        "GP306",
        "target cannot be made from this source",
        ExitStatus.USAGE,
        "The format needs something that the source does not have: int8 codes, a tokenizer, widths "
        "that its blocks divide, a type that was not named.",
        "Choose what the hint names; `convert` only re-packages and rounds, it never requantizes.",
    ),
    Code(
        "GP307",
        "an optional package is missing",
        ExitStatus.USAGE,
        "This needs a package that grokpack does not install itself, or the compiled part of one "
        "that was installed without it.",
        "Install what the message names: `pip install 'grokpack[gguf]'`.",
    ),
    Code(
        "GP308",
        "environment variable has a wrong value",
        ExitStatus.USAGE,
        "A variable may have only certain values, or asks for what this machine does not have.",
        "Unset it, or give it a value that `grokpack help environment` names.",
    ),
    Code(
        "GP309",
        "weights cannot be quantized so",
        ExitStatus.USAGE,
        "Groups do not divide the inputs, the format has no such groups or zero points, or the "
        "source is quantized to 4 bits already.",
        "Use what the hint names; `--keep` leaves single weights in bf16.",
    ),
    Code(
        "GP310",
        "policy file is wrong",
        ExitStatus.USAGE,
        "A table of the file has a key or a value that a policy does not have.",
        "Mend the table that the error names.",
    ),
    Code(
        "GP311",
        "not enough disk",
        ExitStatus.TARGET,
        "The output needs more bytes than the file system has free. Nothing was written.",
        "Choose another disk or a smaller target.",
    ),
    Code(
        "GP312",
        "not enough memory allowed",
        ExitStatus.TARGET,
        "The plan cannot keep to the memory it was given.",
        "Raise --memory or lower --workers, as the error says.",
    ),
    Code(
        "GP313",
        "engine does not load this",
        ExitStatus.USAGE,
        "The program that --for names is known not to load this format, or not for this model.",
        "Use what the hint names, or leave --for out.",
    ),
    Code(
        "GP316",
        "view and checkpoint have no folder in common",
        ExitStatus.USAGE,
        "The index's paths begin at a folder that holds both; below the root of the file system "
        "there is none.",
        "Use an --out on the way to the checkpoint, or beside it.",
    ),
    Code(
        "GP321",
        "output belongs to another plan",
        ExitStatus.TARGET,
        "The folder was begun or finished by a run with another source or other options.",
        "Use another --out, or `--restart` to discard what is there.",
    ),
    Code(
        "GP322",
        "output is in use",
        ExitStatus.TARGET,
        "Another process works on this output, or another run publishes to the repository.",
        "Wait for it, or use another --out.",
    ),
    Code(
        "GP323",
        "output folder holds other files",
        ExitStatus.TARGET,
        "grokpack writes to a new or empty folder, or continues its own run.",
        "Use another --out.",
    ),
    Code(
        "GP324",
        "output cannot be written",
        ExitStatus.TARGET,
        "The operating system refused to create or write a file.",
        "Check permissions and mounts.",
    ),
    Code(
        "GP325",
        "output and source overlap",
        ExitStatus.TARGET,
        "One is inside the other; writing would damage what is being read.",
        "Use an --out beside the source.",
    ),
    Code(
        "GP326",
        "output cannot be at this URL",
        ExitStatus.TARGET,
        "Outputs are written to folders, to buckets of s3:// and gs://, in files of at most 84 GB "
        "there, and to repositories of hf://, in files of at most 50 GB and a whole repository for "
        "each output; no web server takes them, and nothing but a folder keeps holes or views.",
        "Cut the output into more files, for example `--split 40GB`, or write to a folder.",
    ),
    Code(
        "GP327",
        "there is a manifest already",
        ExitStatus.TARGET,
        "An old manifest may be the only witness of what the files once were; none is replaced.",
        "`verify --data` compares with it. `grokpack manifest SRC -o FILE` writes another.",
    ),
    Code(
        "GP328",
        "bucket or hub does not take the output",
        ExitStatus.TARGET,
        "It refused a request, or it lost what was sent. The hub wants a token that may write, a "
        "branch that exists, and with `--private` a repository that only its owner sees.",
        "See what it answered: keys or token, names and rights. The same command continues.",
    ),
    Code(
        "GP329",
        "what was written is gone or changed",
        ExitStatus.TARGET,
        "A file of an unfinished output was removed, cut, or replaced by somebody else. Nothing "
        "looks finished: no manifest was written.",
        "Run the same command again: it writes anew what was lost.",
    ),
    Code(
        "GP330",
        "not grokpack's own",
        ExitStatus.TARGET,
        "A link, a pipe or a device has the name of a file that grokpack writes, or `--restart` "
        "found files that grokpack cannot prove it wrote: of another size, with other contents, "
        "behind a link, or outside the output. Nothing was touched.",
        "Look at what is named; move or remove it yourself, or use another --out.",
    ),
    Code(
        "GP341",
        "token is not in the vocabulary",
        ExitStatus.USAGE,
        "A token id is negative, or not below the number of rows of the embedding.",
        "Take the tokenizer that belongs to the checkpoint.",
    ),
    Code(
        "GP342",
        "there is nothing to evaluate on",
        ExitStatus.USAGE,
        "The file is not there, is no array of token ids, text or conversation, or holds none.",
        "Give `--text FILE` in UTF-8, `--tokens FILE.npy`, or `generate --messages FILE.json`.",
    ),
    Code(
        "GP343",
        "networks have other dimensions",
        ExitStatus.ANSWER_IS_NO,
        "Two networks can be compared on the same tokens if they have the same shapes.",
        "Compare a checkpoint with a copy of itself.",
    ),
    Code(
        "GP344",
        "calibration does not fit",
        ExitStatus.USAGE,
        "The file of `--importance` is no calibration, or has nothing of a weight, or of another "
        "shape.",
        "Make one with `grokpack evaluate SRC --text FILE --calibrate OUT.safetensors`.",
    ),
    Code(
        "GP345",
        "network is not computed here",
        ExitStatus.USAGE,
        "The model's family has parts that `evaluate` and `generate` do not compute, or lacks one "
        "that they need, or config.json asks for another network than the release's.",
        "Evaluate it with an engine; all other commands take it.",
    ),
    Code(
        "GP346",
        "a value cannot be used",
        ExitStatus.USAGE,
        "An option or an environment variable has a value that it does not take.",
        "Use one of those that the message lists, in the form that it shows.",
    ),
    Code(
        "GP347",
        "the command line is not understood",
        ExitStatus.USAGE,
        "There is no such command, option or topic, or an argument is missing.",
        "See `grokpack --help`, or `grokpack COMMAND --help`.",
    ),
)
