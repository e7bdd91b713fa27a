"""After Snakemake was killed: cancel what it left in Slurm's queue, wait for its end, and take the lock away.

    python slurm/recover.py                    # then start again: snakemake --profile slurm -j 64

Only jobs that were submitted from this folder are cancelled. Arguments are handed to `snakemake --unlock`, which
needs the ones that name another configuration (--configfile …).
"""

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "scripts"))

from labelbench import cluster  # noqa: E402

if left := cluster.orphans(Path.cwd()):
    print(f"Cancelling {len(left)} jobs: {', '.join(left)}")
    subprocess.run(["scancel", *left], check=True)
    while cluster.orphans(Path.cwd()):
        time.sleep(1)
else:
    print("No jobs of this folder are in Slurm's queue.")
sys.exit(subprocess.run([sys.executable, "-m", "snakemake", "--unlock", *sys.argv[1:]], check=False).returncode)
