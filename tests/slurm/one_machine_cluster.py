"""A real Slurm cluster on the loopback interface of one machine, as root, without systemd, munge or cgroups.

Nodes c1 and c2 in partition `cpu`, g1 in partition `gpu` with four fake GPUs; if asked for, accounting. Only daemons
started here are stopped.
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
FILES = ("slurm.conf", "gres.conf", "slurmdbd.conf")
MARK = "# Of a test cluster: tests/slurm/one_machine_cluster.py"
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

ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageEnforce=limits
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[4]}
"""

DATABASE = """
AuthType=auth/none
DbdHost=localhost
DbdPort={ports[4]}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[5]}
StorageUser=root
"""


def missing(accounting):
    """Why no cluster can be started here, or an empty text."""
    needed = {"slurm-wlm": ("slurmctld", "slurmd", "sbatch", "squeue")}
    if accounting:
        needed |= {"slurmdbd": ("slurmdbd",), "mariadb-server": ("mariadbd", "mariadb-install-db")}
    if lacking := [package for package, names in needed.items() if not all(map(shutil.which, names))]:
        return f"not installed (apt-get install --no-install-recommends {' '.join(lacking)})"
    if os.geteuid() != 0:
        return "slurmd must be started by root"
    if others := [ETC / name for name in FILES if not replaceable(ETC / name)]:
        return f"this machine has a Slurm of its own ({', '.join(map(str, others))})"
    return ""


def replaceable(path):
    """Whether nothing is lost where a test cluster takes this place: it is free, or a link that another one left."""
    return not path.exists() or (path.is_symlink() and MARK in path.read_text())


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
    """The running cluster; everything of it lies in `folder`. With accounting, `sacct` answers."""

    def __init__(self, folder, accounting):
        self.folder = Path(folder)
        self.accounting = accounting
        for name in ("state", "log", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        sockets = [socket.socket() for _ in range(3 + len(NODES))]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        host = socket.gethostname().split(".")[0]
        conf = CONF + ACCOUNTING if accounting else CONF
        (self.folder / "slurm.conf").write_text(MARK + conf.format(host=host, folder=self.folder, ports=ports))
        for i in range(4):
            # A name of /dev/null: Slurm hands out GPUs only as character devices.
            os.mknod(self.folder / f"gpu{i}", 0o666 | 0o020000, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"{MARK}\nNodeName=g1 Name=gpu File={self.folder}/gpu[0-3]\n")
        # The plugin's inner step forgets SLURM_CONF, so the configuration must be at its usual place.
        self.links = FILES if accounting else FILES[:2]
        for name in self.links:
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self.folder / name)
        if accounting:
            self._make_database(ports)
        self.start_controller(clean=True)
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: call("sinfo", "-hN", "-o", "%T").count("idle") >= len(NODES))

    def _make_database(self, ports):
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(MARK + DATABASE.format(folder=self.folder, ports=ports))
        conf.chmod(0o600)
        data, log = self.folder / "mariadb", self.folder / "log/mariadb.log"
        own = f"--no-defaults --user=root --datadir={data}"
        subprocess.run(f"mariadb-install-db {own} --skip-test-db >{log} 2>&1", shell=True, check=True)
        # It listens on the loopback interface only and asks for no password. No child of ours: nobody has to reap it.
        place = f"--port={ports[5]} --bind-address=127.0.0.1 --socket={data}/socket --pid-file={data}.pid"
        server = f"mariadbd {own} {place} --skip-grant-tables --innodb-buffer-pool-size=64M"
        subprocess.run(f"setsid {server} >>{log} 2>&1 &", shell=True, check=True)
        wait_until(Path(f"{data}.pid").exists)
        self.start_database()
        wait_until(lambda: not subprocess.run(["sacctmgr", "-n", "show", "cluster"], capture_output=True).returncode)
        call("sacctmgr", "-i", "add", "cluster", "labelbench")

    def start_database(self):
        subprocess.run(["slurmdbd"], check=True)

    def start_controller(self, clean=False):
        subprocess.run(["slurmctld", *(["-c"] if clean else [])], check=True)

    def start_node(self, node):
        subprocess.run(["slurmd", "-N", node], check=True)

    def pid(self, daemon):
        return int((self.folder / f"{daemon}.pid").read_text())

    def stop(self, daemon, how=signal.SIGTERM):
        """Stop `slurmctld`, `slurmdbd`, `mariadb` or `slurmd.NODE`, and wait for its end."""
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
        for daemon in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "slurmdbd", "mariadb"):
            if (self.folder / f"{daemon}.pid").exists():
                with contextlib.suppress(ProcessLookupError):
                    self.stop(daemon)
        for name in self.links:
            if (ETC / name).is_symlink() and (ETC / name).readlink() == self.folder / name:
                (ETC / name).unlink()
