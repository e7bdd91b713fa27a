"""A folder or table of images → the index: one row per content; files that did not change are not read again."""

import json

from labelbench.common import jobs
from labelbench.labelling import campaign, identity

job = snakemake  # noqa: F821
log = jobs.start(job)
settings = json.loads(job.params.spec)
root, _ = identity.source(settings["images"])
files, absent = identity.listed(settings["images"])
before = identity.read_index(job.output.images)
known = identity.look(root, files, identity.read_known(job.output.known))
asked_of = [image for batch in campaign.batches(job.params.folder) for image in batch.images]
images = identity.with_asked(identity.index(known, before), asked_of)
identity.check_same(settings["images"], settings["campaign"], images, before, asked_of)
identity.write_known(job.output.known, known)
identity.write_absent(job.output.absent, absent)
identity.write_index(job.output.images, images)
copies = sum(len(image.copies) for image in images)
broken = sum(bool(image.problem) for image in images if image.present)
log.info("%d images, %d exact copies, %d unreadable", sum(image.present for image in images), copies, broken)
