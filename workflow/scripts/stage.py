"""Encoders of a study → their weights and tokenizers in this machine's caches; which weights these are."""

import json

from labelbench.common import jobs, registry

job = snakemake  # noqa: F821
log = jobs.start(job)

staged = []
for settings in json.loads(job.params.spec)["encoders"]:
    plugin, config = registry.configured("encoders", settings)
    encoder = plugin.load(config, "cpu")
    if encoder.zero_shot_head is not None:
        encoder.zero_shot_head(("word",), ("a {}",))  # downloads the tokenizer, where it is not part of a package
    staged.append({"encoder": settings, "weights": encoder.weights_hash})
    log.info("%s: weights %s", settings["name"], encoder.weights_hash)
jobs.write_json(job.output[0], staged)
