"""`headwater stream --runtime flink`: a job on a cluster is submitted, watched and stopped by this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from headwater.nearline.flink.control import Job
    from headwater.nearline.flink.settings import JobSettings

TROUBLE_SECONDS = 2.0
"""Between two looks at what Flink says is wrong."""


@dataclass(frozen=True, slots=True)
class FlinkOptions:
    """Where Flink is, and how the job goes on.

    Attributes
    ----------
    environment : Path
        With PyFlink.
    cluster : str or None
        The REST address of a cluster; None starts one on this machine, which ends with the verb.
    resume : str or None
    migrate, anew : bool
        See `Job.submit`.
    """

    environment: Path
    cluster: str | None = None
    resume: str | None = None
    migrate: bool = False
    anew: bool = False


def run_on_flink(
    settings: JobSettings, options: FlinkOptions, folder: Path, stop: threading.Event, *, quiet: bool
) -> None:
    """Submit the job, or join the one that runs, show its status until `stop` is set, and stop it with a savepoint.

    A running job of another parallelism is stopped with a savepoint and submitted again: so a job is rescaled. `folder`
    takes the logs of a cluster of this machine.
    """
    from headwater.cli.status import watch
    from headwater.nearline.flink.cluster import Installation, LocalCluster
    from headwater.nearline.flink.control import Job
    from headwater.store import open_store

    installation = Installation(options.environment)
    console = Console()

    def say(what: str, style: str = "") -> None:
        if style or not quiet:
            console.print(what, style=style, highlight=False, markup=False, soft_wrap=True)

    with ExitStack() as left:
        store = open_store(settings.store)
        left.callback(store.close)
        url = options.cluster
        if url is None:
            say("starting Flink on this machine ...")
            folder.mkdir(parents=True, exist_ok=True)
            url = left.enter_context(LocalCluster(installation, folder, task_managers=settings.parallelism)).url
        job = Job(url, settings, store)
        if job.find() and job.parallelism() == settings.parallelism:
            say(f"the job {settings.name!r} runs already as {job.id}; from here on it is watched")
        else:
            if job.id:
                say(f"stopped with the savepoint {job.stop()}, to go on with {settings.parallelism} slots")
            job.submit(installation, resume=options.resume, migrate=options.migrate, anew=options.anew)
            say(f"submitted as {job.id} to {url}")
            job.wait_until_running()
            if restored := job.checkpoints()["latest"]["restored"]:
                say(f"goes on from {restored['external_path']}")
        if not quiet:
            watcher = threading.Thread(target=watch, args=(job.status, stop, console), name="status")
            watcher.start()
            left.callback(watcher.join)
            left.callback(stop.set)
        is_ended = _watch_troubles(job, stop, say)
        if not is_ended:
            say(f"stopped with the savepoint {job.stop()}")


def _watch_troubles(job: Job, stop: threading.Event, say: Callable[[str, str], None]) -> bool:
    """Say what goes wrong, once each; returns whether the job ended by itself."""
    from headwater.errors import ClusterError

    said = ""
    while not stop.wait(TROUBLE_SECONDS):
        try:
            trouble, is_ended = job.trouble(), job.has_ended()
        except ClusterError as error:  # a JobManager that is started again knows its jobs if it is set up to
            trouble, is_ended = str(error), False
        if trouble and trouble != said:
            say(trouble, "red")
        said = trouble
        if is_ended:
            return True
    return False
