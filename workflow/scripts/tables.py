"""Tables as CSV, HTML and LaTeX, and the summary that ends a run."""

import json

from labelbench import jobs, pages, study, tables, typeset

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

metrics = study.load(job.input[0])
made = []  # (table, page, what its differences are to), in the order of the output files
for kind, dataset in spec["tables"]:
    about = (metrics, dataset, spec["lead"][dataset], spec["kinds"])
    if kind == "trainers":
        table = tables.trainers_table(*about, spec["passive"])
        made.append((table, pages.trainers_page(table), "passive"))
    elif kind == "selectors":
        table = tables.selectors_table(*about)
        made.append((table, pages.selectors_page(table, spec["end_to_end"]), tables.REFERENCE))
    else:
        table = tables.final_table(*about)
        made.append((table, pages.final_page(table), tables.REFERENCE))
for i, (table, page, reference) in enumerate(made):
    for format, text in (
        ("csv", tables.to_csv(table, reference)),
        ("html", typeset.to_html(page)),
        ("tex", typeset.to_latex(page)),
    ):
        with jobs.written_whole(job.output[format][i]) as part:
            part.write_text(text, encoding="utf-8")
finals = [table for table, page, _ in made if page.name == "final"]
comparisons = [page for _, page, _ in made if page.name != "final"]
with jobs.written_whole(job.output.summary) as part:
    part.write_text(pages.summary(finals, comparisons), encoding="utf-8")
log.info("tables of %s", ", ".join(spec["lead"]))
