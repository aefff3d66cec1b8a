"""Settings of packed weights, from every place where tools write them.

Tools keep settings in different places. transformers and vLLM read `quantization_config` of
config.json; AutoGPTQ and GPTQModel write quantize_config.json, AutoAWQ quant_config.json, ModelOpt
hf_quant_config.json; the first AutoGPTQ wrote `gptq_...` into the headers; compressed-tensors once
used `compression_config`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.readers import fp8_weights
from grokpack.checkpoint.readers.packed_arrays import is_awq
from grokpack.core.errors import GrokpackError, MalformedInput, Place, UnsupportedLayout
from grokpack.core.tensors import DType
from grokpack.formats import bounded_json
from grokpack.models import config_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.checkpoint.readers.packed_weights import PackedWeight
    from grokpack.core.tensors import ArraySpec

FILES = (
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "hf_quant_config.json",
)
_IN_CONFIG = ("quantization_config", "compression_config")
_IN_HEADERS = "gptq_"
_KEYS = {  # a setting, and its keys in one place or another
    "method": ("quant_method",),
    "bits": ("bits", "w_bit"),
    "group_size": ("group_size", "q_group_size"),
    "desc_act": ("desc_act",),
    "sym": ("sym",),
    "format": ("checkpoint_format", "format"),
    "block": ("weight_block_size",),
}
_NUMBERS, _SWITCHES = ("bits", "group_size"), ("desc_act", "sym")
_TELLING = {"q_group_size": "awq", "quant_algo": "modelopt"}
"""Keys that only one method's settings have."""
_ENDINGS = {  # of arrays that other packings have
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".quant_state": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".lora_A.weight": "an adapter (LoRA) that is not merged",
    ".lora_B.weight": "an adapter (LoRA) that is not merged",
    ".W_q": "HQQ",
    ".q_weight": "EXL2",
    ".q_invperm": "EXL2",
    ".trellis": "EXL3",
    ".codebooks": "AQLM",
    ".Qidxs": "QuIP#",
    ".biases": "MLX",
}
_AWQ, _FP4, _MODELOPT = ".qweight of AWQ", ".weight_packed in FP4", ".weight in FP4"
_FP8 = ".weight in FP8"
_METHODS = {  # by the ending of the arrays of codes, and their form: the methods that use it
    ".qweight": ("gptq",),
    _AWQ: ("awq",),
    ".weight_packed": ("compressed-tensors",),
    _FP4: ("compressed-tensors",),
    ".weight": ("w8a8_int8", "compressed-tensors"),
    _MODELOPT: ("modelopt",),
    _FP8: ("fp8", "compressed-tensors", "modelopt"),
}
_CODES = {
    DType.I8: ".weight",
    DType.U8: _MODELOPT,
    **dict.fromkeys(fp8_weights.CODES, _FP8),
}  # dtypes of codes whose arrays are `.weight`
_ALIASES = {"modelopt_fp4": "modelopt", "modelopt_fp8": "modelopt"}
"""Methods as engines call them, and as the tools that wrote the folders do."""
_FORMATS = {  # by method
    "gptq": ("gptq",),
    "awq": ("gemm",),
    "compressed-tensors": (
        *("pack-quantized", "int-quantized", "float-quantized", "naive-quantized"),
        *("mxfp4-pack-quantized", "nvfp4-pack-quantized", "mixed-precision"),
    ),
}
_ORDERED = ("group", "dynamic", "true")
HINT = "take a copy in bfloat16 or float16, or quantize the release: `grokpack quantize`"
"""Advice about a packing that is not read."""


@dataclass(frozen=True, slots=True)
class PackingSettings:
    """Settings of packed weights, from all places together.

    Attributes:
        said: Place and value of each setting.
        groups: Settings of compressed-tensors for each group of weights, with their place.
        uniform: True if one bit width and one group size hold for all weights.
    """

    said: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    groups: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    uniform: bool = True

    def value(self, key: str) -> Any:  # noqa: ANN401  # a number, a switch or a name
        """Return a setting; None if no place has it."""
        return self.said.get(key, ("", None))[1]

    @property
    def symmetric(self) -> bool:
        """True if stored zero points must all be in the middle; GPTQ always stores them."""
        sym = self.value("sym")
        return bool(sym) or (sym is None and self.value("method") == "gptq")

    @property
    def block(self) -> tuple[int, int] | None:
        """Outputs and inputs of a block of FP8; None if no place has them."""
        found: tuple[int, int] | None = self.value("block")
        for place, own in self.groups:
            if found is None and own.get("block_structure"):
                found = _sizes(own["block_structure"], "block_structure", place)
        return found

    def refuse_other_shapes(self, weights: Mapping[str, PackedWeight]) -> None:
        """Check bit width and groups against the arrays.

        Raises:
            GrokpackError: GP234 if they contradict each other.
        """
        for name, weight in weights.items():
            if weight.zeros_view is None and self._zeros_missing():
                place, _ = self.groups[0]
                raise _contradiction(place, "symmetric is false", name, "no zero points stored")
            inputs, groups = weight.inputs, weight.groups
            for place, bits, size in self._shapes():
                fewer = weight.codes.dtype is DType.I8 and bits is not None and bits < weight.bits
                if bits is not None and bits != weight.bits and not fewer:
                    raise _contradiction(place, f"bits {bits}", name, f"bits {weight.bits}")
                fits = groups == 1 if size < 0 or size >= inputs else groups * size == inputs
                if size and not fits:
                    shown = f"{groups} groups of {inputs} inputs"
                    raise _contradiction(place, f"group_size {size}", name, shown)

    def _zeros_missing(self) -> bool:
        return bool(self.groups) and all(own.get("symmetric") is False for _, own in self.groups)

    def _shapes(self) -> Iterator[tuple[str, int | None, int]]:
        """Yield bit width and group size, where uniform; 0 for a size that is not set."""
        if not self.uniform:
            return
        if len(self.groups) == 1:
            ((place, own),) = self.groups
            size = own.get("group_size")
            size = -1 if own.get("strategy") in ("channel", "tensor") else size
            yield (
                place,
                _number(own.get("num_bits"), "num_bits", place),
                _number(size, "group_size", place) or 0,
            )
        for key in ("bits", "group_size"):
            if key in self.said:
                place, value = self.said[key]
                yield (place, value, 0) if key == "bits" else (place, None, value)


def read(
    folder: str,
    settings: Mapping[str, Any],
    metadata: Mapping[str, Mapping[str, str]],
    arrays: Mapping[str, ArraySpec],
) -> PackingSettings:
    """Read the settings of the packed weights of a folder.

    Args:
        folder: The folder.
        settings: Its config.json.
        metadata: The strings in each file's header.
        arrays: The folder's arrays.

    Raises:
        GrokpackError: GP208 for a packing that is not read, GP234 if places contradict each other,
            GP209 for an invalid setting.
    """
    _refuse_packings(folder, arrays)
    held = _held(arrays)
    if not held:
        return PackingSettings()
    said: dict[str, tuple[str, Any]] = {}
    groups: list[tuple[str, Mapping[str, Any]]] = []
    uniform = True
    for place, document in _places(folder, settings, metadata):
        uniform &= not document.get("dynamic")
        own = _weight_groups(document)
        groups += [(place, group) for group in own]
        _refuse_rotation(folder, place, document)
        for key, value in _settings(place, document).items():
            earlier = said.setdefault(key, (place, value))
            if earlier[1] != value:
                raise _disagreement(folder, key, earlier, (place, value))
    scheme = PackingSettings(said, tuple(groups), uniform)
    _refuse_methods(folder, scheme, held)
    _refuse_groups(folder, scheme, arrays, _types(held))
    return scheme


def _places(
    folder: str, settings: Mapping[str, Any], metadata: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each place with settings, and its contents."""
    nested = settings.get("text_config")
    for within in (settings, nested if isinstance(nested, dict) else {}):
        for key in _IN_CONFIG:
            if within.get(key) is not None:
                yield _object(f"{config_json.FILE}: {key}", within[key])
    for name in FILES:
        path = os.path.join(folder, name)
        if storage.exists(path):
            document = _object(name, storage.read_json(path))[1]
            inner = document.get("quantization")
            yield name, inner if isinstance(inner, dict) else document
    for file, strings in metadata.items():
        yield from _in_header(f"header of {file}", strings)


def _in_header(place: str, strings: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    own = {k.removeprefix(_IN_HEADERS): v for k, v in strings.items() if k.startswith(_IN_HEADERS)}
    if own:
        yield place, own
    if "quantization_config" in strings:
        text = strings["quantization_config"].encode("utf-8", "surrogatepass")
        yield _object(place, bounded_json.parse(text, Place(place)))


def _object(place: str, value: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(value, dict):
        raise _no_setting(place, "it is no JSON object")
    return place, value


def _settings(place: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one place, under grokpack's names and types."""
    found: dict[str, Any] = {}
    for setting, keys in _KEYS.items():
        key = next((key for key in keys if document.get(key) is not None), None)
        if key is not None:
            found[setting] = _typed(setting, document[key], key, place)
    if str(document.get("is_marlin_format")).lower() == "true":
        found["format"] = "marlin"
    for key, method in _TELLING.items():
        if key in document:
            found.setdefault("method", method)
    if found.get("method") == "awq" and "version" in document:
        found["format"] = _typed("format", document["version"], "version", place)
    return found


def _typed(setting: str, value: object, key: str, place: str) -> object:
    if setting in _NUMBERS:
        return _number(value, key, place)
    if setting == "block":
        return _sizes(value, key, place)
    if setting in _SWITCHES:
        switch = {"true": True, "false": False}.get(str(value).lower())
        if switch is None:
            raise _no_setting(place, f"{key} is neither true nor false")
        return switch
    if not isinstance(value, str):
        raise _no_setting(place, f"{key} is no name")
    name = value.lower()
    return _ALIASES.get(name, name) if setting == "method" else name


def _sizes(value: object, key: str, place: str) -> tuple[int, int]:
    """Return outputs and inputs of a block: `[128, 128]`, or `128x128`."""
    if isinstance(value, str):
        value = [int(n) if n.isdecimal() and len(n) < 9 else n for n in value.lower().split("x")]  # noqa: PLR2004  # digits of any real one
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and n > 0 for n in value):  # noqa: PLR2004  # axes
        return value[0], value[1]
    raise _no_setting(place, f"{key} is no pair of sizes")


def _number(value: object, key: str, place: str) -> int | None:
    if value is None or type(value) is int:
        return value
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 9:  # noqa: PLR2004  # digits of any real one
        return int(value)
    raise _no_setting(place, f"{key} is no whole number")


def _weight_groups(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return compressed-tensors' settings of the weights of each group."""
    groups = document.get("config_groups")
    rows = groups.values() if isinstance(groups, dict) else ()
    found = [row.get("weights") for row in rows if isinstance(row, dict)]
    return [own for own in found if isinstance(own, dict)]


def _held(arrays: Mapping[str, ArraySpec]) -> set[str]:
    """Return the forms of codes that the arrays hold, as `_METHODS` names them."""
    found = set()
    for name, spec in arrays.items():
        if name.endswith(".qweight"):
            found.add(_AWQ if is_awq(arrays, name.removesuffix(".qweight")) else ".qweight")
        elif name.endswith(".weight_packed"):
            found.add(".weight_packed" if spec.dtype is DType.I32 else _FP4)
        elif name.endswith(".weight") and spec.dtype in _CODES:
            found.add(_CODES[spec.dtype])
    return found


def _types(held: set[str]) -> tuple[str, ...]:
    """Return the types of weights that compressed-tensors may name for these forms of codes."""
    own = {"float": held & {_FP4, _MODELOPT, _FP8}, "int": held - {_FP4, _MODELOPT}}
    return tuple(name for name, forms in own.items() if forms)


def _refuse_packings(folder: str, arrays: Iterable[str]) -> None:
    for name in arrays:
        for ending, packing in _ENDINGS.items():
            if name.endswith(ending) or f"{ending}." in name:
                what = f"the weights are those of {packing}, which is not read"
                raise UnsupportedLayout(what, Place(folder, tensor=name), hint=HINT)


def _refuse_methods(folder: str, scheme: PackingSettings, held: set[str]) -> None:
    method, form = scheme.value("method"), scheme.value("format")
    allowed = {name for ending in held for name in _METHODS[ending]}
    if method is not None and method not in allowed:
        place, _ = scheme.said["method"]
        known = {name for names in _METHODS.values() for name in names}
        if method in known:
            raise _contradiction(place, f"quant_method {method}", folder, f"{', '.join(held)}")
        what = f"weights that are packed by `{method[:40]}` are not read"
        raise UnsupportedLayout(what, Place(folder), ((place, f"quant_method {method}"),), HINT)
    usual = "gptq" if ".qweight" in held else "awq" if _AWQ in held else "compressed-tensors"
    known_forms = _FORMATS.get(method or usual)
    if form is not None and known_forms is not None and form not in known_forms:
        place, _ = scheme.said["format"]
        what = f"weights that are packed as `{form[:40]}` are not read"
        if form == "gptq_v2":
            what = "GPTQ weights are read in the first form only, whose zero points are less one"
        raise UnsupportedLayout(what, Place(folder), ((place, f"format {form}"),), HINT)


def _refuse_rotation(folder: str, place: str, document: Mapping[str, Any]) -> None:
    """Refuse weights that were rotated for their quantization: engines rotate activations back."""
    if document.get("transform_config"):
        what = "weights that were rotated for quantization are not read"
        raise UnsupportedLayout(what, Place(folder), ((place, "transform_config"),), HINT)


def _refuse_groups(
    folder: str, scheme: PackingSettings, arrays: Mapping[str, ArraySpec], types: tuple[str, ...]
) -> None:
    """Refuse settings of compressed-tensors that grokpack does not read."""
    ordered = any(name.endswith(".weight_g_idx") for name in arrays)
    for place, own in scheme.groups:
        if own.get("type", "int") not in types:
            what = f"weights of the type {str(own['type'])[:20]} are not read"
            raise UnsupportedLayout(what, Place(folder), ((place, "type"),), HINT)
        order = str(own.get("actorder")).lower()
        if order in _ORDERED and not ordered:
            what = "weights in act-order (actorder) are not read without their weight_g_idx"
            facts = ((place, f"actorder {order}"),)
            raise UnsupportedLayout(what, Place(folder), facts, HINT)


def _disagreement(
    folder: str, key: str, one: tuple[str, object], other: tuple[str, object]
) -> GrokpackError:
    facts = tuple((place, f"{key} {value}") for place, value in (one, other))
    what = f"the settings of the packed weights contradict each other in {key}"
    hint = "correct or remove the one that is wrong"
    return GrokpackError("GP234", what, Place(folder), facts, hint)


def _contradiction(place: str, said: str, name: str, shown: str) -> GrokpackError:
    what = "the settings of the packed weights are not those of the arrays"
    facts = ((place, said), (name, shown))
    return GrokpackError("GP234", what, None, facts, f"correct or remove {place}")


def _no_setting(place: str, why: str) -> GrokpackError:
    return MalformedInput(f"the settings of packed weights are broken: {why}", Place(place))
