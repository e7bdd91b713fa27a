"""Selection beside scikit-activeml: the same pool, each in a process of its own, one JSON line per strategy.

    pip install --no-deps --target /tmp/peers scikit-activeml makefun
    PYTHONPATH=/tmp/peers python bench/peers.py --synthetic 20000,100,512 --budget 100

One thread each. `cpu_ratio` and `memory_ratio` are the peer's over ours, memory being the process's peak. `common` is
the share of equal picks; only strategies without random draws (k-means among them) can be expected to agree.
`--limit` is how many seconds a peer may take.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("workflow/scripts", "bench")]

# Their names, and whether they are given a classifier.
PEERS = {
    "coreset": ("CoreSet", ""),
    "maxherding": ("MaxHerding", ""),
    "probcover": ("ProbCover", ""),
    "typiclust": ("TypiClust", ""),
    "dropquery": ("DropQuery", "clf"),
    "badge": ("Badge", "clf"),
    "falcun": ("Falcun", "clf"),
    "clue": ("Clue", "estimator"),
}


def ours(pool, strategy, budget):
    import torch  # noqa: F401  importing it is no part of a selection

    from labelbench import select
    from labelbench.selection import clustering, coverage, greedy, representatives  # noqa: F401

    features, weight, bias, labels, labelled = pool
    known = {"labelled": labelled, "labels": labels[labelled], "budget": budget}
    return lambda: select(features, head=(weight, bias), strategy=strategy, **known)


def theirs(pool, strategy, budget):
    import numpy as np
    import skactiveml.pool
    from skactiveml.base import SkactivemlClassifier

    features, weight, bias, labels, labelled = pool
    name, model = PEERS[strategy]

    class Known(SkactivemlClassifier):
        """The head that is known already: there is nothing to fit."""

        def fit(self, X, y, sample_weight=None):
            return self

        def predict_proba(self, X):
            logits = X @ weight.T + bias
            logits -= logits.max(1, keepdims=True)
            odds = np.exp(logits, out=logits)
            odds /= odds.sum(1, keepdims=True)
            return odds

        def predict(self, X):
            return (X @ weight.T + bias).argmax(1)

    y = np.full(len(features), np.nan)
    y[labelled] = labels[labelled]
    extra = {}
    if model:
        known = Known(classes=np.arange(len(bias)))
        known.classes_ = np.arange(len(bias))
        extra = {model: known, "fit_estimator" if model == "estimator" else "fit_clf": False}
    # The papers' kernel and number of dropout passes, and as many clusters as classes; the rest are defaults.
    settings = {
        "probcover": {"n_classes": len(bias)},
        "maxherding": {"metric_dict": {"gamma": 1.0}},
        "dropquery": {"n_dropout_samples": 3},
    }.get(strategy, {})
    query = getattr(skactiveml.pool, name)(random_state=0, **settings)
    return lambda: query.query(features, y, batch_size=budget, **extra)


def timed(side, size, strategy, budget):
    """One case, in this process: prints CPU seconds, peak memory and picks as JSON."""
    from synthetic_pool import synthetic, three_sizes

    pool = synthetic(*three_sizes(size), 0, 1000)
    run = {"ours": ours, "theirs": theirs}[side](pool, strategy, budget)
    start = time.process_time()
    picks = run()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mb": peak, "picks": [int(at) for at in picks]}))


def measured(side, args, strategy):
    """What `timed` printed, or a word that says why it did not."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    command = [sys.executable, __file__, "--case", side, strategy, "--synthetic", args.synthetic]
    command += ["--budget", str(args.budget)]
    environment = os.environ | dict.fromkeys(threads, "1")
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=args.limit, check=False)
    except subprocess.TimeoutExpired:
        return f"more than {args.limit} s"
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:200]
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", metavar="N,K,d", default="20000,100,512")
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--limit", type=float, default=600, help="seconds (default: 600)")
    parser.add_argument("--only", nargs="*", choices=PEERS)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        timed(args.case[0], args.synthetic, args.case[1], args.budget)
        return
    for strategy in args.only or PEERS:
        mine, other = measured("ours", args, strategy), measured("theirs", args, strategy)
        result = {"strategy": strategy}
        for side, found in (("ours", mine), ("theirs", other)):
            known = isinstance(found, dict)
            result[side] = {"seconds": round(found["seconds"], 3), "mb": round(found["mb"])} if known else found
        if isinstance(mine, dict) and isinstance(other, dict):
            result["cpu_ratio"] = round(other["seconds"] / mine["seconds"], 1)
            result["memory_ratio"] = round(other["mb"] / mine["mb"], 1)
            result["common"] = len(set(mine["picks"]) & set(other["picks"])) / args.budget
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
