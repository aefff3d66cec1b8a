"""An S3 server that others wrote: moto, on loopback, with what goes wrong with one."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

from grokpack.storage.http import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Moto:
    """moto's S3, and every request that it got.

    Attributes:
        asked: `(method, what)` of each request.
        fault: Answers in its place, where it returns something.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log(self, *_: Any) -> None: ...

        # Looking for the service of each request takes as long as many of them.
        self.inner: Callable[..., Any] = create_backend_app("s3")
        self.asked: list[str] = []
        self.fault: Callable[[str, dict[str, Any]], tuple[str, bytes] | None] = lambda *_: None
        self.server = make_server(
            "127.0.0.1", 0, self.answer, threaded=True, request_handler=Silent
        )
        self.url = f"http://127.0.0.1:{self.server.port}"

    def answer(self, environ: dict[str, Any], start: Any) -> Any:
        what = f"{environ['REQUEST_METHOD']} {_kind(environ['QUERY_STRING'])}".strip()
        self.asked.append(what)
        bad = self.fault(what, environ)
        if bad is None:
            return self.inner(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(bad[0], [("Content-Length", str(len(bad[1])))])
        return [bad[1]]


def _kind(query: str) -> str:
    for name in ("partNumber", "uploads", "uploadId", "list-type"):
        if name in query:
            return name
    return ""


@contextlib.contextmanager
def running() -> Iterator[Moto]:
    """moto as long as the block runs."""
    moto = Moto()
    thread = threading.Thread(target=moto.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        with mock.patch("botocore.session.create_loader", _loader):
            yield moto
    finally:
        connections.forget()
        moto.server.shutdown()
        moto.server.server_close()
        thread.join()


@functools.cache
def _loader(search_path: str | None = None) -> Any:
    """Loader of descriptions of services, which each session would read anew: 0.1 s of a core."""
    from botocore.loaders import create_loader

    return create_loader(search_path)


def client(moto: Moto) -> Any:
    """boto3's client for it."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=moto.url,
        region_name="us-east-1",
        aws_access_key_id="name",
        aws_secret_access_key="secret",  # noqa: S106  # no one's
    )
