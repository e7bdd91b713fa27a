"""Tables as CSV, HTML and LaTeX, the summary that ends a run, and what the study says in words."""

import dataclasses
import json

from labelbench import comparisons, findings, jobs, pages, study, tables, typeset

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
equivalence, leads = spec["equivalence"], spec["lead"]

metrics, left_out = study.paired(study.load(job.input[0]))
for dataset, notes in left_out.items():
    for note in notes:
        log.warning("%s: %s", dataset, note)
compared = {
    dataset: comparisons.comparisons_table(metrics, dataset, leads[dataset], spec["kinds"], equivalence)
    for dataset in spec["datasets"]
}
made = []  # (page, CSV text), in the order of the output files
finals = []
for kind in spec["tables"]:
    for dataset in spec["datasets"]:
        about, reference = (metrics, dataset, leads[dataset], spec["kinds"]), study.REFERENCE
        if kind == "comparisons":
            table = compared[dataset]
            page, text = pages.comparisons_page(table, equivalence, dataset), comparisons.to_csv(table)
        elif kind == "trainers":
            table, reference = tables.trainers_table(*about, spec["passive"]), "passive"
            page, text = pages.trainers_page(table), tables.to_csv(table, reference)
        elif kind == "selectors":
            table = tables.selectors_table(*about)
            page, text = pages.selectors_page(table, spec["end_to_end"]), tables.to_csv(table)
        else:
            table = tables.final_table(*about)
            page, text = pages.final_page(table), tables.to_csv(table)
            finals.append(table)
        note = " ".join([page.note, *left_out.get(dataset, [])])
        made.append((dataclasses.replace(page, note=note), text))
for kind in spec["overall"]:
    if kind == "wins":
        table = comparisons.wins_table(metrics, leads, equivalence)
        page = pages.wins_page(table, equivalence)
    else:
        table = comparisons.ranks_table(metrics, leads, spec["kinds"])
        page = pages.ranks_page(table)
    made.append((page, table.to_csv(index=False, lineterminator="\n", float_format="%.6g")))
for i, (page, text) in enumerate(made):
    for format, content in (("csv", text), ("html", typeset.to_html(page)), ("tex", typeset.to_latex(page))):
        with jobs.written_whole(job.output[format][i]) as part:
            part.write_text(content, encoding="utf-8")
further = [page for page, _ in made if page.name in ("trainers", "selectors")]
told = {
    dataset: findings.paragraphs(table, study.judged(metrics, dataset), left_out.get(dataset, []), equivalence)
    for dataset, table in compared.items()
}
about = findings.note(spec["kinds"], equivalence)
for path, text in (
    (job.output.summary, pages.summary(finals, further)),
    (job.output.findings, findings.to_html(told, about)),
    (job.output.findings_text, findings.to_text(told, about)),
):
    with jobs.written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
log.info("tables of %s", ", ".join(spec["datasets"]))
