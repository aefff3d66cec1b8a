"""Places that cannot take a plan's output, refused before anything is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError, Place, WriteFailed

if TYPE_CHECKING:
    from grokpack.execution.output import Output
    from grokpack.execution.run_options import RunOptions
    from grokpack.planning.plan import Plan
    from grokpack.planning.target import Target


def refuse_place(plan: Plan, out: str, limits: RunOptions) -> None:
    """Refuse a place that takes no outputs, or not this one, and choices that it does not have.

    Raises:
        GrokpackError: GP326 for a place, GP304 for a choice.
    """
    found: tuple[str, str] | None = None
    if storage.is_repository(out):
        found = _unlike_repository(out)
        found = found or _unlike(plan.target, "a repository", storage.MOST_LFS_BYTES)
    elif limits.keep_local or limits.private:
        option = "--keep-local" if limits.keep_local else "--private"
        hint = "leave it out, or publish to `-o hf://OWNER/NAME`"
        raise GrokpackError("GP304", f"{option} is about a repository of the hub", hint=hint)
    elif storage.is_bucket(out):
        found = _unlike(plan.target, "a bucket", storage.MOST_OBJECT_BYTES)
    elif storage.is_url(out):
        what = "outputs are written to folders, buckets and repositories of the hub only"
        found = what, "s3://, gs://, hf://OWNER/NAME or a folder"
    if found is not None:
        raise GrokpackError("GP326", found[0], Place(out), hint=found[1])


def _unlike_repository(out: str) -> tuple[str, str] | None:
    """Return what is wrong with a path in a repository, and what to do."""
    root = storage.repository_root(out)
    if root == storage.absolute(out):
        return None
    return "an output is a whole repository, and no folder of one", f"use `-o {root}`"


def _unlike(target: Target, place: str, most_bytes: int) -> tuple[str, str] | None:
    """Return why a place cannot take files, and what to do."""
    largest = max((file.nbytes for file in target.layout.files()), default=0)
    if target.single:
        return f"one file is too much for {place}", "use `--split 40GB` to write several"
    if target.fixed_path is not None:
        return "a view lies on a disk: it points at files", "use a local `--out`"
    if target.sparse:
        return f"{place} keeps no holes", "synthesize without `--sparse`, or to a folder"
    if largest > most_bytes:
        what = f"a file of {byte_size(largest)} is more than {place} takes in one"
        return what, f"cut it into files of at most {byte_size(most_bytes)}, or wider"
    return None


def refuse_overlap(plan: Plan, out: str, disk: str | None) -> None:
    """Refuse an output inside the source, or around it.

    Args:
        plan: The plan.
        out: The output.
        disk: Folder in which the files of an output at a URL are made, if there is one.
    """
    if plan.source is None:
        return
    for place in (out, disk) if disk is not None and storage.is_url(out) else (out,):
        _refuse_overlap(plan.source.folder, place, owns=plan.source.owns_folder)


def _refuse_overlap(source: str, place: str, *, owns: bool) -> None:
    if storage.is_url(source) != storage.is_url(place):
        return
    real = storage.absolute if storage.is_url(place) else os.path.realpath
    origin, target = f"{real(source)}/", f"{real(place)}/"
    if origin.startswith(target) or (target.startswith(origin) and owns):
        raise GrokpackError(
            "GP325",
            "output and source overlap",
            Place(place),
            hint="use an `--out` beside the source",
        )


def refuse_other_path(plan: Plan, out: str) -> None:
    """Refuse to write an index anywhere but where its relative paths are right."""
    fixed = plan.target.fixed_path
    if fixed is not None and os.path.realpath(fixed) != os.path.realpath(out):
        what = "the plan was made for another folder"
        raise GrokpackError("GP304", what, Place(out), (("planned for", fixed),))


def refuse_file(output: Output, disk: str) -> None:
    """Refuse a folder whose name, or that of a folder above it, is that of a file."""
    if storage.is_link(output.journal.folder):
        what = "a link stands where grokpack keeps its record of the output"
        raise GrokpackError("GP330", what, Place(output.journal.folder), hint="remove the link")
    file = storage.in_the_way(disk)
    if file is not None:
        what = "a file stands where the output's folder is to be"
        raise GrokpackError("GP323", what, Place(file), hint="use another `--out`")


def refuse_unwritable(disk: str) -> None:
    """Refuse a folder in which nothing may be made: a dry run would not meet it otherwise.

    Raises:
        GrokpackError: GP324.
    """
    folder = storage.nearest_folder(disk)
    if not storage.takes_files(folder):
        hint = "see who may write there: `ls -ld`; or name another `--out`"
        raise WriteFailed("cannot write: the folder takes no new files", Place(folder), hint=hint)
