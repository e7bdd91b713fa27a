"""What a shortlist loses: picks in common with those from the whole pool, and seconds, one JSON line per case.

python bench/shortlists.py --synthetic 200000,100,256 --budget 1000 --strategies badge coreset
python bench/shortlists.py --study results/shortlists/tables/metrics.csv

The second takes a study (config/shortlists.yaml) and says what a list costs in accuracy: the paired difference of the
area under the learning curve, in points, to the strategy that sees the whole pool, with its 95 % interval over trials.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("workflow/scripts", "bench")]


def costs_in_accuracy(path, strategies):
    """Print a JSON line per shortlist of a study, whose strategies are called `badge_…` after the one with the pool."""
    from labelbench.evidence import statistics, study

    metrics, _ = study.paired(study.load(path))
    dataset = metrics["dataset"].iloc[0]
    (setting,) = study.settings(metrics, dataset)
    names = study.strategies_of(metrics, dataset)
    for whole in strategies:
        for name in (name for name in names if name.startswith(f"{whole}_")):
            for split in ("test", "pool"):
                metric = study.metric_of(split, "accuracy")
                both = [study.curves(metrics, dataset, setting, s, split, metric, "proxy", "") for s in (name, whole)]
                own, other = study.shared(*both)
                gaps = [statistics.aulc(curve.labels, curve.scores) for curve in (own, other)]
                gap = statistics.estimate(100 * (gaps[0] - gaps[1]))
                ends = [round(float(x), 2) for x in (gap.mean, gap.low, gap.high)]
                result = {"shortlist": name, "split": split, "trials": len(own.trials)}
                print(json.dumps(result | dict(zip(("points", "low", "high"), ends, strict=True))), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", metavar="N,K,d", default="200000,100,256")
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--strategies", nargs="+", default=["badge", "coreset"])
    parser.add_argument("--study", metavar="metrics.csv")
    args = parser.parse_args()
    if args.study:
        costs_in_accuracy(args.study, args.strategies)
        return
    import numpy as np
    from synthetic_pool import synthetic, three_sizes

    from labelbench import select

    features, weight, bias, labels, labelled = synthetic(*three_sizes(args.synthetic), 0, 1000)
    known = {"head": (weight, bias), "labelled": labelled, "labels": labels[labelled], "budget": args.budget}
    size = len(features)
    for strategy in args.strategies:
        exact = None
        lists = [{"by": by, "size": size // part} for by in ("margin", "kmeans", "random") for part in (4, 20)]
        for shortlist in [None, *lists]:
            start = time.process_time()
            picks = select(features, strategy=strategy, shortlist=shortlist, **known)
            seconds = time.process_time() - start
            exact = picks if exact is None else exact
            result = {
                "strategy": strategy,
                "shortlist": shortlist,
                "cpu_seconds": round(seconds, 2),
                "common_picks": len(np.intersect1d(picks, exact)) / args.budget,
                "classes": len(np.unique(labels[picks])),
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
