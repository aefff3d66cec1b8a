"""State of each decoder layer, as a verification found it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint.checkpoint import array_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.verification_json import LayerStateJson
    from grokpack.verification.verify_structure import Verdict


def layers(verdict: Verdict) -> list[LayerStateJson]:
    """List for each layer its number, its expected tensors, and the names of those with errors.

    The list is empty if the model's dimensions are unknown. A finding about a file with several
    tensors names none of them, and belongs to no layer.
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
    files = {file.path: array_parts(file) for file in checkpoint.layout.files()}
    for finding in verdict.findings:
        names = {name.removesuffix("/scales") for name in files.get(finding.file or "", ())}
        if finding.severity == "error" and finding.tensor:
            yield finding.tensor
        elif finding.severity == "error" and len(names) == 1:
            yield from names
