"""Submitting, watching, stopping and resuming the job, from any environment: by Flink's command and REST interface."""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from headwater.errors import ClusterError, ConfigError
from headwater.nearline.flink.cluster import Installation
from headwater.nearline.flink.reading import notes
from headwater.nearline.flink.rest import Rest
from headwater.nearline.flink.settings import Identity, JobSettings
from headwater.nearline.local import Status
from headwater.nearline.stored import MARKS
from headwater.store.base import Put, Store

logger = logging.getLogger(__name__)

_ENDED = ("FINISHED", "CANCELED", "FAILED", "SUSPENDED")
_SUBMIT_SECONDS, _STEP_SECONDS = 180.0, 120.0

_PYTHON_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt): ")
"""How the last line of a Python traceback begins."""

_SLOT_SECONDS = 5.0
"""How long the slots of a job that has just ended may take to be free."""


class Job:
    """One job by its name, on one cluster.

    Parameters
    ----------
    url : str
        Of the cluster's REST interface.
    settings : JobSettings
    store : Store
        The same as the job's; it holds what the job was made with, and what its readers note.

    Attributes
    ----------
    id : str
        Flink's, of the job that runs; empty where none does.
    """

    def __init__(self, url: str, settings: JobSettings, store: Store) -> None:
        self._rest = Rest(url)
        self._settings = settings
        self._store = store
        self._key = f"flink.{settings.name}".encode()
        self.id = ""

    # -- beginning

    def find(self) -> str:
        """Flink's id of the job if it runs on the cluster, else an empty text. Raises `ClusterError` without one."""
        running = [
            job["jid"]
            for job in self._rest.get("/jobs/overview")["jobs"]
            if job["name"] == self._settings.name and job["state"] not in _ENDED
        ]
        self.id = running[0] if running else ""
        return self.id

    def submit(
        self, installation: Installation, *, resume: str | None = None, migrate: bool = False, anew: bool = False
    ) -> str:
        """Start the job from its newest checkpoint or savepoint, if it has a past; returns Flink's id.

        Parameters
        ----------
        installation : Installation
        resume : str, optional
            Another checkpoint or savepoint.
        migrate : bool
            Go on with another policy, or with states of an older version.
        anew : bool
            Begin without a past: the log is read from its beginning, over what the store has.

        Raises
        ------
        ConfigError
            The job was made with another policy, log, number of readers or state version; or its checkpoints are gone.
        ClusterError
            There is no cluster, it has too few free slots, or it refuses the job.
        """
        before = None if anew else self.past()
        if before is not None:
            self._compare(before, migrate=migrate)
            resume = resume or self.newest(before)
        until, wanted = time.monotonic() + _SLOT_SECONDS, self._settings.parallelism
        while (free := self._rest.get("/overview")["slots-available"]) < wanted and time.monotonic() < until:
            time.sleep(0.2)
        if free < wanted:
            raise ClusterError(
                f"the job takes {wanted} slots, and the cluster at {self._rest.url} has {free} free: start "
                f"{wanted - free} more TaskManagers of one slot, stop another job, or lower --parallelism"
            )
        self.id = self._run(installation, resume)
        self._store.put_many([Put(MARKS, self._key, msgspec.json.encode(self._settings.identity()))])
        return self.id

    def past(self) -> Identity | None:
        """What the job was last submitted with; None where it never was."""
        (raw,) = self._store.get_many(MARKS, [self._key])
        return None if raw is None else msgspec.json.decode(raw, type=Identity)

    def newest(self, past: Identity) -> str:
        """The newest checkpoint or savepoint that is complete.

        Raises `ConfigError` where there is none, or it cannot be looked for.
        """
        if not past.checkpoints.startswith("file:"):
            raise ConfigError(
                f"name the checkpoint to go on from with --resume: {past.checkpoints} is not a folder here"
            )
        folder = Path(unquote(urlsplit(past.checkpoints).path))
        # One that was being written when the cluster died has no _metadata.
        found = [*folder.glob("*/chk-*/_metadata"), *folder.glob("savepoints/*/_metadata")]
        if not found:
            raise ConfigError(
                f"{folder} holds no complete checkpoint of {self._settings.name!r} any more, and the job's state was "
                "there: bring it back, name another with --resume, or read the log from its beginning with --anew, "
                "which costs time and changes no candidate that the log still explains"
            )
        return max(found, key=lambda path: path.stat().st_mtime_ns).parent.as_uri()

    def wait_until_running(self) -> None:
        """Return when every task runs. Raises `ClusterError` where the job ends instead, or has no slots."""
        self._wait(lambda: self._is_running(), "does not come to run")

    # -- running

    def status(self) -> Status:
        """What the readers note, and how large the newest checkpoint is."""
        found = notes(self._store, self._settings.name)
        pending = sum(note.pending_bytes for note in found)
        newest = max((note.newest_append for note in found), default=0.0)
        return Status(
            records=sum(note.records for note in found),
            dead_letters=sum(note.dead_letters for note in found),
            pending_bytes=pending,
            lag_seconds=max(time.time() - newest, 0.0) if pending and newest else 0.0,
            failures=sum(note.recoveries for note in found),
        )

    def parallelism(self) -> int:
        """Slots that the running job takes."""
        return max(vertex["parallelism"] for vertex in self._rest.get(f"/jobs/{self.id}")["vertices"])

    def replayed(self) -> int:
        """Records that recoveries made the job read again."""
        return sum(note.replayed for note in notes(self._store, self._settings.name))

    def checkpoints(self) -> dict[str, Any]:
        """Flink's account of the job's checkpoints: `counts`, `latest`, …"""
        return self._rest.get(f"/jobs/{self.id}/checkpoints")

    def trouble(self) -> str:
        """What is wrong with the job now, in a sentence; empty where nothing is."""
        state = self._state()
        if state == "RUNNING":
            latest: dict[str, Any] = self.checkpoints()["latest"]
            failed, done = latest["failed"], latest["completed"]
            if failed and (not done or failed["id"] > done["id"]):
                return f"checkpoint {failed['id']} failed: {failed['failure_message']}"
            return ""
        return f"the job is {state.lower()}: {self._cause()}"

    def has_ended(self) -> bool:
        """Whether the job is no more, for whatever reason."""
        return self._state() in _ENDED

    def stop(self) -> str:
        """Stop with a savepoint; returns where it is. Raises `ClusterError` where that fails: the job goes on then."""
        target = f"{self._settings.checkpoints_url.rstrip('/')}/savepoints"
        asked = self._rest.post(f"/jobs/{self.id}/stop", {"targetDirectory": target, "drain": False})["request-id"]
        done: dict[str, Any] = {}

        def is_done() -> bool:
            done.update(self._rest.get(f"/jobs/{self.id}/savepoints/{asked}"))
            return done["status"]["id"] == "COMPLETED"

        self._wait(is_done, "cannot be stopped", ends=True)
        if "location" not in done["operation"]:
            raise ClusterError(f"no savepoint was made: {_first_line(done['operation']['failure-cause'])}")
        self._wait(self.has_ended, "does not end", ends=True)
        return done["operation"]["location"]

    # -- how

    def _compare(self, before: Identity, *, migrate: bool) -> None:
        now = self._settings.identity()
        fixed = [name for name in ("readers", "log") if getattr(before, name) != getattr(now, name)]
        if fixed:
            raise ConfigError(
                f"the job {self._settings.name!r} was made with "
                + ", ".join(f"{name} {getattr(before, name)!r}, not {getattr(now, name)!r}" for name in fixed)
                + ": its position counts in these. Give the job another --name, or begin --anew"
            )
        if before.state_version > now.state_version:
            raise ConfigError(
                f"the job's states have version {before.state_version}, and this Headwater writes {now.state_version}: "
                "run the newer Headwater, or begin --anew"
            )
        if not migrate and (before.policy, before.state_version) != (now.policy, now.state_version):
            what = "policy" if before.policy != now.policy else "version of the states"
            raise ConfigError(
                f"the job {self._settings.name!r} was made with another {what}: go on from its savepoint with "
                "--migrate (candidates follow as their users come), or submit what it was made with"
            )

    def _run(self, installation: Installation, resume: str | None) -> str:
        target = urlsplit(self._rest.url)
        with tempfile.TemporaryDirectory() as folder:  # only this user may look at it: URLs have passwords
            path = Path(folder) / "settings.json"
            path.write_text(self._settings.model_dump_json(), encoding="utf-8")
            command = [
                "bash", str(installation.home / "bin" / "flink"), "run", "--detached",
                "-m", f"{target.hostname}:{target.port or 8081}",
                "-p", str(self._settings.parallelism),
                f"-Dpython.client.executable={installation.python}",
                f"-Dpython.executable={installation.python}",
                *(["-s", resume] if resume else []),
                "-py", str(Path(__file__).with_name("submit.py")), str(path),
            ]  # fmt: skip
            done = subprocess.run(
                command,
                env=installation.variables(),
                capture_output=True,
                text=True,
                timeout=_SUBMIT_SECONDS,
                check=False,
            )
        words = done.stdout.split("JobID ")
        if done.returncode or len(words) < 2:
            raise ClusterError(f"Flink refuses the job: {_why(done.stdout + done.stderr)}")
        return words[1].split()[0]

    def _state(self) -> str:
        return self._rest.get(f"/jobs/{self.id}")["state"]

    def _is_running(self) -> bool:
        job = self._rest.get(f"/jobs/{self.id}")
        tasks = [vertex["status"] for vertex in job["vertices"]]
        return job["state"] == "RUNNING" and all(status == "RUNNING" for status in tasks)

    def _cause(self) -> str:
        history = self._rest.get(f"/jobs/{self.id}/exceptions")
        entries = history.get("exceptionHistory", {}).get("entries", [])
        return _why(entries[0]["stacktrace"]) if entries else "Flink says no reason"

    def _wait(self, is_done: Callable[[], bool], what: str, *, ends: bool = False) -> None:
        until = time.monotonic() + _STEP_SECONDS
        while not is_done():
            if (not ends and self.has_ended()) or time.monotonic() > until:
                raise ClusterError(f"the job {self._settings.name!r} {what}: {self._cause()}")
            time.sleep(0.1)


def _why(text: str) -> str:
    """The line of a trace that a person needs: the last cause of Java's, else Python's own error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    python = [line for line in lines if _PYTHON_ERROR.match(line)]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    causes = [line for line in causes if not line.endswith(("exits with code: 1", "InvocationTargetException"))]
    return (causes or python or lines or ["it says no reason"])[-1][:500]


def _first_line(cause: dict[str, str]) -> str:
    return _why(cause.get("stack-trace", ""))
