"""A real Slurm cluster on the loopback interface of one machine, as root, without systemd, munge, database or cgroups.

Nodes c1 and c2 in partition `cpu`, g1 in partition `gpu` with four fake GPUs. Only daemons started here are stopped.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ETC = Path("/etc/slurm")
NODES = ("c1", "c2", "g1")

# One CPU per real core, so that jobs do not wait for each other's start; more memory than the machine has, for it is
# booked only. `config_overrides` lets a node claim what it does not have.
CONF = """
ClusterName=labelbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/none
# A job that was started again waits until the credentials of its first start have expired: 2 minutes by default.
AuthInfo=cred_expire=6
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
MailProg=/bin/true
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=200
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MinJobAge=3600
KillWait=5
OverTimeLimit=0
SlurmctldTimeout=20
SlurmdTimeout=10
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
NodeName=c1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=64000
NodeName=c2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=64000
NodeName=g1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=4 RealMemory=64000 Gres=gpu:4
PartitionName=cpu Nodes=c1,c2 Default=YES State=UP PriorityTier=1
PartitionName=gpu Nodes=g1 State=UP PriorityTier=1
PartitionName=urgent Nodes=c1,c2,g1 State=UP PriorityTier=10
"""


def missing():
    """Why no cluster can be started here, or an empty text."""
    if lacking := [name for name in ("slurmctld", "slurmd", "sbatch", "squeue") if not shutil.which(name)]:
        return f"{', '.join(lacking)} not installed (apt-get install --no-install-recommends slurm-wlm)"
    if os.geteuid() != 0:
        return "slurmd must be started by root"
    if (ETC / "slurm.conf").exists() and not (ETC / "slurm.conf").is_symlink():
        return f"this machine has a Slurm of its own ({ETC}/slurm.conf)"
    return ""


def call(*command):
    """Output of a Slurm command."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def wait_until(true, seconds=120, every=0.2):
    """Wait for a condition. Raises `TimeoutError` where it does not come true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not true after {seconds} s")
        time.sleep(every)


class Cluster:
    """The running cluster; everything of it lies in `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for name in ("state", "log", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        sockets = [socket.socket() for _ in range(1 + len(NODES))]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        host = socket.gethostname().split(".")[0]
        (self.folder / "slurm.conf").write_text(CONF.format(host=host, folder=self.folder, ports=ports))
        for i in range(4):
            # A name of /dev/null: Slurm hands out GPUs only as character devices.
            os.mknod(self.folder / f"gpu{i}", 0o666 | 0o020000, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"NodeName=g1 Name=gpu File={self.folder}/gpu[0-3]\n")
        # The plugin's inner step forgets SLURM_CONF, so the configuration must be at its usual place.
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self.folder / name)
        self.start_controller(clean=True)
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: call("sinfo", "-hN", "-o", "%T").count("idle") >= len(NODES))

    def start_controller(self, clean=False):
        subprocess.run(["slurmctld", *(["-c"] if clean else [])], check=True)

    def start_node(self, node):
        subprocess.run(["slurmd", "-N", node], check=True)

    def pid(self, daemon):
        return int((self.folder / f"{daemon}.pid").read_text())

    def stop(self, daemon, how=signal.SIGTERM):
        """Stop `slurmctld` or `slurmd.NODE`, and wait for its end."""
        pid = self.pid(daemon)
        os.kill(pid, how)
        wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def lose_node(self, node, jobs):
        """A node as it is after a power cut: its daemon, its steps and the processes of these jobs, killed at once."""
        victims = [self.pid(f"slurmd.{node}")]
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes().split(b"\0")
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            steps = any(words.startswith(f"slurmstepd: [{job}.") for job in jobs)
            if steps or any(f"SLURM_JOB_ID={job}".encode() in environment for job in jobs):
                victims.append(int(path.name))
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def jobs(self, states="all"):
        """Rows (id, name, state, comment, node, partition) of the queue."""
        rows = call("squeue", "-h", "-t", states, "-o", "%i|%j|%T|%k|%N|%P")
        return [tuple(line.split("|")) for line in rows.splitlines()]

    def down(self):
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        time.sleep(0.5)
        for daemon in (*(f"slurmd.{node}" for node in NODES), "slurmctld"):
            if (self.folder / f"{daemon}.pid").exists():
                with contextlib.suppress(ProcessLookupError):
                    self.stop(daemon)
        for name in ("slurm.conf", "gres.conf"):
            if (ETC / name).is_symlink() and (ETC / name).readlink() == self.folder / name:
                (ETC / name).unlink()
