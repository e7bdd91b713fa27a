"""What each repair of Snakemake saves: CPU seconds of a dry run of a large study, without one repair at a time.

    python bench/repairs.py [--trials 80] [--repeat 2]

Works on a copy of the workflow in a temporary folder.
"""

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "profiles", "resources")
REPAIRS = "workflow/scripts/labelbench/planning/snakemake_speed.py"


def seconds(folder, trials):
    """CPU seconds of a dry run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--config", f"run={{trials: {trials}}}"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "repo")
        folder.mkdir()
        for part in PARTS:
            source = REPO / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part)
        text = (folder / REPAIRS).read_text()
        body = text[text.index("def plan_quickly") :]
        names = re.findall(r"^    (\w+)\((?:values)?\)$", body, re.M)
        versions = {"all": text, "none": text.replace("not snakemake.__version__.startswith(REPAIRED)", "True")}
        versions |= {name: re.sub(rf"^    {name}\((?:values)?\)\n", "", text, flags=re.M) for name in names}
        found = {name: [] for name in versions}
        for _ in range(args.repeat):
            for name, version in versions.items():
                (folder / REPAIRS).write_text(version)
                found[name].append(seconds(folder, args.trials))
        least = {name: min(values) for name, values in found.items()}
        print(f"{'without':<34}{'CPU s':>8}{'saves':>8}   spread")
        for name, value in least.items():
            saved = "" if name == "all" else f"{100 * (value - least['all']) / value:.1f} %"
            print(f"{name:<34}{value:>8.2f}{saved:>8}   {max(found[name]) - min(found[name]):.2f}")
        print(f"median spread {statistics.median(max(v) - min(v) for v in found.values()):.2f} s")


if __name__ == "__main__":
    main()
