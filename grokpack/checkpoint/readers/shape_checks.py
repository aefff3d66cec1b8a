"""Findings about tensors that do not fit their place in the model, and configs that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.core.finding import Finding
from grokpack.models import config_json, hyperparameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.core.tensors import DType, Shape
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.models.family import Model


def contradictions(
    settings: Mapping[str, Any],
    model: Model,
    file: str = config_json.FILE,
    *,
    head_size_known: bool = False,
) -> list[Finding]:
    """Return findings for values of a config that do not fit the model, or that it lacks.

    Args:
        settings: The config.
        model: The model by its shapes.
        file: The file that holds the config.
        head_size_known: Whether the head size comes from elsewhere than the config.
    """
    texts = config_json.contradictions(settings, model)
    said, known = config_json.value(settings, model.family, "head_dim"), model.geometry.head_dim
    if head_size_known and said is not None and said != known:
        texts.append(f"the head size is another there than the {known} of the index")
    lacking = hyperparameters.lacking(settings, model)
    if not settings and lacking:
        lacking = ["there is no config.json: the release's constants are taken"]
    return [
        *(Finding("GP130", text, file) for text in texts),
        *(Finding("GP131", text, file, severity="warning") for text in lacking),
        *(
            Finding("GP133", text, file, severity="warning")
            for text in hyperparameters.switched(settings, model.family)
        ),
        *(
            Finding("GP130", text, file, severity="warning")
            for text in hyperparameters.disagreeing(settings, model.family)
        ),
    ]


def misshapen(
    found: Iterable[tuple[ModelTensor, Shape, str]], geometry: Geometry
) -> Iterator[Finding]:
    """Yield findings for tensors of another shape than the model's.

    Args:
        found: Tensors with the shapes they have, and their names in the files.
        geometry: Of the model.
    """
    for entry, shape, name in found:
        if shape != geometry.shape(entry.rule):
            yield other_shape(geometry.shape(entry.rule), shape, name)


def other_shape(wanted: Shape, found: Shape, name: str, file: str | None = None) -> Finding:
    """Make the finding for a tensor of another shape."""
    what = "tensor has another shape than its place asks for"
    return Finding("GP105", what, file, name, str(wanted), str(found))


def other_dtype(wanted: DType | None, found: DType, name: str, file: str | None = None) -> Finding:
    """Make the finding for a tensor of another dtype; `wanted` is None where several will do."""
    what = "tensor has another dtype than its place asks for"
    return Finding("GP106", what, file, name, wanted and wanted.label, found.label)


def other_groups(wanted: str, found: Shape, name: str, file: str | None = None) -> Finding:
    """Make the finding for scales whose groups do not divide the tensor."""
    what = "scale groups do not fit the tensor"
    return Finding("GP107", what, file, name, wanted, str(found))
