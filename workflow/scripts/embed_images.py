"""Images of a campaign → embeddings of one view; rows of images that were embedded before are taken over."""

import json

from labelbench.common import jobs

job = snakemake  # noqa: F821
log = jobs.start(job)
settings = json.loads(job.params.spec)

from labelbench.data import views
from labelbench.embedding import images as pipeline
from labelbench.labelling import identity, models

watch = jobs.Stopwatch()
images = identity.read_index(job.input.images)
root, _ = identity.source(job.params.images)


def load():
    return pipeline.of_files(job, settings, models.reader(root, images), len(images))


def views_of(encoder):
    return views.make_views(encoder.transform, views.Config())


# What the rows depend on: the encoder, and the code that ran it.
made_by = {"spec": job.params.spec, "code": job.params.code}
count = models.extend(job.output[0], images, load, job.wildcards.view, views_of, made_by)
log.info("embedded %d of %d images in %.1f s", count, len(images), watch.seconds())
