"""Campaigns of simulated people → one table: how often their claims were true."""

import json
import types
from pathlib import Path

from labelbench.common import jobs, json_files
from labelbench.labelling import identity, rehearsal

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
by_place = {}
for path in map(Path, job.input):
    found = json_files.read(path, ("campaigns",))["campaigns"]
    by_place.setdefault((path.parents[1].name, path.parent.name), []).extend(found)
rows = []
for (dataset, variant), found in sorted(by_place.items()):
    rates = rehearsal.summary(found, types.SimpleNamespace(**spec))
    rows.append([dataset, variant, *(f"{value:.4g}" for value in rates.values())])
identity.write_table(job.output[0], ("dataset", "variant", *rates), rows)
log.info("%s", Path(job.output[0]).read_text())
