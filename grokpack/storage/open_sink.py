"""Sinks for outputs: a local folder, a bucket, or a repository of the hub."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack.storage.local_sink import LocalSink
from grokpack.storage.sink_protocol import PublishingOptions
from grokpack.storage.urls import Url, is_url, parse

if TYPE_CHECKING:
    from grokpack.storage.sink_protocol import Sink

_BUCKETS, _HUB = ("s3", "gs"), "hf"


def is_bucket(path: str) -> bool:
    """Return whether a path is that of a bucket, or in one.

    Raises:
        GrokpackError: GP224 for a URL that cannot be used.
    """
    return is_url(path) and parse(path).scheme in _BUCKETS


def is_repository(path: str) -> bool:
    """Return whether a path is that of a repository of the hub, or in one.

    Raises:
        GrokpackError: GP224 for a URL that cannot be used.
    """
    return is_url(path) and parse(path).scheme == _HUB


def repository_root(path: str) -> str:
    """Return the URL of the repository that a path of the hub is in, or is."""
    url = parse(path)
    return str(Url(url.scheme, url.host, url.path.partition("/")[0]))


def sink_of(
    path: str, journal: str, options: PublishingOptions | None = None, *, single: bool
) -> Sink:
    """Return the sink for an output.

    Args:
        path: The output.
        journal: Local folder of the run's journal.
        options: Choices, of an output to the hub.
        single: True if the output is one file.

    Raises:
        GrokpackError: GP307 if the client of a bucket or of the hub is not installed.
    """
    if is_bucket(path):
        from grokpack.storage.buckets.bucket_sink import BucketSink

        return BucketSink(path, journal)
    if is_repository(path):
        from grokpack.storage.hub.hub_sink import HubSink

        return HubSink(path, journal, options or PublishingOptions())
    return LocalSink(os.path.dirname(os.path.abspath(path)) if single else path, journal)
