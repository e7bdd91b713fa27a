"""Models of all rounds + audit answers → where the campaign stands, for the terminal and as a page."""

import json
import types
from pathlib import Path

from labelbench.common import jobs
from labelbench.labelling import campaign, identity

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    from labelbench.labelling import models, standing, status_page
    from labelbench.training import proxy

spec = json.loads(job.params.spec)
settings = types.SimpleNamespace(**spec, name=spec["campaign"])
images = identity.read_index(job.input.images)
root, _ = identity.source(settings.images)
answers = campaign.read_answers(job.input.answers)
batches = campaign.batches(job.params.folder)
state = campaign.state(batches, answers, settings.seed, settings.complete, identity.gone(images))
space = models.space(job.input.clean, [], identity.fingerprint(images))
trained = {int(Path(path).parent.name.removeprefix("round")): proxy.load(path) for path in job.input.models}
missing = len(identity.read_absent(job.input.absent))
problems = len(identity.read_table(job.input.problems)) - missing
status, found = standing.status(images, root, state, space, trained, settings, problems, missing, job.params.folder)
jobs.write_result(job.output.assessment, found)
with jobs.written_whole(job.output.text) as part:
    part.write_text(status_page.text(status), encoding="utf-8")
with jobs.written_whole(job.output.html) as part:
    part.write_text(status_page.html(status), encoding="utf-8")
log.info("\n%s", status_page.text(status))
