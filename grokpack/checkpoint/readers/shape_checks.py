"""Findings about tensors that do not fit their place in the model, and configs that differ."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.readers.packed_arrays import PARTS
from grokpack.core.finding import Finding
from grokpack.core.tensors import DType
from grokpack.models import config_json, hyperparameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.core.tensors import Shape
    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.models.family import Model

_FLOATS = (DType.BF16, DType.F16, DType.F32)


def contradictions(
    settings: Mapping[str, Any],
    model: Model,
    file: str = config_json.FILE,
    *,
    there: bool = True,
    head_size_known: bool = False,
) -> list[Finding]:
    """Return findings for values of a config that do not fit the model, or that it lacks.

    Args:
        settings: The config.
        model: The model by its shapes.
        file: The file that holds the config.
        there: Whether there is such a file.
        head_size_known: Whether the head size comes from elsewhere than the config.
    """
    texts = config_json.contradictions(settings, model)
    said, known = config_json.value(settings, model.family, "head_dim"), model.geometry.head_dim
    if head_size_known and said is not None and said != known:
        texts.append(f"the head size is another there than the {known} of the index")
    lacking = hyperparameters.lacking(settings, model)
    if not settings and lacking:
        state = f"{file} is empty" if there else f"there is no {config_json.FILE}"
        lacking = [f"{state}: the release's constants are taken"]
    return [
        *(Finding("GP130", text, file) for text in texts),
        *(Finding("GP131", text, file, severity="warning") for text in lacking),
        *(
            Finding("GP133", text, file, severity="warning")
            for text in (
                *hyperparameters.switched(settings, model.family),
                *config_json.misnamed(settings, model.family),
            )
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


def odd_dtypes(headers: Mapping[str, SafetensorsHeader]) -> list[Finding]:
    """Find files of a release with floats of another dtype than most: a release has one for all.

    Norms and routers are compared apart, and may be float32: in some copies matrices alone were
    rounded. Codes and their scales have dtypes of their own.
    """
    arrays = [
        (path, name, stored.spec.dtype, _is_precise(name))
        for path, header in headers.items()
        for name, stored in header.arrays.items()
        if stored.spec.dtype in _FLOATS and not name.endswith(PARTS)
    ]
    counts: dict[bool, Counter[DType]] = {False: Counter(), True: Counter()}
    for _, _, dtype, precise in arrays:
        counts[precise][dtype] += 1
    usual = {precise: own.most_common(1)[0][0] for precise, own in counts.items() if own}
    odd: dict[str, Finding] = {}
    for path, name, dtype, precise in arrays:
        if dtype is not usual[precise] and not (precise and dtype is DType.F32):
            odd.setdefault(path, other_dtype(usual[precise], dtype, name, path))
    return [*odd.values()]


def _is_precise(name: str) -> bool:
    """Return whether a tensor of a release's files is a norm or a router."""
    return "norm" in name or name.endswith(".gate.weight")
