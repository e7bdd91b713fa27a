"""Tables as CSV, HTML and LaTeX, and the summary that ends a run."""

import json

from labelbench import jobs, pages, published, study, tables, typeset

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

metrics = study.load(job.input[0])
made, finals, comparisons = [], [], []  # made: (page, CSV text) in the order of the output files
for kind, dataset in spec["tables"]:
    own = metrics[metrics["dataset"] == dataset]
    about = (own, dataset, spec["lead"][dataset], spec["kinds"])
    if kind == "costs":
        table = tables.costs_table(own, dataset, spec["end_to_end"][dataset], spec["costs"])
        made.append((pages.costs_page(table, spec["costs"].get("currency", "money")), tables.costs_csv(table)))
    elif kind == "trainers":
        table = tables.trainers_table(*about, spec["passive"][dataset])
        made.append((pages.trainers_page(table), tables.to_csv(table, "passive")))
    elif kind == "selectors":
        table = tables.selectors_table(*about)
        made.append((pages.selectors_page(table), tables.to_csv(table)))
    elif kind == "published":
        table = published.comparison(own, dataset, spec["published"][dataset])
        made.append((published.page(table, dataset), published.to_csv(table)))
    else:
        finals.append(table := tables.final_table(*about))
        made.append((pages.final_page(table), tables.to_csv(table)))
for i, (page, csv) in enumerate(made):
    for format, text in (("csv", csv), ("html", typeset.to_html(page)), ("tex", typeset.to_latex(page))):
        with jobs.written_whole(job.output[format][i]) as part:
            part.write_text(text, encoding="utf-8")
compared = {page.dataset for page, _ in made if page.name == "selectors"}
for page, _ in made:
    # Costs are told in the files; where selectors are compared, they are what the comparison is for.
    if page.name in ("trainers", "selectors") or (page.name == "costs" and page.dataset in compared):
        comparisons.append(page)
with jobs.written_whole(job.output.summary) as part:
    part.write_text(pages.summary(finals, comparisons), encoding="utf-8")
log.info("tables of %s", ", ".join(spec["lead"]))
