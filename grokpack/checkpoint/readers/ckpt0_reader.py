"""Reader of ckpt-0: the pickles of a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import config_file, manifest_file
from grokpack.checkpoint.checkpoint import Checkpoint, Survey
from grokpack.checkpoint.layouts.ckpt0_layout import lay_out_tensor
from grokpack.checkpoint.readers import ckpt0_checks, expected_counts, shape_checks, weight_files
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.core.errors import NO_FAULT_OF_FILES, GrokpackError, InputTooLarge, Place
from grokpack.core.layout import Layout
from grokpack.core.tensors import ArraySpec, TensorSpec
from grokpack.formats import ckpt0, file_recognition, pickle, zstd_seekable
from grokpack.models import config_json, partition, registry
from grokpack.models.geometry_inference import infer, infer_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.finding import Finding
    from grokpack.formats.pickle import Pickled
    from grokpack.models.architecture import ModelTensor, NetworkPart
    from grokpack.models.family import Family, Model
    from grokpack.models.geometry_inference import Hints

_MOST_FILES = 1 << 14  # the release, written by 16 hosts, has 12,320
_WHOLE_AND_CUT: tuple[NetworkPart, ...] = ("embedding", "final_norm")
_MOST_HOSTS = 16  # as many as the release can be cut for; bounds what damaged shapes may claim


@dataclass(slots=True)
class _Folder:
    """Files of a folder: headers, errors and sizes."""

    read: dict[tuple[int, int], Pickled]
    failed: dict[tuple[int, int], GrokpackError]
    sizes: dict[str, int]
    stray: list[str]

    @property
    def present(self) -> set[tuple[int, int]]:
        return set(self.read) | set(self.failed)


def is_store(folder: str) -> bool:
    """Return whether a folder holds tensor files under their final names."""
    return any(ckpt0.parse_name(name) for name in storage.names(folder))


def survey(folder: str, head_dim: int | None = None) -> Survey:
    """Read every header of a folder of pickles; the pickles are never executed.

    Args:
        folder: The folder of the `tensor` files.
        head_dim: Head size, if no config.json gives it.
    """
    files = _read_folder(folder)
    homes = [folder, storage.parent(folder)]
    found_config, told = config_file.find(homes)
    family = registry.by_config(found_config)
    hints = config_json.hints(found_config, family, head_dim)
    layers = hints.layers or infer_layers(family, {index for index, _ in files.present})
    seen = _interpret(files, family, layers, hints)
    released = expected_counts.released_layers(seen.model, hints)
    if released is not None and released != layers:
        seen = _interpret(files, family, released, hints)
    findings = _check(files, seen)
    expected = len(seen.entries) * seen.hosts
    if seen.model is None:
        return Survey(folder, ckpt0.NAME, expected, tuple(findings), None)
    findings += shape_checks.contradictions(found_config, seen.model, there=told is not None)
    checkpoint = _checkpoint(folder, seen.model, seen.tensors, files, seen.hosts)
    checkpoint = _with_home(checkpoint, homes, found_config)
    count_source = expected_counts.layer_count_source(seen.model, hints)
    return Survey(
        folder, ckpt0.NAME, expected, tuple(findings), checkpoint, count_source=count_source
    )


@dataclass(frozen=True, slots=True)
class _Interpretation:
    """The files, interpreted as those of a given number of layers."""

    entries: tuple[ModelTensor, ...]
    hosts: int
    tensors: dict[int, TensorSpec]
    model: Model | None


def _interpret(files: _Folder, family: Family, layers: int, hints: Hints) -> _Interpretation:
    entries = family.tensors(layers)
    hosts = max(_host_count(files, len(entries)), _hosts_by_width(files, family))
    tensors = _assemble(files, entries, hosts)
    return _Interpretation(entries, hosts, tensors, infer(family, tensors, layers, hints))


def _check(files: _Folder, seen: _Interpretation) -> list[Finding]:
    """Return findings for missing, foreign or unreadable files, and for misplaced tensors."""
    findings = ckpt0_checks.check_names(files, seen.entries, seen.hosts)
    findings += ckpt0_checks.check_failures(files, seen.entries, seen.model, seen.hosts)
    if seen.model is not None:
        findings += ckpt0_checks.check_shapes(seen.tensors, seen.model)
    return findings


def _read_folder(folder: str) -> _Folder:
    files = _Folder({}, {}, {}, [])
    keys = {name: ckpt0.parse_name(name) for name in storage.names(folder)}
    files.stray = [name for name, key in keys.items() if key is None and _is_stray(name)]
    known = {name: key for name, key in keys.items() if key is not None}
    if len(known) > _MOST_FILES:
        what = f"more than {_MOST_FILES:,} tensor files are not read"
        raise InputTooLarge(what, Place(folder))
    found = storage.map_all(folder, lambda name: _read_file(folder, name), list(known))
    for (name, key), (size, result) in zip(known.items(), found, strict=True):
        files.sizes[name] = size
        if isinstance(result, GrokpackError):
            files.failed[key] = result
        else:
            files.read[key] = result
    return files


def _read_file(folder: str, name: str) -> tuple[int, Pickled | GrokpackError]:
    """Return size and header of a file, or its error, so that the others are still read.

    Raises:
        GrokpackError: An error that is no fault of the file: the wait was ended, the server is
            gone.
    """
    data = storage.FileBytes(os.path.join(folder, name))
    size = 0  # for example of a dangling link
    try:
        size = data.size()
        return size, pickle.read(data, data.path)
    except NO_FAULT_OF_FILES:
        raise
    except GrokpackError as error:
        return size, file_recognition.explained(error, data, data.path, "a pickle")


def _is_stray(name: str) -> bool:
    """Return whether a name resembles a tensor's; leftovers and compressed files do not count."""
    compressed = ckpt0.parse_name(name.removesuffix(zstd_seekable.SUFFIX))
    return name.startswith("tensor") and not weight_files.is_leftover(name) and not compressed


def _host_count(files: _Folder, tensors: int) -> int:
    """Return the number of hosts that have at least half of the tensors."""
    hosts, present = 1, files.present
    while sum((i, hosts) in present for i in range(tensors)) * 2 >= max(tensors, 1):
        hosts += 1
    return hosts


def _hosts_by_width(files: _Folder, family: Family) -> int:
    """Return the number of hosts that share the embedding's features.

    Norms are whole in every file, the embedding is cut. It is 1 if the two are not such tensors.
    """
    places = [family.rules.index(family.rule(part)) for part in _WHOLE_AND_CUT]
    pair = [files.read.get((index, 0)) for index in places]
    shapes = [[a.spec.shape for a in own.arrays()] for own in pair if own is not None]
    match shapes:
        case [[(vocab, share)], [(width,)]] if share and vocab != width and width % share == 0:
            hosts = width // share
            return hosts if hosts <= _MOST_HOSTS else 1
    return 1


def _assemble(
    files: _Folder, entries: tuple[ModelTensor, ...], hosts: int
) -> dict[int, TensorSpec]:
    """Join whole tensors from the hosts' shares, where all exist and agree."""
    tensors = {}
    for entry in entries:
        shares = [files.read.get((entry.index, host)) for host in range(hosts)]
        first = shares[0]
        if first is None:
            continue
        specs = {tuple(a.spec for a in share.arrays()) for share in shares if share}
        if len(specs) == 1 and None not in shares:
            tensors[entry.index] = _joined(entry, first, hosts)
    return tensors


def _joined(entry: ModelTensor, share: Pickled, hosts: int) -> TensorSpec:
    axis = partition.cut_axis(entry.rule, "jax")
    specs = [_widened(array.spec, axis, hosts) for array in share.arrays()]
    return TensorSpec(entry.name, specs[0], specs[1] if len(specs) > 1 else None)


def _widened(array: ArraySpec, axis: int | None, hosts: int) -> ArraySpec:
    if axis is None or len(array.shape) < -axis:
        return array
    shape = list(array.shape)
    shape[axis] *= hosts
    return ArraySpec(tuple(shape), array.dtype)


def _checkpoint(
    folder: str, model: Model, tensors: dict[int, TensorSpec], files: _Folder, hosts: int
) -> Checkpoint:
    arrays: dict[str, ArraySpec] = {}
    file_groups = []
    framings = {}
    entries = model.tensors()
    for index, tensor in tensors.items():
        arrays |= tensor.arrays()
        pickled = [files.read[index, host] for host in range(hosts)]
        literals = [p.literals for p in pickled]
        file_groups.append(
            lay_out_tensor("", model.geometry, entries[index], tensor, hosts, literals)
        )
        canonical = pickle.frame(tensor.values, tensor.scales).literals
        if hosts == 1 and canonical != literals[0]:
            framings[tensor.name] = literals[0]
    named = {tensor.name: tensor for tensor in tensors.values()}
    return Checkpoint(
        folder,
        folder,
        ckpt0.NAME,
        model,
        named,
        Layout(arrays, tuple(file_groups)),
        framings=framings,
    )


def _with_home(checkpoint: Checkpoint, homes: list[str], found: Mapping[str, object]) -> Checkpoint:
    from dataclasses import replace

    home = next((h for h in homes if storage.exists(os.path.join(h, manifest_file.FILE))), homes[0])
    remembered = manifest_file.framings(manifest_file.load(home))
    own = {
        name: literals
        for name, literals in checkpoint.framings.items()
        if name not in remembered or not _is_plain(checkpoint.tensors[name], literals)
    }
    return replace(checkpoint, home=home, config=found, framings=remembered | own)


def _is_plain(tensor: TensorSpec, literals: tuple[bytes, ...]) -> bool:
    """Return whether grokpack itself makes this framing, where a tensor's own does not fit."""
    flags = pickle.bf16_flags([literals])
    return literals == pickle.frame(tensor.values, tensor.scales, flags).literals


READER = Reader(ckpt0.NAME, "`tensorNNNNN_000` files", is_store, survey, dense=True, by_tensor=True)
