"""A Slurm cluster of one node on this machine, with daemons, keys and ports of its own.

The GPU is pretended: a countable device backed by /dev/null. Memory is enforced by the sampler of
Slurm, so that no cgroups are needed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
NODE = "node1"
CPUS = 2
# Devices that no job uses: Slurm only counts and assigns them.
GPU_FILES = ("/dev/null", "/dev/zero")
CONFIG = """
ClusterName=transferscope-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=2
MinJobAge=300
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
GresTypes=gpu
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} \
Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in (*DAEMONS, *CLIENTS) if _program(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (make slurm-packages)"
    if os.geteuid() != 0:
        return "slurmd runs jobs of other users, and so has to be started by root"
    return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class SlurmCluster:
    """A running cluster.

    Parameters
    ----------
    folder
        Where its files lie.
    """

    folder: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def clients(self) -> Path:
        """Folder of the client commands, which know this cluster; it has to be first on PATH."""
        return self.folder / "bin"

    def call(self, *command: str) -> str:
        """Run a client command and return what it prints."""
        path = self.clients / command[0]
        done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}{self._logs()}")
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return the records of all jobs that Slurm remembers, the oldest first."""
        lines = self.call("scontrol", "--oneliner", "show", "job").splitlines()
        records = [
            dict(part.split("=", 1) for part in line.split() if "=" in part)
            for line in lines
            if line.startswith("JobId=")
        ]
        return sorted(records, key=lambda record: int(record["JobId"]))

    def wait_for(self, what: str, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended:
                raise RuntimeError(f"{what}: {', '.join(ended)} ended{self._logs()}")
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {seconds} s{self._logs()}")
            time.sleep(0.2)

    def start_node(self) -> None:
        """Start slurmd, and wait until the node takes jobs."""
        self._start("slurmd", "-D", "-N", NODE, "-f", str(self.folder / "slurm.conf"))
        self.wait_for("the node", self._is_up)

    def lose_node(self) -> None:
        """Kill slurmd and everything that it runs, as if the machine had lost its power."""
        process = self._running.pop("slurmd")
        process.kill()
        process.wait()
        _kill(_run_by(self.folder))

    def start(self) -> None:
        """Start all daemons."""
        folder = self.folder
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir(parents=True)
        self._write_files()
        self._start(
            "munged", "--foreground", "--force", f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        self.wait_for("munged", (folder / "munge.socket").exists)
        self._start("slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        self.start_node()

    def stop(self) -> None:
        """Stop all daemons and what they run."""
        _kill(_run_by(self.folder))
        for process in reversed(self._running.values()):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _write_files(self) -> None:
        folder, host = self.folder, socket.gethostname().partition(".")[0]
        controller_port, node_port = _free_ports(2)
        text = CONFIG.format(
            folder=folder, host=host, user=pwd.getpwuid(os.geteuid()).pw_name, node=NODE,
            controller_port=controller_port, node_port=node_port, cpus=CPUS,
            memory=_memory_mb(), gpus=len(GPU_FILES),
        )  # fmt: skip
        (folder / "slurm.conf").write_text(text)
        devices = [f"NodeName={NODE} Name=gpu File={file}\n" for file in GPU_FILES]
        (folder / "gres.conf").write_text("".join(devices))
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        for name in CLIENTS:
            wrapper = self.clients / name
            wrapper.write_text(
                f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_program(name)} "$@"\n'
            )
            wrapper.chmod(0o755)

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._running[name] = subprocess.Popen(
                [_program(name) or name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},
            )

    def _is_up(self) -> bool:
        command = [self.clients / "sinfo", "--noheader", "--format=%T"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return found.stdout.strip() in ("idle", "mixed", "allocated")

    def _logs(self) -> str:
        paths = [self.folder / f"{name}.log" for name in DAEMONS]
        return "".join(f"\n{p.name}:\n{p.read_text()[-2000:]}" for p in paths if p.exists())


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """Run a cluster whose files lie in a folder; it is gone at the end."""
    cluster = SlurmCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _run_by(folder: Path) -> list[psutil.Process]:
    """Return the processes of all jobs of this cluster, and those of Slurm that watch them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            environment = process.environ()
            own = environment.get("SLURM_CONF") == str(folder / "slurm.conf")
            if own and "SLURM_JOB_ID" in environment:
                watchers = [p for p in process.parents() if p.name() == "slurmstepd"]
                found |= {p.pid: p for p in [*watchers, *process.children(True), process]}
    return list(found.values())


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _memory_mb() -> int:
    """Return what the node may hand out: most of this machine's memory."""
    return int(psutil.virtual_memory().total * 0.9 / 2**20)
