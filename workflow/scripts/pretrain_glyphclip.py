"""Rendered and drawn characters → checkpoint of the encoder glyphclip."""

from labelbench.common import jobs
from labelbench.glyphclip import pretrain

job = snakemake  # noqa: F821
log = jobs.start(job)

state = pretrain.pretrain(job.input.model, pretrain.Config(), log.info)
with jobs.written_whole(job.output[0]) as part:
    pretrain.save(state, part)
log.info("wrote %s", job.output[0])
