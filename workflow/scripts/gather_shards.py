"""Shards of the embeddings of one view → the file that `embed` would have made in one piece."""

from labelbench import embeddings, jobs

job = snakemake  # noqa: F821
log = jobs.start(job)
embeddings.gather(job.output[0], job.input.shards)
log.info("gathered %d shards", len(job.input.shards))
