"""Registry of the families that grokpack knows, and the choice of a checkpoint's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.models import tensor_names
from grokpack.models.family import OTHER_DIMENSIONS
from grokpack.models.grok1 import GROK1
from grokpack.models.grok2 import GROK2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from grokpack.models.family import Family
    from grokpack.models.gguf_names import GgufNames
    from grokpack.models.tensor_names import Convention

FAMILIES: dict[str, Family] = {family.name: family for family in (GROK1, GROK2)}
"""Families by name. The first is the default of a checkpoint that does not name its own."""

UNKNOWN = GROK1.name + OTHER_DIMENSIONS
"""Name for the model of a checkpoint whose dimensions are not known."""


def downloads(family: Family | None = None) -> str:
    """Return the command that fetches a family's release, or that of each, a line for each."""
    families = FAMILIES.values() if family is None else (family,)
    published = [family.publication for family in families]
    return "\n".join(f"hf download {own.repository} {own.download}".rstrip() for own in published)


def repositories() -> list[str]:
    """Return the hub's repository of each family's release."""
    return [family.publication.repository for family in FAMILIES.values()]


def by_config(config: Mapping[str, Any]) -> Family:
    """Choose the family that most entries of config.json mark, by default the first.

    Args:
        config: A config, or nothing.
    """
    return max(FAMILIES.values(), key=lambda family: _marked(family, config))


def by_paths(names: Collection[str]) -> Family:
    """Choose the family whose own names of tensors explain the most of these.

    Args:
        names: Names of arrays; folders may precede a tensor's name, and endings follow it.
    """
    return max(FAMILIES.values(), key=lambda family: sum(_has(family, name) for name in names))


def gguf_architectures() -> list[str]:
    """Return llama.cpp's names of the architectures that are read."""
    tables = (family.gguf for family in FAMILIES.values())
    return list(dict.fromkeys(table.architecture for table in tables if table is not None))


def by_gguf_names(architecture: str, names: Iterable[str]) -> tuple[Family, GgufNames]:
    """Choose the family whose names in llama.cpp explain the most of these.

    Args:
        architecture: One of `gguf_architectures`.
        names: Names of tensors.

    Returns:
        The family, with its table.
    """
    kinds = {_below_layer(name) for name in names}
    known = [
        (family, family.gguf)
        for family in FAMILIES.values()
        if family.gguf is not None and family.gguf.architecture == architecture
    ]
    return max(known, key=lambda pair: len(kinds & {*_llama_names(*pair)}))


def by_convention(
    names: Collection[str], config: Mapping[str, Any]
) -> tuple[Family, Convention] | None:
    """Choose the family and convention that explain the most names, and more than half.

    Of families that explain as many, it is the one that most entries of config.json mark: without
    some of its files, a model may look like one of another family.

    Args:
        names: Names of tensors in safetensors files.
        config: A config, or nothing.

    Returns:
        Both, or None if no convention does.
    """
    listed = [name for name in names if not tensor_names.is_buffer(name)]
    forms = tensor_names.forms(listed)
    votes = [(tensor_names.explained(own, forms), family, own) for family, own in conventions()]
    count, family, convention = max(votes, key=lambda vote: (vote[0], _marked(vote[1], config)))
    return (family, convention) if 2 * count > len(listed) else None


def conventions() -> Iterator[tuple[Family, Convention]]:
    """Yield every family with each of its conventions."""
    return (
        (family, convention)
        for family in FAMILIES.values()
        for convention in family.conventions.values()
    )


def name_roots() -> list[str]:
    """Return the first words of the families' own names of tensors: `transformer`."""
    named = (
        name
        for family in FAMILIES.values()
        for name in (family.layer_prefix, *(rule.path for rule in family.global_rules))
    )
    return list(dict.fromkeys(name.partition("/")[0] for name in named))


def convention_names() -> list[str]:
    """Return the names that `--names` takes."""
    return list(dict.fromkeys(convention.name for _, convention in conventions()))


def _marked(family: Family, config: Mapping[str, Any]) -> int:
    """Return the number of entries that mark the family; -1 if the config lacks one of them."""
    fits = all(config.get(key) == value for key, value in family.marks.items())
    return len(family.marks) if fits else -1


def _has(family: Family, name: str) -> bool:
    """Return whether a name, perhaps below a folder, begins with that of a tensor."""
    located = family.located(name)
    if located is None:
        return False
    path = family.path_of(located)
    rules = family.global_rules if path == located else family.layer_rules
    return any(path.startswith(rule.path) for rule in rules)


def _llama_names(family: Family, table: GgufNames) -> Iterator[str]:
    """Yield llama.cpp's names of a family's tensors, and of a head that is a copy."""
    yield table.head
    for part in family.paths:
        yield table.tensors.get(part, "")


def _below_layer(name: str) -> str:
    """Return llama.cpp's name without `blk.N.`."""
    return name.split(".", 2)[-1] if name.startswith("blk.") else name
