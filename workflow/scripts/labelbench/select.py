"""Selection without the workflow, from files to a file.

    python -m labelbench.select --features f.npy --head head.safetensors --labelled labelled.csv \\
        --strategy badge --budget 1000 -o picks.csv

--features names one file or several (shards, in order): .npy, or .h5, .safetensors, .parquet with --array. --head is a
.safetensors or .npz file with `weight` (K, d) and `bias` (K,); --probabilities a .npy file (N, K) in its place.
--labelled is a CSV file with the columns `index` and `label` (from 0). The picks are written as a CSV file with the
column `index`, in the order of the strategy. As a Python function: `from labelbench import select`.
"""

import argparse
import sys

from labelbench.common.errors import UserError


def _features(paths, array):
    """What `select` takes as features: rows of .npy files stay on disk, matrices of other formats are read."""
    import numpy as np

    from labelbench.data import feature_files
    from labelbench.selection.shards import NpyRows

    parts = [
        NpyRows(path) if path.endswith(".npy") else np.concatenate(list(feature_files.matrix(path, array).read()))
        for path in paths
    ]
    return parts[0] if len(parts) == 1 else parts


def _head(path):
    import numpy as np

    try:
        if path.endswith(".npz"):
            with np.load(path) as arrays:
                return arrays["weight"], arrays["bias"]
        from safetensors.numpy import load_file

        arrays = load_file(path)
        return arrays["weight"], arrays["bias"]
    except KeyError as error:
        raise UserError(f"{path} has no {error}: a head is `weight` (K, d) and `bias` (K,).") from None
    except Exception as error:  # readers have errors of their own
        raise UserError(f"{path} cannot be read: {error}") from None


def _labelled(path):
    """Indices and labels of a CSV file."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
        return table["index"].to_numpy("int64"), table["label"].to_numpy("int64")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} must be a CSV file with whole numbers in `index` and `label`: {error}") from None


def _array(path):
    import numpy as np

    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a NumPy array: {error}") from None


def _parsed(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m labelbench.select", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", nargs="+", metavar="FILE")
    parser.add_argument("--array", default="features", help="name of the matrix in .h5, .safetensors, .parquet")
    parser.add_argument("--head", metavar="FILE")
    parser.add_argument("--probabilities", metavar="FILE")
    parser.add_argument("--labelled", metavar="FILE", help="none: nothing is labelled yet")
    parser.add_argument("--classes", type=int, help="K, where neither head nor probabilities say it")
    parser.add_argument("--strategy", required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the strategy")
    parser.add_argument("--shortlist", nargs="*", metavar="KEY=VALUE", help="such as by=margin size=500000")
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", metavar="FILE", help=".npy (N,) of all labels, for strategies that buy as they go")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    return parser.parse_args(arguments)


def _settings(items):
    import yaml

    return {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in items)}


def main(arguments=None):
    """Run the command. Raises `UserError` for what the user can mend."""
    args = _parsed(arguments)
    from labelbench.selection.alone import select

    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    labelled, labels = _labelled(args.labelled) if args.labelled else ((), ())
    answers = None if args.answers is None else _array(args.answers)
    picks = select(
        _features(args.features, args.array) if args.features else None,
        strategy=args.strategy,
        budget=args.budget,
        labelled=labelled,
        labels=labels,
        probabilities=None if args.probabilities is None else _array(args.probabilities),
        head=None if args.head is None else _head(args.head),
        num_classes=args.classes,
        settings=_settings(args.set),
        shortlist=None if args.shortlist is None else _settings(args.shortlist),
        seed=args.seed,
        answer=None if answers is None else answers.__getitem__,
        true_labels=answers,
        device=args.device,
    )
    with open(args.output, "w") as file:  # noqa: PTH123  the name may be /dev/stdout
        file.write("index\n" + "".join(f"{pick}\n" for pick in picks))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
