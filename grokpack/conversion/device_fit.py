"""Fit of a model on devices: weights and key/value cache on each, in every format that serves it.

Engines that cut matrices give each device an equal slice of all but norms and routers; keys and
values are cut by whole heads, of which a device has at least one. llama.cpp gives each device
layers of its own, in runs as equal as its rounding makes them; it leaves the embedding in the
machine's memory and counts the output head as one layer more (src/llama-model.cpp).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.conversion.serving_formats import serving_formats
from grokpack.core.escaping import safe_operand, shell_command
from grokpack.models import config_json, partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.serving_formats import ServingFormat
    from grokpack.core.documents.fit_json import BestFitJson, DeviceLoadJson, FitJson, FormatFitJson
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.models.family import Model

    _ByCut = Counter[tuple[str, str]]
    """Bytes of what is cut in a way: experts or others; none, whole heads or all."""
    _ByLayer = list[Counter[str]]
    """Bytes of experts and others of each layer, and of the output after them."""

CONTEXT = 8192
_RESERVE = 10  # of a device, one part in so many is for activations and the program itself
_CACHE_ITEM = 2  # bytes: engines keep keys and values in 16 bits by default


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices that shall hold a model, and the work that they shall do.

    Attributes:
        count: How many.
        nbytes: Memory of each.
        context: Tokens of a sequence.
        batch: Sequences at a time.
    """

    count: int
    nbytes: int
    context: int = CONTEXT
    batch: int = 1

    @property
    def reserve(self) -> int:
        """Bytes of each that stay free for activations and the program itself."""
        return self.nbytes // _RESERVE

    @property
    def tokens(self) -> int:
        """Tokens whose keys and values are kept."""
        return self.context * self.batch


def fit(source: Checkpoint, devices: Devices) -> FitJson:
    """Return what each format takes on devices, and for each program the best that fits.

    Raises:
        GrokpackError: GP211 where the head size is unknown.
    """
    if source.geometry.head_dim is None:
        raise config_json.unknown_head_size(source.model.family)
    formats = _in_order([_format(source, form, devices) for form in serving_formats(source)])
    return {
        "devices": devices.count,
        "device_bytes": devices.nbytes,
        "reserve_bytes": devices.reserve,
        "context": devices.context,
        "batch": devices.batch,
        "cache_bytes": _cache_bytes(source.geometry, 1) * source.geometry.layers * devices.tokens,
        "formats": formats,
        "best": list(_best(formats)),
    }


def _in_order(formats: list[FormatFitJson]) -> list[FormatFitJson]:
    """Put the formats of a program together, the largest first."""
    programs = list(dict.fromkeys(row["program"] for row in formats))
    return sorted(formats, key=lambda row: (programs.index(row["program"]), -row["bytes"]))


def _format(source: Checkpoint, form: ServingFormat, devices: Devices) -> FormatFitJson:
    model = source.model
    sizes = {entry: form.tensor_bytes(entry) for entry in model.tensors()}
    head = sizes[model.tensor("embedding")] if form.copies_head else 0
    shared = _by_layer(model, sizes) if form.split == "layers" else _by_cut(sizes, head)
    return {
        "format": form.name,
        "program": form.program,
        "exact": form.exact,
        "split": form.split,
        "bytes": sum(sizes.values()) + head,
        "loads": list(_loads(source, form, shared, devices)),
    }


def _loads(
    source: Checkpoint, form: ServingFormat, shared: _ByCut | _ByLayer, devices: Devices
) -> Iterator[DeviceLoadJson]:
    """Yield the fullest device's load at each number of devices, from few to many."""
    geometry = source.geometry
    for width in _widths(geometry, form, devices.count):
        words = form.command(width) if form.command is not None else None
        if words == "":
            continue
        load = (
            _fullest(shared, geometry, width, devices)
            if isinstance(shared, list)
            else _slices(shared, geometry, width, devices)
        )
        yield {
            "width": width,
            "experts": load["experts"],
            "others": load["others"],
            "cache": load["cache"],
            "left": devices.nbytes - devices.reserve - load.total(),
            "command": None if words is None else _command(source.place, words),
        }


def _command(place: str, words: str) -> str | None:
    """Return the command line that writes a format; None if it could not be pasted."""
    verb, *rest = words.split()
    return shell_command("grokpack", verb, safe_operand(place), *rest)


def _widths(geometry: Geometry, form: ServingFormat, count: int) -> Iterable[int]:
    if form.split == "layers":
        return range(1, min(count, geometry.layers + 1) + 1)
    return [
        width
        for width in partition.legal_widths(geometry)
        if width <= count and form.ranks in (None, width)
    ]


def _by_cut(sizes: dict[ModelTensor, int], head: int) -> _ByCut:
    """Add up tensors by what they are and by how devices cut them."""
    found: _ByCut = Counter({("others", "all"): head})
    for entry, nbytes in sizes.items():
        heads = entry.rule.dims[-1] == "kv_width"
        cut = "none" if entry.rule.cut == "none" else "heads" if heads else "all"
        found[_kind(entry), cut] += nbytes
    return found


def _slices(held: _ByCut, geometry: Geometry, width: int, devices: Devices) -> Counter[str]:
    """Return what a device holds of matrices that are cut."""
    parts = {"none": 1, "heads": min(width, geometry.kv_heads or width), "all": width}
    load = Counter(cache=_cache_bytes(geometry, width) * geometry.layers * devices.tokens)
    for (kind, cut), nbytes in held.items():
        load[kind] += -(-nbytes // parts[cut])
    return load


def _by_layer(model: Model, sizes: dict[ModelTensor, int]) -> _ByLayer:
    """Add up the tensors of each layer, and after them those of the output."""
    layers = model.geometry.layers
    held = [Counter[str]() for _ in range(layers + 1)]
    for entry, nbytes in sizes.items():
        if entry.rule.part != "embedding" or model.family.tied:
            held[layers if entry.layer is None else entry.layer][_kind(entry)] += nbytes
    return held


def _fullest(held: _ByLayer, geometry: Geometry, width: int, devices: Devices) -> Counter[str]:
    """Return what the fullest device holds where each has layers of its own."""
    loads = [Counter[str]() for _ in range(width)]
    cache = _cache_bytes(geometry, 1) * devices.tokens
    for layer, weights in enumerate(held):
        load = loads[layer * width // len(held)]  # the output counts as a layer
        load.update(weights)
        load["cache"] += cache if layer < geometry.layers else 0
    return max(loads, key=Counter.total)


def _kind(entry: ModelTensor) -> str:
    return "experts" if entry.rule.stacked else "others"


def _cache_bytes(geometry: Geometry, width: int) -> int:
    """Return the bytes of a token's keys and values in one layer, on one of some devices."""
    heads = -(-(geometry.kv_heads or 0) // width)
    return 2 * heads * (geometry.head_dim or 0) * _CACHE_ITEM


def _best(formats: list[FormatFitJson]) -> Iterator[BestFitJson]:
    """Yield for each program the format that loses least of those that fit, at its widest."""
    ranked = sorted(formats, key=_loss)
    for program in dict.fromkeys(row["program"] for row in formats if row["program"]):
        fitting = (
            (row, load)
            for row in ranked
            if row["program"] == program
            for load in reversed(row["loads"])
            if load["left"] >= 0
        )
        found = next(fitting, None)
        if found is not None:
            row, load = found
            yield {
                "program": program,
                "format": row["format"],
                "width": load["width"],
                "command": load["command"],
            }


def _loss(row: FormatFitJson) -> tuple[bool, int]:
    """Return the order of preference: the smallest exact format, else the largest."""
    return (False, row["bytes"]) if row["exact"] else (True, -row["bytes"])
