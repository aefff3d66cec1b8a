"""Number of files or layers that there should be, from sources other than the files.

These are a manifest, a config, an index, or the release's dimensions, with which a model has the
release's layers. Without any of them, it is not known whether files are missing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.checkpoint import manifest_file, manifest_paths, manifest_records, unparsed_files
from grokpack.core.finding import Finding, of_kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Survey
    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.checkpoint.manifest_records import Records
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Model
    from grokpack.models.geometry_inference import Hints

RELEASE = "the release's dimensions"
UNKNOWN_RANKS = "GP123"
"""Code of the finding that the number of ranks is not known."""


def released_layers(model: Model | None, hints: Hints) -> int | None:
    """Return the layers of a model with the release's widths; None for others or with a config."""
    if model is None or hints.layers is not None:
        return None
    layers = model.family.release.layers
    return layers if model.sized(layers=layers).is_release else None


def layer_count_source(model: Model, hints: Hints) -> str | None:
    """Return what gives the number of layers, for people; None if nothing does."""
    if hints.layers is not None:
        return "the config"
    return RELEASE if released_layers(model, hints) else None


def other_layers(
    model: Model, hints: Hints, name_of: Callable[[ModelTensor], str]
) -> list[Finding]:
    """Return findings for layers that the release has and the model lacks, or the reverse.

    Args:
        model: The geometry with as many layers as were found.
        hints: Values of a config.
        name_of: Returns the name of a tensor in the files.
    """
    wanted, layers = released_layers(model, hints), model.geometry.layers
    if wanted is None:
        return []
    missing = [e for e in model.family.tensors(wanted) if (e.layer or 0) >= layers]
    extra = [e for e in model.tensors() if (e.layer or 0) >= wanted]
    findings = [Finding("GP101", "tensor is missing", None, name_of(entry)) for entry in missing]
    what = f"a model of the release's dimensions has {wanted} layers"
    return findings + [Finding("GP102", what, None, name_of(entry)) for entry in extra]


def against_manifest(found: Survey) -> Survey:
    """Add findings for files that the manifest beside them lists and that are missing.

    Raises:
        GrokpackError: GP209 if the manifest is broken.
    """
    files = found.checkpoint or unparsed_files.listed(found.folder)
    own = None if files is None else manifest_records.own(files)
    if files is None or own is None:
        return found
    known = {finding.file for finding in of_kinds(found.findings, "GP101")}
    missing = [finding for finding in listed(files, own) if finding.file not in known]
    count_source = found.count_source or (own.origin if own.files else None)
    return replace(
        found,
        findings=(*missing, *found.findings),
        expected=found.expected + len(missing),
        count_source=count_source,
    )


def listed(files: ComparedFiles, own: Records) -> list[Finding]:
    """Return findings for files that the manifest lists and that are missing."""
    prefix, what = (
        manifest_paths.below_home(files),
        f"file is missing; {manifest_file.FILE} lists it",
    )
    return [Finding("GP101", what, name.removeprefix(prefix)) for name in own.absent]
