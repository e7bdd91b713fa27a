"""What each repair of Snakemake saves: CPU seconds of dry runs of a study, with all repairs, with none, without each.

    python bench/repairs.py [--datasets 1] [--repeat 3] [--only NAME … A+B]

The study is that of bench/scale.py, 5,097 jobs for each dataset: where nothing was run, and where all is done. Works on
a copy of the workflow in a temporary folder. The least of the repeats counts, which take turns: other work on the
machine makes all of them slower, not one of them.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import scale

REPO = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "profiles", "resources")
REPAIRS = "workflow/scripts/labelbench/planning/snakemake_speed.py"


def seconds(folder, config, *args, start=("-m", "snakemake")):
    """CPU seconds of a run of Snakemake, and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *start, "--configfile", str(config), *args]
    text = subprocess.run(
        command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="these repairs, A+B for two at a time; no name: the totals alone")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "repo")
        folder.mkdir()
        for part in PARTS:
            source = REPO / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part)
        configs = {}
        for state in ("new", "done"):
            Path(place, state).mkdir()
            configs[state] = scale.study(Path(place, state), datasets=args.datasets)
        scale.make_all(seconds(folder, configs["done"], "-n")[1])
        seconds(folder, configs["done"], *scale.RECORD, start=scale.TOUCH)

        text = (folder / REPAIRS).read_text()
        names = re.findall(r"^    (\w+)\(\)$", text[text.index("def plan_quickly") :], re.M)
        versions = {"(all repairs)": text, "(as published)": re.sub(r"not (snakemake\.__version__)", r"\1", text)}
        for name in names if args.only is None else args.only:
            versions[name] = re.sub(rf"^    (?:{name.replace('+', '|')})\(\)\n", "", text, flags=re.M)
        found = {(name, state): [] for name in versions for state in configs}
        for _ in range(args.repeat):
            for name, version in versions.items():
                (folder / REPAIRS).write_text(version)
                for state, config in configs.items():
                    took, said = seconds(folder, config, "-n", "--quiet", "rules")
                    if (state == "done") != ("Nothing to be done" in said):
                        sys.exit(f"{name}, {state}: {said[-2000:]}")
                    found[name, state].append(took)
        least = {key: min(values) for key, values in found.items()}
        print(f"{'without':<32}{'nothing was run':>20}{'all is done':>20}   CPU seconds, what the repair saves")
        for name in versions:
            row = f"{name:<32}"
            for state in configs:
                value, full = least[name, state], least["(all repairs)", state]
                row += f"{value:>11.2f}{100 * (value - full) / value:>7.1f} %"
            print(row)
        spread = sorted(max(values) - min(values) for values in found.values())
        print(f"median spread of a row's repeats: {spread[len(spread) // 2]:.2f} s")


if __name__ == "__main__":
    main()
