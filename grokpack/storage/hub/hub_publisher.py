"""Publisher of files to a repository of the hub, in batches and in the background.

The repository's `.grokpack/plan.json` says, until the last commit removes it, that the output is
not finished and which run makes it: reading refuses it then, and so does another run.
"""

from __future__ import annotations

import json
import os
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import LockHeld, Place
from grokpack.core.events import Published, Publishing, Sending
from grokpack.formats import bounded_json
from grokpack.storage import new_files, part_files, reading
from grokpack.storage.fault_injection import faults
from grokpack.storage.http import hub_repository
from grokpack.storage.http.request_threads import Request, run_request
from grokpack.storage.hub import hub_batches
from grokpack.storage.hub.hub_client import HubClient
from grokpack.storage.hub.hub_publication_record import HubRecord, SentFile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from grokpack.core.events import Listener
    from grokpack.storage.http.hub_repository import HubFile, RepositoryState
    from grokpack.storage.sink_protocol import PublishingOptions

MOST_WAITING_BYTES = 20 * 10**9
"""Whole files that wait on the disk; while there are more, no others are begun."""
CLAIM = ".grokpack/plan.json"
_ATTRIBUTES = ".gitattributes"  # which the hub makes
_COMMITS = 4  # in which files that wait are sent
_CLAIM_BYTES = 16 << 20
_MAIN = "main"


class HubPublisher:
    """Repository of an output, and its files on their way there.

    Args:
        out: URL of the repository.
        journal: Folder of the run's journal.
        options: What was chosen.

    Attributes:
        record: What is published.
        disk: Local folder of the files.
    """

    def __init__(self, out: str, journal: str, options: PublishingOptions) -> None:
        self._out, self._options = out, options
        self._client, self.record = HubClient(out), HubRecord(journal)
        self._site = self._client.site
        name = self._site.repo.rpartition("/")[2]
        self.disk = self.record.folder or os.path.join(os.getcwd(), name)
        self._waiting: hub_batches.WaitingFiles = {}
        self._sending: tuple[hub_batches.WaitingFiles, Request[dict[str, SentFile]]] | None = None
        self._state: RepositoryState | None = None
        self._is_known = False

    @property
    def waiting_bytes(self) -> int:
        """Most bytes of whole files that wait here."""
        free = part_files.free_bytes(self.disk)
        return MOST_WAITING_BYTES if free is None else min(MOST_WAITING_BYTES, free // 2)

    def state(self, *, fresh: bool = False) -> RepositoryState | None:
        """Return what the repository holds; None if there is no such repository or revision."""
        if fresh or not self._is_known:
            self._state = hub_repository.state(self._site.repo, self._site.revision)
            self._is_known = True
        return self._state

    def listed(self) -> Mapping[str, HubFile]:
        """Return the files of the repository by name, without those that are no part of outputs."""
        found = self.state()
        files = found.files if found else {}
        return {name: row for name, row in files.items() if name not in (CLAIM, _ATTRIBUTES)}

    def holds(self, name: str) -> bool:
        """Return whether a file is published, and the hub lists it as it was sent."""
        sent = self.record.files.get(name)
        return sent is not None and sent.is_listed_as(self.listed().get(name))

    def check(self) -> None:
        """Refuse a repository that cannot take the output; nothing is written.

        Raises:
            GrokpackError: GP328 without a token, for a branch that does not exist, or for a public
                repository that was to be private; GP322 if another run publishes there.
        """
        self._client.check()
        refuse = self._client.refusal
        state = self.state(fresh=True)
        if state is None and self._site.revision != _MAIN:
            repository, revision = self._site.repo, self._site.revision
            hint = f"make it: `hf repos branch create {repository} {revision}`"
            raise refuse("there is no such repository, or no such branch in it", None, hint)
        if state is not None and self._options.private and not state.private:
            hint = "make it private in its settings, or leave out `--private`"
            raise refuse("the repository is public", None, hint)
        if state is not None and CLAIM in state.files and not self.record.run:
            self._refuse_other_run()

    def _refuse_other_run(self) -> None:
        what = "another run publishes to this repository, or began to"
        hint = (
            "wait for it, or continue it on the machine where it began; if that is gone, delete "
            f"the repository (`hf repos delete {self._site.repo}`), or name another"
        )
        raise LockHeld(what, Place(self._out), hint=hint)

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Create the repository unless it exists, and claim it for this run.

        Args:
            plan: The plan as the journal has it.
        """
        if self.state() is None:
            self._client.create(private=self._options.private)
        state = self.state(fresh=True)
        if state is None:
            raise self._client.refusal("the repository was not created", None, "try again later")
        if not self.record.run:
            self.record.begin(secrets.token_hex(16), self.disk)
        if CLAIM in state.files:
            if self._claimant() != self.record.run:
                self._refuse_other_run()
        else:
            claim = json.dumps({**plan, "run": self.record.run}, indent=1).encode()
            self._commit({CLAIM: claim}, "Begin an output, by grokpack", parent=state.commit)
        for name in filter(self.holds, list(self.record.files)):
            self._release_local(name)

    def _claimant(self) -> object:
        """Return the name of the run that claims the repository."""
        path = f"{self._out}/{CLAIM}"
        reading.forget(self._out)
        claim = bounded_json.parse(reading.read_whole(path, _CLAIM_BYTES), Place(path))
        return claim.get("run") if isinstance(claim, dict) else None

    def offer(self, files: hub_batches.WaitingFiles, listen: Listener) -> None:
        """Take whole files, and send them when they are worth a commit.

        Waits while more bytes are here than may wait.
        """
        under_way = self._sending[0] if self._sending else {}
        self._waiting.update({n: w for n, w in files.items() if n not in under_way})
        self._advance(listen)
        while not self._options.keep_local and self._local_bytes() > self.waiting_bytes:
            self._advance(listen, flush=True, wait=True)

    def drain(self, listen: Listener) -> None:
        """Send everything that waits, and wait for it."""
        while self._waiting or self._sending:
            self._advance(listen, flush=True, wait=True)

    def cancel(self) -> None:
        """End what goes on in the background; what was sent stays sent."""
        if self._sending is not None:
            self._sending[1].cancel()
            self._sending = None

    def _local_bytes(self) -> int:
        sending = self._sending[0] if self._sending else {}
        return sum(written.nbytes for written in (*self._waiting.values(), *sending.values()))

    def _advance(self, listen: Listener, *, flush: bool = False, wait: bool = False) -> None:
        """Complete what was sent, and send what comes next."""
        if self._sending is not None and (wait or self._sending[1].is_done()):
            batch, request = self._sending
            _, nbytes = _totals(batch)
            sent = request.wait(lambda: listen(Sending(self._client.sent_bytes(batch), nbytes)))
            self._sending = None
            self._complete(sent)
            listen(Published(*_totals(self.record.files)))
        if self._sending is None:
            least = self.waiting_bytes // _COMMITS
            batch = hub_batches.next_batch(self._waiting, least, flush=flush)
            if batch:
                self._waiting = {n: w for n, w in self._waiting.items() if n not in batch}
                self._sending = batch, self._request(batch)
                listen(Publishing(*_totals(batch)))

    def _request(self, batch: hub_batches.WaitingFiles) -> Request[dict[str, SentFile]]:
        """Begin to send files in the background."""
        client, place, arrived = self._client, self._local_path, self._are_listed
        send = partial(hub_batches.send, client=client, place=place, batch=batch, arrived=arrived)
        return Request(send)

    def _complete(self, sent: Mapping[str, SentFile]) -> None:
        """Record files that the hub lists as they were sent, and remove them here.

        Raises:
            GrokpackError: GP328 if it does not list them.
        """
        if not self._are_listed(sent):
            what = "the hub does not list what was sent"
            hint = "run the same command again; it sends what is missing"
            raise self._client.refusal(what, None, hint)
        self.record.add(sent)
        for name in sent:
            self._release_local(name)

    def _are_listed(self, sent: Mapping[str, SentFile]) -> bool:
        """Return whether the hub lists files as they were sent, now."""
        state = self.state(fresh=True)
        return state is not None and all(
            one.is_listed_as(state.files.get(name)) for name, one in sent.items()
        )

    def _local_path(self, name: str) -> str:
        return os.path.join(self.disk, name)

    def _release_local(self, name: str) -> None:
        """Remove a published file here, or give it its name."""
        part = self._local_path(name) + part_files.PART
        if not self._options.keep_local:
            new_files.remove(part)
        elif reading.exists(part):
            part_files.publish(self._local_path(name))

    def add(self, files: Mapping[str, bytes], message: str) -> None:
        """Publish small files, in one commit."""
        self._commit(files, message)
        self.record.add({name: SentFile.of(data) for name, data in files.items()})

    def conclude(self, name: str, data: bytes) -> None:
        """Publish the file that says that the output is whole, and end the claim."""
        self._commit({name: data}, hub_batches.message([name]), removed=[CLAIM])

    def remove(self, names: Collection[str]) -> None:
        """Remove files from the repository, whose history keeps them, and forget the run."""
        state = self.state()
        there = [] if state is None else [n for n in (*names, CLAIM) if n in state.files]
        if there:
            faults.point("remove", ", ".join(there))
            self._commit({}, "Discard an earlier output, by grokpack", removed=there)
        self.record.forget()

    def _commit(
        self,
        files: Mapping[str, bytes],
        message: str,
        removed: Collection[str] = (),
        parent: str | None = None,
    ) -> None:
        """Commit small files and removals, and wait for it."""
        sent = {name: SentFile.of(data) for name, data in files.items()}

        def arrived() -> bool:
            there = self._are_listed(sent)
            return there and self._state is not None and not {*removed} & {*self._state.files}

        def work(request: Request[None]) -> None:
            additions = self._client.contents(files)
            self._client.commit(
                request, message, additions, removed, parent=parent, arrived=arrived
            )

        if sent:
            faults.point("commit", ", ".join(sent))
        run_request(work)
        if not arrived():
            what = "the hub does not list what was sent"
            raise self._client.refusal(what, None, "run the same command again")


def _totals(files: Mapping[str, SentFile] | hub_batches.WaitingFiles) -> tuple[int, int]:
    """Return the number of files, and their bytes."""
    return len(files), sum(one.nbytes for one in files.values())
