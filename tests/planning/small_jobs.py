"""Jobs of known size in a process of their own, for test_job_requests.py.

python tests/planning/small_jobs.py images READERS DECODED_MB    # views for a GPU, of 224 pixels
python tests/planning/small_jobs.py proxy IMAGES WIDTH           # a proxy on one clean and two augmented views
python tests/planning/small_jobs.py selection STRATEGY IMAGES WIDTH CLASSES LABELLED BUDGET
python tests/planning/small_jobs.py batch STRATEGY IMAGES WIDTH CLASSES BUDGET    # for people
"""

import hashlib
import logging
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow/scripts"))

import numpy as np  # noqa: E402
import torch  # noqa: E402


def images(readers, decoded_mb):
    from PIL import Image

    from labelbench.common import torchvision_cpu  # noqa: F401
    from labelbench.data import image_files, views
    from labelbench.embedding import images
    from labelbench.embedding.encoders import timm
    from labelbench.embedding.kept import Kept
    from labelbench.embedding.workers import Workers

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.jpg")
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        encoder = timm.load(timm.Config(image_size=224), "cpu")

        def read(position):
            return image_files.opened(path)

        count = 1000
        read = Kept(read, count, decoded_mb * 1_000_000) if decoded_mb else read
        dataset = SimpleNamespace(splits={"pool": SimpleNamespace(source=np.arange(count))}, fingerprint="f")
        data = images.Data(dataset, encoder, read, "cpu", Workers(readers))
        live = images.LiveViews(data, views.make_views(encoder.transform, views.Config()), "f")
        order = np.arange(count) if decoded_mb else np.arange(count)[:480]
        plan = [(part[:16], part[16:]) for part in np.array_split(order, len(order) // 96)]
        for _ in live.batches(0, 0, plan):
            pass


def proxy(count, width):
    from labelbench.common import registry
    from labelbench.data import label_set
    from labelbench.training import proxy, training

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.npy") for name in ("clean", "weak", "strong")]
        for path in files:  # by rows, so that making them takes no memory
            file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, width))
            for begin in range(0, count, 5000):
                file[begin : begin + 5000] = rng.standard_normal(file[begin : begin + 5000].shape, dtype=np.float32)
            del file
        clean, weak, strong = (np.load(path) for path in files)
    labels = label_set.empty("f", 0).extended(np.arange(500), rng.integers(10, size=500), 1)
    model = proxy.build({"name": "linear"}, np.zeros(width, np.float32), np.ones(width, np.float32), 10, 0)
    trainer = registry.load("trainers", "flexmatch")
    config = trainer.Config(epochs=1, batch_size=64, early_stopping="none")
    views = training.CachedViews([weak], [strong], "cpu")
    log = logging.getLogger("labelbench")
    training.fit(model, trainer, config, views, labels, count, 10, None, np.random.default_rng(0), log)
    batches = [torch.from_numpy(clean[begin : begin + 4096]) for begin in range(0, count, 4096)]
    training.predictions(model, batches, np.zeros(count, np.int64))


def selection(strategy, count, width, classes, labelled, budget):
    """As `select_batch.py` does it, with a linear proxy. Prints the peak of the process, in KiB."""
    from labelbench.common import registry
    from labelbench.selection.pool import Head, Pool
    from labelbench.training import proxy

    torch.set_grad_enabled(False)
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((classes, width), dtype=np.float32)
    labels = rng.integers(classes, size=count)
    plugin, extra = registry.load("strategies", strategy), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clean.npy")
        rows = count if plugin.USES else 0  # a job whose strategy looks at nothing reads no embeddings
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, width))
        for begin in range(0, rows, 5000):
            part = labels[begin : begin + 5000]
            file[begin : begin + 5000] = centres[part] + 8 * rng.standard_normal((len(part), width), dtype=np.float32)
        del file
        clean = np.load(path, mmap_mode="c")
    model = proxy.build({"name": "linear"}, np.zeros(width, np.float32), np.ones(width, np.float32), classes, 0)
    model.head.weight.copy_(torch.from_numpy(centres / width))
    order = rng.permutation(count)
    pool = Pool(
        labelled=order[:labelled],
        labels=labels[order[:labelled]],
        unlabelled=np.sort(order[labelled:]),
        num_classes=classes,
        embed=lambda indices: model.features(torch.from_numpy(clean[indices])),
        classify=lambda _, features: model.head(features).softmax(1),
        head=Head(model.head.weight, model.head.bias),
    )
    if getattr(plugin, "SEQUENTIAL", False):
        extra["oracle"] = SimpleNamespace(buy=lambda indices: labels[np.atleast_1d(indices)])
    if getattr(plugin, "UPPER_BOUND", False):
        extra["true_labels"] = labels
    chosen = plugin.select(pool, budget, plugin.Config(), rng, **extra)
    assert len(chosen) == budget
    print(peak())


def peak():
    """KiB that this process took at most."""
    # Not `ru_maxrss`, which begins with what the process that started this one takes.
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])


def batch(strategy, count, width, classes, budget):
    """As `propose_batch.py` does it, the second batch of a campaign. Prints the peak of the process, in KiB."""
    from labelbench.common import registry
    from labelbench.labelling import campaign, identity, models, proposal
    from labelbench.training import proxy

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        index, path = Path(folder, "images.csv"), Path(folder, "clean.npy")
        rows = (identity.Image(hashlib.sha256(b"%d" % n).hexdigest(), f"day{n % 99}/{n}.jpg") for n in range(count))
        identity.write_index(index, rows)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, width))
        for begin in range(0, count, 5000):
            file[begin : begin + 5000] = rng.standard_normal(file[begin : begin + 5000].shape, dtype=np.float32)
        del file
        clean, images = np.load(path, mmap_mode="c"), identity.read_index(index)
    assert identity.fingerprint(images)
    settings = SimpleNamespace(name="c", seed=0, batch=budget, audit=budget, budget=0, near_copies=0.98)
    settings.classes = [str(n) for n in range(classes)]
    space = models.Space(clean, np.zeros(width, np.float32), np.ones(width, np.float32), np.ones(count, bool), [], [])
    plugin, model = registry.load("strategies", strategy), None
    batches, answers = [], {}
    for number in (1, 2):
        state = campaign.state(batches, answers, 0)
        chooses = plugin if model else registry.load("strategies", "random")
        batches.append(proposal.propose(images, state, space, model, settings, chooses, chooses.Config(), number))
        said = zip(batches[-1].images, rng.choice(settings.classes, budget), strict=True)
        answers |= {image.sha256: campaign.Answered(image.sha256, "label", str(label)) for image, label in said}
        model = proxy.build({"name": "linear"}, space.mean, space.std, classes, 0)
    print(peak())


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs = {"images": images, "proxy": proxy, "selection": selection, "batch": batch}
    jobs[sys.argv[1]](*(int(text) if text.isdigit() else text for text in sys.argv[2:]))
