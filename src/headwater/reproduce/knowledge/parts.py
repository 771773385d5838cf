"""What a job has measured so far, one document a sub-domain: it goes on where it was, and machines may share it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.experiment.document import read_document, write_document
from headwater.reproduce.jobs import PARTS, Unfinished
from headwater.reproduce.knowledge.plan import KnowledgeJob


class Parts:
    """The parts of one job.

    Parameters
    ----------
    folder : Path, optional
        Where documents of jobs are; none: parts are kept in memory alone.
    job : KnowledgeJob
    checksum : str
        Of the data: parts of other data or settings do not count.
    """

    def __init__(self, folder: Path | None, job: KnowledgeJob, checksum: str) -> None:
        self._folder, self._job = folder, job
        self._mark = {"config": job.config, "checksum": checksum}
        self._own: dict[str, dict[str, Any]] = {}

    def get(self, domain: str) -> dict[str, Any] | None:
        """What was measured in a sub-domain; None where it was not. Raises `ArtefactError` as `read_document` does."""
        if self._folder is None or domain in self._own:
            return self._own.get(domain)
        found = read_document(self._path(self._folder, domain))
        return found["measured"] if {name: found.get(name) for name in self._mark} == self._mark else None

    def put(self, domain: str, measured: dict[str, Any]) -> None:
        """Keep it."""
        self._own[domain] = measured
        if self._folder is not None:
            write_document(self._path(self._folder, domain), {**self._mark, "measured": measured})

    def require(self, domains: Sequence[str]) -> list[dict[str, Any]]:
        """All parts of a job, in order. Raises `Unfinished` where some are missing."""
        found = {domain: self.get(domain) for domain in domains}
        left = [domain for domain, part in found.items() if part is None]
        if left:
            raise Unfinished(
                f"{self._job.id} has {len(domains) - len(left)} of {len(domains)} sub-domains; run {', '.join(left)}, "
                "or copy their parts here, and then the job once more"
            )
        return [part for part in found.values() if part is not None]

    def _path(self, folder: Path, domain: str) -> Path:
        return folder / PARTS / f"{self._job.id.replace('/', '--')}--{domain.replace('/', '-')}.json"
