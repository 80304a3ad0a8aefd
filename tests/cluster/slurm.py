"""A real Slurm of one node in a directory and on ports of its own: munged, slurmctld and slurmd, which end with us whatever happens.

What slurmd runs lives in a pid namespace of its own, so that no job outlives it. Nothing of it is a service of this machine.
On a test machine (lan.py) it is that machine's own: `Slurm(folder, machine=lan["login"])`, found by all its accounts in /etc/slurm, gone with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.loopback import free_port
from tests.cluster.machine import Machine

DAEMONS = ("munged", "slurmctld", "slurmd")
PATIENCE = 60.0  # seconds after which what a test waits for will not come
NODE = "node1"
# slurmd looks for them, and uses none.
CGROUPS = "mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && mkdir systemd && mount -t cgroup -o none,name=systemd none systemd"
SETTINGS = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={control}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=1000,bf_interval=1,bf_yield_sleep=100,default_queue_depth=2000,partition_job_depth=2000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
AccountingStorageType=accounting_storage/none
DefMemPerCPU=16
MaxArraySize=100
MessageTimeout=2
MinJobAge=300
SlurmdParameters=config_overrides
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 TmpDisk=100 Feature=fast,gcc State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def obstacle() -> str:
    """Why no Slurm can run here, or ""."""
    if os.geteuid() != 0:
        return "slurmd starts the jobs of others, which takes root"
    missing = [program for program in (*DAEMONS, "sbatch", "setpriv", "unshare") if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")]
    return f"no {missing[0]}: bin/cit-setup --tests installs it" if missing else ""


class Slurm:
    """A running Slurm; `configuration` is what SLURM_CONF has to say for its programs. `folder` is an empty directory, as its machine names it."""

    def __init__(self, folder: Path, cpus: int = 16, machine: Machine | None = None) -> None:
        self.named, self.machine = folder, machine
        self.folder = machine.path(str(folder)) if machine else folder  # as we see it
        self.configuration = folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.folder.chmod(0o755)  # munged looks at the way to its socket
        for name, mode in (("run", 0o755), ("munge", 0o700), ("state", 0o700), ("spool", 0o755)):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(mode)
        (self.folder / "munge/key").write_bytes(os.urandom(128))
        (self.folder / "munge/key").chmod(0o400)
        host = machine.name if machine else os.uname().nodename
        settings = SETTINGS.format(folder=folder, host=host, name=NODE, control=free_port(), node=free_port(), cpus=cpus)
        (self.folder / "slurm.conf").write_text(settings)
        if machine:
            machine.put("/etc/slurm/slurm.conf", settings, "root", 0o644)
            machine.sh(f"chmod 755 /etc/slurm; echo 127.0.0.1 {host} >>/etc/hosts; {CGROUPS}", "root")
        try:
            for name in DAEMONS:
                self.start(name)
        except BaseException:
            self.close()
            raise

    def start(self, name: str) -> None:
        """Start a daemon, and wait until it answers."""
        munge = self.named / "munge"
        own = ["-F", "--key-file", munge / "key", "--seed-file", munge / "seed", "--log-file", munge / "log", "--num-threads", "2"]
        words = {
            "munged": ["munged", "--force", *own, "--socket", self.named / "run/munge.socket", "--pid-file", self.named / "run/pid"],
            "slurmctld": ["slurmctld", "-D", "-f", self.configuration],
            "slurmd": ["unshare", "-mpf", "--kill-child", "--mount-proc", "sh", "-c", 'slurmd -D -N "$0" -f "$1" & wait', NODE, self.configuration],
        }
        with open(self.folder / f"{name}.out", "ab") as out:
            command = [*(self.machine.enter("root") if self.machine else ["setpriv", "--pdeathsig", "KILL"]), *map(str, words[name])]
            environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
            self.daemons[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        if name == "munged":
            self.until((self.folder / "run/munge.socket").exists, "munged")
        if "slurmctld" in self.daemons and "slurmd" in self.daemons:
            self.until(lambda: self.said("sinfo", "--noheader", "--format=%T").strip() in ("idle", "mixed"), "a node that takes jobs")

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a daemon. (What kill -9 does to slurmctld is Slurm's own affair: it forgets the jobs of the last seconds.)"""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        daemon.wait()

    def close(self) -> None:
        """No process of it is left; those on a test machine end with it."""
        for name in reversed(list(self.daemons)):
            self.stop(name, signal.SIGKILL)

    @property
    def variables(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.configuration)}

    def said(self, *words: str, text: str = "") -> str:
        """What one of Slurm's programs prints."""
        enter = self.machine.enter("root") if self.machine else []
        return subprocess.run([*enter, *words], env=self.variables, input=text, capture_output=True, text=True, timeout=60).stdout

    def until(self, true: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, f"{what} did not come\n" + "".join(
                file.read_text(errors="replace")[-1500:] for file in sorted(self.folder.glob("*.out"))
            )
            time.sleep(0.02)
