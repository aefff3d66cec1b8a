"""Codes of the findings that `verify` reports: GP1xx."""

from __future__ import annotations

from grokpack.core.error_codes.code import Code
from grokpack.core.exit_status import ExitStatus

_FETCH = (
    "Fetch the file again: of a release `verify` prints the command. What grokpack or another "
    "program wrote can be written again from its source."
)

FINDINGS = (
    Code(
        "GP101",
        "file is missing",
        ExitStatus.ANSWER_IS_NO,
        "The checkpoint should hold this file, and the folder does not.",
        _FETCH,
    ),
    Code(
        "GP102",
        "file does not belong here",
        ExitStatus.ANSWER_IS_NO,
        "The name begins like a tensor file's, but no tensor of this model has it.",
        "Rename it if the finding names the file that it looks like. Otherwise move it out of the "
        "folder, or find out which download put it there.",
    ),
    Code(
        "GP103",
        "file ends before its tensor does",
        ExitStatus.ANSWER_IS_NO,
        "The header announces more bytes than the file has: an interrupted download or copy. Or "
        "NAME.aria2 lies beside it: its download has not ended, whatever the file's size.",
        _FETCH,
    ),
    Code(
        "GP104",
        "file goes on after its tensor ended",
        ExitStatus.ANSWER_IS_NO,
        "Bytes follow the end of the pickle: two files run together, or an edited file.",
        _FETCH,
    ),
    Code(
        "GP105",
        "tensor has another shape than its place asks for",
        ExitStatus.ANSWER_IS_NO,
        "The header names a shape that this position of the model cannot have.",
        _FETCH,
    ),
    Code(
        "GP106",
        "tensor has another dtype than its place asks for",
        ExitStatus.ANSWER_IS_NO,
        "Experts and attention are int8 with bfloat16 scales; router, norms and embedding float32.",
        _FETCH,
    ),
    Code(
        "GP107",
        "scale groups do not fit the tensor",
        ExitStatus.ANSWER_IS_NO,
        "The scales divide the weight's rows unevenly, or have no row for every shard.",
        _FETCH,
    ),
    Code(
        "GP108",
        "file holds the tensor of another file",
        ExitStatus.ANSWER_IS_NO,
        "The contents belong to another position: files were swapped or renumbered.",
        "Rename the files if the finding names a pair; otherwise fetch both again.",
    ),
    Code(
        "GP109",
        "two files hold the same tensor",
        ExitStatus.ANSWER_IS_NO,
        "Two tensors of a trained model are never equal: one file was copied over another.",
        "Fetch both again: which of the two is the original cannot be told from the files.",
    ),
    Code(
        "GP110",
        "contents changed",
        ExitStatus.ANSWER_IS_NO,
        "The bytes of a tile do not have the checksum that the manifest recorded.",
        "Read it again: if the result changes, suspect memory or disk. Then fetch the file again.",
    ),
    Code(
        "GP111",
        "header cannot be read",
        ExitStatus.ANSWER_IS_NO,
        "The file does not begin like a tensor file, or its header breaks off.",
        _FETCH,
    ),
    Code(
        "GP112",
        "file has another size than the manifest recorded",
        ExitStatus.ANSWER_IS_NO,
        "Something changed, cut or extended the file after it was written.",
        _FETCH,
    ),
    Code(
        "GP113",
        "header differs from what the manifest recorded",
        ExitStatus.ANSWER_IS_NO,
        "Shape, dtype or framing are not those the manifest was made from.",
        _FETCH,
    ),
    Code(
        "GP114",
        "file is there twice, once compressed",
        ExitStatus.OK,
        "NAME and NAME.zst lie in one folder. NAME is read; the other is neither read nor checked.",
        "Remove one of them: `zstd -d --rm` leaves none behind.",
    ),
    Code(
        "GP115",
        "chunk is damaged or missing",
        ExitStatus.ANSWER_IS_NO,
        "A chunk of a zarr or Orbax store does not decode: its checksum is another, it is cut "
        "short, or it is not there.",
        "Fetch the file again, or write it again from its source.",
    ),
    Code(
        "GP116",
        "file changed since the view was made",
        ExitStatus.ANSWER_IS_NO,
        "Its size, its modification time or its header is another than when the view was made. The "
        "index points at byte ranges: what TensorStore reads there now may be anything. Or the "
        "index itself points elsewhere than at its arrays.",
        "Restore the file, or make the view anew with `--restart`; it takes a second.",
    ),
    Code(
        "GP117",
        "contents cannot be read",
        ExitStatus.ANSWER_IS_NO,
        "The disk or the server gives an error in place of these bytes.",
        "Look at the disk (the system's log, `smartctl`); then fetch the file again, elsewhere.",
    ),
    Code(
        "GP118",
        "nothing to compare with",
        ExitStatus.OK,
        "What `--against` names says nothing of these files: they were not checked.",
        "Compare with a list that has all files, or leave it where the files are not xAI's.",
    ),
    Code(
        "GP119",
        "torrent is not the one that xAI published",
        ExitStatus.OK,
        "Its info-hash is another: what it says of the files is somebody else's word.",
        "xAI's README names the torrent; its info-hash is in the finding.",
    ),
    Code(
        "GP120",
        "tensor holds NaN",
        ExitStatus.ANSWER_IS_NO,
        "At least one value is not a number, or nothing that the network computes from them is.",
        _FETCH,
    ),
    Code(
        "GP121",
        "tensor holds infinities",
        ExitStatus.ANSWER_IS_NO,
        "At least one value is infinite.",
        _FETCH,
    ),
    Code(
        "GP122",
        "scale is zero or negative",
        ExitStatus.ANSWER_IS_NO,
        "A scale of the release is positive; zero erases a column, a negative one flips its sign.",
        _FETCH,
    ),
    Code(
        "GP123",
        "number of ranks is not known",
        ExitStatus.SOURCE,
        "Files of some ranks are there, and nothing tells how many were made: no config, index or "
        "manifest. Without one that is missing, the rest would be a narrower model.",
        "Put the model's config.json beside the files.",
    ),
    Code(
        "GP130",
        "config.json contradicts the tensors",
        ExitStatus.ANSWER_IS_NO,
        "A dimension in config.json is not the one that the shapes show.",
        "Correct config.json, or remove it and give `--head-dim` where it is needed.",
    ),
    Code(
        "GP131",
        "config.json lacks a constant of the network",
        ExitStatus.ANSWER_IS_NO,
        "Shapes do not show the constants that a network computes with. Where config.json gives "
        "none, the release's stand in, which are not those of a model trained otherwise.",
        "Put the model's own config.json beside the files.",
    ),
    Code(
        "GP132",
        "tokenizer is missing, cannot be read or does not fit the model",
        ExitStatus.ANSWER_IS_NO,
        "The release has its tokenizer beside the weights. Without it, or with one that is broken "
        "or another model's, texts cannot be turned into tokens, and outputs have none. Where it "
        "lacks a token that ends an answer, or config.json gives it another id, engines do not "
        "stop at it.",
        "Fetch that file again.",
    ),
    Code(
        "GP133",
        "config.json asks for another network",
        ExitStatus.ANSWER_IS_NO,
        "A setting in config.json is not that of the release, and changes what engines compute: "
        "another rotation, attention in a window, no dense MLP. Weights are converted as they "
        "are, `evaluate` and `generate` refuse. Or it names a class or a type of another model, "
        "by which engines choose the network.",
        "Nothing, if the model was trained so; else correct config.json.",
    ),
    Code(
        "GP141",
        "a part of the network computes something else",
        ExitStatus.ANSWER_IS_NO,
        "On the same activations a part of the second network adds something else than that of the "
        "first, by more than the formats of its weights allow.",
        "See which weights and constants are named beside it; convert them again.",
    ),
    Code(
        "GP142",
        "networks differ by more than is allowed",
        ExitStatus.ANSWER_IS_NO,
        "`--max-kl` or `--min-top1` does not hold.",
        "The table of layers shows where the difference grows.",
    ),
    Code(
        "GP143",
        "two checkpoints say different things of themselves",
        ExitStatus.ANSWER_IS_NO,
        "A constant or a switch that changes what a program computes is not the same in the "
        "configuration of both, or a token in their tokenizers. A constant that is left out is "
        "that of xAI's code.",
        "Correct the one that is wrong in config.json, in the tokenizer, or in the keys of the "
        "GGUF.",
    ),
    Code(
        "GP144",
        "weights of two checkpoints differ by more than their formats allow",
        ExitStatus.ANSWER_IS_NO,
        "Exact formats hold equal values, a narrower dtype the same values rounded once, quantized "
        "ones the same within half a step.",
        "Convert that tensor again from a source that `grokpack verify` finds whole.",
    ),
    Code(
        "GP145",
        "weights are stored otherwise and compute the same",
        ExitStatus.ANSWER_IS_NO,
        "Experts or heads are in another order, and each has the values of its counterpart; or "
        "what this part of the network computes on this input is the same but for the order of "
        "sums. A warning, which makes no answer no.",
        "Nothing, if the order was changed on purpose.",
    ),
)
