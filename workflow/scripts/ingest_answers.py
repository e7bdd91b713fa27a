"""Whatever people handed back → the one answer that counts for each image; and what could not be understood."""

import json
from pathlib import Path

from labelbench.common import jobs
from labelbench.labelling import adjudication, answers, campaign, identity

job = snakemake  # noqa: F821
log = jobs.start(job)
settings = json.loads(job.params.spec)
folder = Path(job.params.folder)
images = identity.read_index(job.input.images)
files = [Path(path) for path in settings["files"]]
found, problems = answers.read(files, images, settings["classes"], settings["renames"], settings["campaign"])
batches = campaign.batches(folder)
problems += answers.opened(found, lambda name: campaign.is_audit(batches, settings["seed"], name))
settled, conflicts = adjudication.settle(found)
problems += adjudication.contradictions(conflicts)
path_of = {image.sha256: image.path for image in images}
counted = [
    campaign.Answered(
        name,
        answer.status,
        answer.label,
        "; ".join(answer.annotators),
        answer.seconds,
        path_of[name],
        "; ".join(answer.sources),
    )
    for name, answer in settled.items()
]
campaign.write_answers(job.output.answers, counted, images)
absent = [(path, "", why) for path, why in identity.read_absent(job.input.absent)]
strays = [
    (name, "", f"It lies beside the folder answers/ and is not read. Answers belong into {folder / 'answers'}/.")
    for name in settings["strays"]
]
unreadable = [
    (image.path, "", f"This image cannot be read: {image.problem}.")
    for image in images
    if image.present and image.problem
]
if gone := identity.gone(images):
    log.info("%d images of the index are in no file now; their answers are kept", len(gone))
identity.write_table(
    job.output.problems,
    ("source", "row", "problem"),
    [*absent, *strays, *unreadable, *((p.source, p.row or "", p.what) for p in problems)],
    encoding="utf-8-sig",
)
identity.write_table(
    job.output.conflicts,
    ("image", "sha256", "annotator", "status", "label", "source"),
    [
        (path_of[conflict.sha256], conflict.sha256, a.annotator, a.status, a.label, a.source)
        for conflict in conflicts
        for a in conflict.answers
    ],
    encoding="utf-8-sig",
)
log.info("%d answers for %d images, %d conflicts, %d problems", len(found), len(settled), len(conflicts), len(problems))
