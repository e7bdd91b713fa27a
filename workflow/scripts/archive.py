"""The study in one file."""

import json
from pathlib import Path

from labelbench.common import jobs
from labelbench.common.errors import UserError
from labelbench.data import dataset_file
from labelbench.evidence import archive
from labelbench.training import results as results_of

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
if not spec["contents"]:
    raise UserError("This study runs nothing itself, it only imports: there is nothing of its own to archive.")

results = Path(job.output[0]).parent
histories = [results_of.history_of(path) for path in job.input.metrics]
tables = [path for path in job.input.results if Path(path).parent == results / "tables"]
held = (*tables, *job.input.metrics, *job.input.costs, *histories, *job.input.labels)
tuned = [str(Path(path).relative_to(results)) for path in job.input.tuned]  # in the order of the table
before = (*job.input.zero_shot, *job.input.embeddings, *job.input.replicates)
files = {str(Path(path).relative_to(results)): path for path in (*held, *before, *job.input.tuned)}
datasets = {}
for path in job.input.datasets:
    dataset = dataset_file.read(path)
    datasets[Path(path).stem] = {
        "fingerprint": dataset.fingerprint,
        "pool_size": len(dataset.splits["pool"].source),
        "splits": {name: len(split.source) for name, split in dataset.splits.items()},
        "class_names": dataset.class_names,
    }
# In the study's order, which tables follow; what Snakemake records of params is sorted.
spec["contents"] = {name: spec["contents"][name] for name in datasets}
contents = {
    archive.MANIFEST: {"format": archive.FORMAT, "datasets": datasets, "tuned": tuned, **spec},
    "config.json": json.loads(job.params.config),
    "environment.json": archive.environment(),
    "snakemake.json": archive.records(results, without=job.output[0]),
}
texts = {name: json.dumps(content, indent=1, ensure_ascii=False) for name, content in contents.items()}
with jobs.written_whole(job.output[0]) as part:
    archive.write(part, files, texts)
log.info(
    "%d files of %d runs", len(files), sum(len(held["runs"]) * held["trials"] for held in spec["contents"].values())
)
