"""Results of others as rows of the study's table."""

import json
from pathlib import Path

from labelbench.common import jobs, registry
from labelbench.common.errors import UserError
from labelbench.data import dataset_file
from labelbench.evidence import study

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

importer, config = registry.configured("importers", spec["importer"])
renamed = {tuple(names): name for *names, name in spec["renames"]}
for path in map(Path, job.input.own):
    here, there = dataset_file.read(path), importer.definitions(config)["datasets"][path.stem]
    if here.fingerprint != there["fingerprint"]:
        raise UserError(
            f"{path.stem} is another dataset in this import: the fingerprint of its images, splits and labels is "
            f"{there['fingerprint']}, and {here.fingerprint} here. It was not imported; give it another name under "
            "`datasets` of the import, and it is shown by itself."
        )
rows, left_out = importer.read(config, log)
for row in rows:
    names = (*(row[column] for column in study.SETTING), row["strategy"])
    row["strategy"] = renamed.get(names, row["strategy"])
rows, hits = study.apart(rows)
for path, content, value in ((job.output.rows, rows, "float64"), (job.output.hits, hits, "string")):
    with jobs.written_whole(path) as part:
        study.write_parquet(content, part, value)
jobs.write_result(job.output.left_out, {"notes": left_out})
jobs.write_result(job.output.tuned, {"tuned": importer.tuned(config)})
log.info("%d values", len(rows))
