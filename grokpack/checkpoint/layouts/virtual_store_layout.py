"""Layout of a virtual store: an OCDBT index over the files of another checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from grokpack.checkpoint.virtual_store import store_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint


NAME = "view"


RECORD = "grokpack.view.json"


SCHEMA = "grokpack/view/1"


def record(checkpoint: Checkpoint, base: str, folder: str, index: Mapping[str, bytes]) -> bytes:
    """Render a view's record: its source by relative paths, and digests of its index."""
    document = {
        "schema": SCHEMA,
        "base": os.path.relpath(base, folder),
        "source": os.path.relpath(store_index.normal_path(checkpoint.place), base),
        "format": checkpoint.format,
        "digests": {name: hashlib.sha256(data).hexdigest() for name, data in index.items()},
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
