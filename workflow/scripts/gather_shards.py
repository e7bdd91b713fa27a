"""Shards of the embeddings of one view → the file that `embed` would have made in one piece."""

from labelbench.common import jobs, json_files
from labelbench.embedding import embeddings

job = snakemake  # noqa: F821
log = jobs.start(job)
embeddings.gather(job.output.embeddings, job.input.shards)
costs = [json_files.read(path, ("startup_seconds", "embed_seconds")) for path in job.input.costs]
whole = {name: round(sum(cost[name] for cost in costs), 4) for name in ("startup_seconds", "embed_seconds")}
jobs.write_result(job.output.cost, {**{name: max(cost[name] for cost in costs) for name in costs[0]}, **whole})
log.info("gathered %d shards", len(job.input.shards))
