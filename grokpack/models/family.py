"""A family of models as a table, and a model: a family at a geometry."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from grokpack.core.tensors import ArraySpec, DType, TensorSpec
from grokpack.models.architecture import GLOBAL_PARTS, PARTS, ModelTensor, TensorRule
from grokpack.models.config_keys import CONSTANT_KEYS, DIMENSION_KEYS
from grokpack.models.tokenizer_table import TokenizerTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from grokpack.models.architecture import Constants, Geometry, NetworkPart
    from grokpack.models.gguf_names import GgufNames
    from grokpack.models.tensor_names import Convention

Gelu = Literal["erf", "tanh"]
"""Forms of GELU: by the error function, or its approximation by tanh."""

OTHER_DIMENSIONS = " architecture"
"""Ending of a family's name for a model whose dimensions are not the release's."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Details of the computation that neither weights nor constants show.

    Attributes:
        gelu: Form of GELU in gated MLPs: the experts, and the dense one beside them.
        mix_factor: Factor of the sum of the dense MLP and the experts.
        masks_padding: True if attention masks the padding token wherever it stands.
    """

    gelu: Gelu = "tanh"
    mix_factor: float = 1.0
    masks_padding: bool = True


@dataclass(frozen=True, slots=True)
class ReleaseLayout:
    """Form in which a family is released.

    Attributes:
        format: Its format.
        weights: Dtype of weights; int8 ones have bfloat16 scales.
        others: Dtype of embeddings, norms and routers.
        stem: Beginning of the names of its files where each holds one kind of tensor, of all
            layers; empty where it has other files.
        ranks: Number of ranks that it is cut for; 1 where tensors are whole.
    """

    format: Literal["ckpt-0", "hf"]
    weights: DType
    others: DType
    stem: str = ""
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Publication:
    """The release of a family as its authors published it.

    Attributes:
        organization: Its authors.
        repository: On Hugging Face.
        license: The licence of the weights as Hugging Face has it: SPDX's name, or `other`.
        license_words: The same licence in words.
        license_name: Its name on Hugging Face where `license` is `other`.
        host: Where the repository that GGUF files name lies.
        download: Options of `hf download` that fetch the weights, and the folder for them.
    """

    organization: str
    repository: str
    license: str
    license_words: str
    license_name: str = ""
    host: str = "https://huggingface.co"
    download: str = ""

    @property
    def url(self) -> str:
        """Address of the repository."""
        return f"{self.host}/{self.repository}"

    @property
    def spdx(self) -> str:
        """The licence as an SPDX identifier."""
        named = self.license_name
        return f"LicenseRef-{named}" if named else self.license.capitalize()


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A model architecture: its tensors, their order in files, and their names elsewhere.

    Attributes:
        name: Its name, `grok-1`.
        paths: Its own name of each tensor by part, in the order of the files; those of a layer come
            after the others, and their names below the layer's prefix.
        layer_prefix: Beginning of the names of a layer's tensors, with `{layer}`.
        release: Dimensions of the released model.
        release_layout: How its release lies in files.
        publication: Where it was published, and under which licence.
        network: The computation.
        constants: The reference's constants for a model of some dimensions.
        hyperparameters: Keys in configs of each constant that it has; its own comes first.
        dimensions: Keys in configs of each dimension, likewise.
        conventions: Names of the tensors in safetensors folders, by convention.
        code: Files of `grokpack/conversion/model_code` that run such a folder in transformers.
        gguf: Keys and names of GGUF files; None where llama.cpp has no such architecture.
        tokenizer: Its tokenizer.
        config: config.json of its release; empty where it has none.
        marks: Entries of a config.json that tell this family from others.
        switches: Entries of a config.json without which it asks for another network, each with the
            values that do not.
        sglang_options: Options with which SGLang's server runs it.
        layer_order: The layers in the order of the files.
    """

    name: str
    paths: Mapping[NetworkPart, str]
    layer_prefix: str
    release: Geometry
    release_layout: ReleaseLayout
    publication: Publication
    network: Architecture
    constants: Callable[[Geometry], Constants]
    hyperparameters: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CONSTANT_KEYS)
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: DIMENSION_KEYS)
    conventions: Mapping[str, Convention] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    gguf: GgufNames | None = None
    tokenizer: TokenizerTable = field(default_factory=TokenizerTable)
    config: Mapping[str, Any] = field(default_factory=dict)
    marks: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    sglang_options: str = "--trust-remote-code"
    layer_order: Callable[[int], Sequence[int]] = range

    @property
    def title(self) -> str:
        """Its name for people, `Grok-1`."""
        return self.name.capitalize()

    @property
    def global_rules(self) -> tuple[TensorRule, ...]:
        """Tensors before the layers, in the order of the files."""
        return _rules(self)[0]

    @property
    def layer_rules(self) -> tuple[TensorRule, ...]:
        """Tensors of a layer, in the order of the files."""
        return _rules(self)[1]

    @property
    def rules(self) -> tuple[TensorRule, ...]:
        """Every kind of tensor, in the order of the files."""
        return (*self.global_rules, *self.layer_rules)

    @property
    def tied(self) -> bool:
        """True if the embedding is the output head as well."""
        return "head" not in self.paths

    @property
    def merged(self) -> Convention | None:
        """Names of the release's arrays, a matrix each, where it is a Hugging Face folder.

        Such a release's chunked stores hold these arrays; those of others, the family's tensors.
        """
        if self.release_layout.format != "hf":
            return None
        return next(iter(self.conventions.values()), None)

    def find(self, part: NetworkPart) -> TensorRule | None:
        """Return the rule of a part; None if the family lacks it."""
        return next((rule for rule in self.rules if rule.part == part), None)

    def rule(self, part: NetworkPart) -> TensorRule:
        """Return the rule of a part that the family has.

        Raises:
            LookupError: It has none.
        """
        found = self.find(part)
        if found is None:
            message = f"{self.title} has no {part}"
            raise LookupError(message)
        return found

    def name_of(self, rule: TensorRule, layer: int | None) -> str:
        """Return the name of a tensor."""
        return rule.path if layer is None else self.layer_prefix.format(layer=layer) + rule.path

    def layer_of(self, name: str) -> int | None:
        """Return the decoder layer that a name belongs to; None for a tensor of no layer."""
        match = _layer_pattern(self.layer_prefix).match(name)
        return int(match[1]) if match else None

    def path_of(self, name: str) -> str:
        """Return a name without the prefix of its layer."""
        match = _layer_pattern(self.layer_prefix).match(name)
        return name[match.end() :] if match else name

    def located(self, path: str) -> str | None:
        """Return the tensor's name within a longer path; None if there is none."""
        match = _name_pattern(self).fullmatch(path)
        return match[1] if match else None

    def rule_of(self, name: str) -> TensorRule:
        """Return the kind of tensor that a name of the model means.

        Raises:
            LookupError: The family has no such tensor.
        """
        path, rules = self.path_of(name), self.global_rules
        if path != name:
            rules = self.layer_rules
        for rule in rules:
            if rule.path == path:
                return rule
        raise LookupError(name)

    def layers_of(self, tensors: int) -> int:
        """Return the layers of a model with this many tensors, rounded up if some are missing."""
        return max(0, -(-(tensors - len(self.global_rules)) // len(self.layer_rules)))

    def tensors(self, layers: int) -> tuple[ModelTensor, ...]:
        """Return every tensor in file order; entry `i` is the one in `tensor{i:05d}_000`."""
        return _tensors(self, layers)


@lru_cache(maxsize=64)
def _rules(family: Family) -> tuple[tuple[TensorRule, ...], tuple[TensorRule, ...]]:
    """Return the rules of no layer, and those of each layer."""
    titles = {part: facts.title for part, facts in PARTS.items()}
    if family.tied:
        titles["embedding"] += ", tied output head"
    rules = [TensorRule(path, part, titles[part]) for part, path in family.paths.items()]
    return (
        tuple(rule for rule in rules if rule.part in GLOBAL_PARTS),
        tuple(rule for rule in rules if rule.part not in GLOBAL_PARTS),
    )


@lru_cache(maxsize=64)
def _layer_pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\{layer\}", r"(\d+)"))


@lru_cache(maxsize=64)
def _name_pattern(family: Family) -> re.Pattern[str]:
    layer = re.escape(family.layer_prefix).replace(r"\{layer\}", r"\d{1,4}")
    beginnings = [layer, *(re.escape(rule.path) for rule in family.global_rules)]
    return re.compile(rf"(?:.*/)?((?:{'|'.join(beginnings)}).*)")


@lru_cache(maxsize=64)
def _tensors(family: Family, layers: int) -> tuple[ModelTensor, ...]:
    places = [(None, rule) for rule in family.global_rules] + [
        (layer, rule) for layer in family.layer_order(layers) for rule in family.layer_rules
    ]
    table = family.gguf
    return tuple(
        ModelTensor(
            index,
            layer,
            rule,
            family.name_of(rule, layer),
            table.name_of(rule.part, layer) if table else "",
        )
        for index, (layer, rule) in enumerate(places)
    )


@lru_cache(maxsize=64)
def _by_name(family: Family, layers: int) -> dict[str, ModelTensor]:
    return {entry.name: entry for entry in _tensors(family, layers)}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameter counts, scales left out."""

    total: int
    active: int
    by_role: dict[str, int]


@dataclass(frozen=True, slots=True)
class Model:
    """A family at a geometry: the model of a checkpoint.

    Attributes:
        family: Its tensors and names.
        geometry: Its dimensions.
    """

    family: Family
    geometry: Geometry

    def sized(self, **dimensions: Any) -> Model:  # noqa: ANN401  # fields of a geometry
        """Return the model with other dimensions."""
        return replace(self, geometry=replace(self.geometry, **dimensions))

    def tensors(self) -> tuple[ModelTensor, ...]:
        """Return every tensor in file order."""
        return self.family.tensors(self.geometry.layers)

    def network_order(self) -> list[ModelTensor]:
        """Return every tensor in the order of the network: embedding, layers, the rest."""

        def place(entry: ModelTensor) -> tuple[int, int, int]:
            if entry.layer is None:
                return (0 if entry.rule.part == "embedding" else 2), 0, entry.index
            return 1, entry.layer, entry.index

        return sorted(self.tensors(), key=place)

    def tensor(self, part: NetworkPart, layer: int | None = None) -> ModelTensor:
        """Return the tensor of a part, and of a layer if it belongs to one.

        Raises:
            LookupError: The family has no such part.
        """
        return self.by_name()[self.family.name_of(self.family.rule(part), layer)]

    def by_name(self) -> Mapping[str, ModelTensor]:
        """Return every tensor by name, in file order."""
        return _by_name(self.family, self.geometry.layers)

    def spec(self, entry: ModelTensor) -> TensorSpec:
        """Return shape and dtype of a tensor as released, with the geometry's scale groups."""
        shape, layout = self.geometry.shape(entry.rule), self.family.release_layout
        if not entry.rule.quantized:
            return TensorSpec(entry.name, ArraySpec(shape, layout.others))
        values = ArraySpec(shape, layout.weights)
        if layout.weights is not DType.I8:
            return TensorSpec(entry.name, values)
        rows = (self.geometry.scale_groups or shape[-2]) if entry.rule.cut == "rows" else 1
        return TensorSpec(entry.name, values, ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16))

    def specs(self) -> Iterator[TensorSpec]:
        """Yield every tensor as the release stores it, in file order."""
        return (self.spec(entry) for entry in self.tensors())

    @property
    def is_release(self) -> bool:
        """True if the dimensions are exactly those of the released model."""
        release = self.family.release
        assumed = {"head_dim": release.head_dim, "scale_groups": release.scale_groups}
        return self.sized(**assumed).geometry == release

    @property
    def title(self) -> str:
        """The family's name: of the release, or of a model of other dimensions."""
        return self.family.name if self.is_release else self.family.name + OTHER_DIMENSIONS

    @property
    def selected_experts(self) -> int:
        """Experts that work on each token in the reference."""
        return min(self.family.constants(self.geometry).selected_experts, self.geometry.experts)

    def parameters(self) -> Parameters:
        """Count parameters in all, by role, and those that work on one token."""
        by_role: dict[str, int] = {}
        for tensor, entry in zip(self.specs(), self.tensors(), strict=True):
            role = entry.rule.role
            by_role[role] = by_role.get(role, 0) + tensor.values.elements
        total = sum(by_role.values())
        experts = by_role.get("expert", 0)
        used = experts * self.selected_experts // self.geometry.experts
        return Parameters(total, total - experts + used, by_role)
