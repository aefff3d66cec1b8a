"""State of each decoder layer, as a verification found it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint.checkpoint import array_slices
from grokpack.checkpoint.layouts import kind_files_layout
from grokpack.core.finding import only_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.verification_json import LayerStateJson
    from grokpack.verification.verify_structure import Verdict


def layers(verdict: Verdict) -> list[LayerStateJson]:
    """List for each layer its number, its expected tensors, and the names of those with errors.

    The list is empty if the model's dimensions are unknown. A finding about a file with several
    tensors names none of them, and belongs to no layer, but where the file is not read and every
    layer has its tensor of one kind there.
    """
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None:
        return []
    family = checkpoint.model.family
    bad: dict[int, list[str]] = {number: [] for number in range(checkpoint.geometry.layers)}
    for name in dict.fromkeys(_tensors(verdict, checkpoint)):
        number = family.layer_of(name)
        if number is not None and number in bad:
            bad[number].append(family.path_of(name))
    return [
        {"layer": number, "tensors": len(family.layer_rules), "bad": names}
        for number, names in bad.items()
    ]


def _tensors(verdict: Verdict, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the tensors that an error is about: named by the finding, or alone in its file."""
    files = {file.path: array_slices(file) for file in checkpoint.layout.files()}
    for finding in only_errors(verdict.findings):
        names = {name.removesuffix("/scales") for name in files.get(finding.file or "", ())}
        if finding.tensor:
            yield finding.tensor
        elif len(names) == 1:
            yield from names
        elif finding.file and finding.file not in files:
            yield from _of_kind(finding.file, checkpoint)


def _of_kind(path: str, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the tensors that a file of the release should hold, of each layer."""
    family = checkpoint.model.family
    rule = kind_files_layout.paths(family, checkpoint.ranks).get(path)
    if rule in family.layer_rules:
        for number in range(checkpoint.geometry.layers):
            yield family.name_of(rule, number)
