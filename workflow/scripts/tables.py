"""Tables as CSV, HTML and LaTeX, the summary that ends a run, and what the study says in words."""

import dataclasses
import json

import pandas as pd

from labelbench.common import jobs, json_files
from labelbench.evidence import (
    collapses,
    comparison_pages,
    comparisons,
    findings,
    lever_pages,
    levers,
    pages,
    published,
    study,
    tables,
    typeset,
)
from labelbench.evidence.images import TestImages

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
equivalence, leads = spec["equivalence"], spec["lead"]

metrics, unpaired = study.paired(study.load(job.input.metrics))
images = TestImages(study.read_parquet(job.input.hits))
left_out = json_files.read(job.input.left_out, ("notes",))["notes"]
for dataset, notes in unpaired.items():
    left_out.setdefault(dataset, []).extend(notes)
for dataset, notes in left_out.items():
    for note in notes:
        log.warning("%s: %s", dataset, note)
judged, headlines, pooled = {}, {}, {}
made, finals, told, compared = [], [], {}, {}  # made: (page, CSV text) in the order of the output files
order = dict.fromkeys(dataset for _, dataset in spec["tables"])  # the study's; that of `leads` is sorted
for dataset in order:
    lead = leads[dataset]
    own = metrics[metrics["dataset"] == dataset]
    table = comparisons.comparisons_table(own, dataset, lead, spec["kinds"], equivalence, images, spec["family"])
    judged[dataset] = {setting: study.judged(own, dataset, setting) for setting in study.settings(own, dataset)}
    if gone := collapses.told(collapses.found(own, dataset, lead)):
        left_out.setdefault(dataset, []).extend(gone)
    told[dataset] = findings.paragraphs(table, judged[dataset], left_out.get(dataset, []), equivalence)
    over = comparisons.pooled(table, judged[dataset], equivalence)
    headlines[dataset] = findings.headline(dataset, table, over, judged[dataset])
    compared[dataset], pooled[dataset] = table, over
for kind, dataset in spec["tables"]:
    own = metrics[metrics["dataset"] == dataset]
    about = (own, dataset, leads[dataset], spec["kinds"])
    if kind == "costs":
        table = tables.costs_table(own, dataset, spec["end_to_end"][dataset], spec["costs"])
        page, text = pages.costs_page(table, spec["costs"].get("currency", "money")), tables.costs_csv(table)
    elif kind == "comparisons":
        parts = [part for part in (compared[dataset], pooled[dataset]) if len(part)]
        table = pd.concat(parts, ignore_index=True) if parts else compared[dataset]
        page, text = comparison_pages.page(table, equivalence, dataset, spec["family"]), comparisons.to_csv(table)
    elif kind == "trainers":
        table = tables.trainers_table(*about, spec["passive"][dataset])
        page, text = pages.trainers_page(table), tables.to_csv(table, "passive")
    elif kind == "selectors":
        table = tables.selectors_table(*about)
        page, text = pages.selectors_page(table), tables.to_csv(table)
    elif kind == "published":
        table = published.comparison(own, dataset, spec["published"][dataset])
        same_runs = spec["published"][dataset].get("same_runs", False)
        page, text = published.page(table, dataset, same_runs), published.to_csv(table)
    else:
        finals.append(table := tables.final_table(*about, images))
        page, text = pages.final_page(table), tables.to_csv(table)
    note = " ".join([page.note, *left_out.get(dataset, [])])
    made.append((dataclasses.replace(page, note=note), text))
# Told in the findings, and where levers are ranked: no table of one dataset lacks anything for it.
uncompared = spec["uncompared"]
for dataset, note in uncompared.items():
    told[dataset].append(note)
overall_notes = [f"{dataset}: {note}" for dataset, notes in left_out.items() for note in notes]
ranking = comparisons.ranking(metrics, leads, spec["kinds"], spec["images"]) if "ranks" in spec["overall"] else None
ranked_levers = None
for kind in spec["overall"]:
    if kind == "levers":
        starts = {dataset: spec["starts"][dataset] for dataset in order}
        about = (metrics, leads, spec["kinds"], starts, spec["images"], equivalence, images, spec["family"])
        ranked_levers = levers.table(*about)
        page, text = lever_pages.page(ranked_levers, equivalence), levers.to_csv(ranked_levers)
        page = dataclasses.replace(page, note=" ".join([page.note, *uncompared.values()]))
    elif kind == "wins":
        table = comparisons.wins_table(metrics, leads, spec["kinds"], equivalence)
        page, text = comparison_pages.wins_page(table, spec["kinds"], equivalence), tables.plain_csv(table)
    else:
        page, text = (
            comparison_pages.ranks_page(ranking, spec["kinds"]),
            tables.plain_csv(comparisons.ranks_table(ranking)),
        )
    made.append((dataclasses.replace(page, note=" ".join([page.note, *overall_notes])), text))
for i, (page, csv) in enumerate(made):
    for format, text in (("csv", csv), ("html", typeset.to_html(page)), ("tex", typeset.to_latex(page))):
        with jobs.written_whole(job.output[format][i]) as part:
            part.write_text(text, encoding="utf-8")
several = {page.dataset for page, _ in made if page.name == "selectors"}
# Costs are told in the files; where selectors are compared, they are what the comparison is for.
further = [
    page
    for page, _ in made
    if page.name in ("trainers", "selectors", "levers") or (page.name == "costs" and page.dataset in several)
]
about = findings.note(spec["kinds"], equivalence, spec["family"])
notes = findings.caveats(compared, left_out)
if ranked_levers is not None:
    notes = [*lever_pages.sentences(ranked_levers), *notes]
    told = {lever_pages.TITLE: lever_pages.paragraphs(ranked_levers), **told}
summed = findings.summary(headlines, ranking, notes, spec["images"])
overview = findings.overview(compared, judged)
for path, text in (
    (job.output.summary, pages.summary(finals, further)),
    (job.output.findings, findings.to_html(told, about, summed, overview)),
    (job.output.findings_text, findings.to_text(told, about, summed, overview)),
):
    with jobs.written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
log.info("tables of %s", ", ".join(leads))
