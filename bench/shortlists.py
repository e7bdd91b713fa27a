"""What a shortlist loses: picks in common with those from the whole pool, and seconds, one JSON line per case.

python bench/shortlists.py --synthetic 200000,100,256 --budget 1000 --strategies badge coreset
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("workflow/scripts", "bench")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", metavar="N,K,d", default="200000,100,256")
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--strategies", nargs="+", default=["badge", "coreset"])
    args = parser.parse_args()
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
