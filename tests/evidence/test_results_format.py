"""The tidy table is what its schema and its documentation say, column by column."""

import csv
import json
import re

import jsonschema
import pyarrow.parquet
import pytest

import synthetic_study
from conftest import REPO
from labelbench.evidence import study

SCHEMA = json.loads((REPO / "workflow/schemas/metrics.schema.json").read_text())
TYPES = {"string": "string", "integer": "int64", "number": "double", None: "string"}
PAGE = (REPO / "docs/results.md").read_text()


def documented(heading):
    """Rows of the page's table whose first title is `heading`."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:end]]


def test_schema_code_and_page_have_the_same_columns():
    assert tuple(SCHEMA["properties"]) == study.COLUMNS
    assert sorted(SCHEMA["required"]) == sorted(study.COLUMNS)
    for name, kind, unit, meaning in documented("column"):
        column = SCHEMA["properties"][name.strip("`")]
        assert kind == {"double": "float64"}.get(TYPES[column.get("type")], TYPES[column.get("type")])
        assert unit == column.get("unit", "")
        said = meaning.replace("`", "").replace("see below", "see docs/results.md")
        assert said.casefold() == column["description"].casefold()
    assert [row[0].strip("`") for row in documented("column")] == list(study.COLUMNS)


def test_parquet_holds_the_same_rows_with_the_types_of_the_schema(tmp_path):
    synthetic_study.table(tmp_path, trials=2)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [
            {**row, **{c: int(row[c]) for c in ("trial", "round", "num_labels")}, "value": float(row["value"])}
            for row in csv.DictReader(file)
        ]
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for path in paths:
        study.write_parquet(rows, path)
    assert study.read_parquet(paths[0]) == rows
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = pyarrow.parquet.read_schema(paths[0])
    assert {field.name: str(field.type) for field in found} == {
        name: TYPES[column.get("type")] for name, column in SCHEMA["properties"].items()
    }
    check(rows)


def test_every_value_of_a_study_is_documented(finished):
    check(study.read_parquet(finished / "results/tables/metrics.parquet"))


def check(rows):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    kinds = {(row["stage"], row["split"], row["metric"]): row for row in rows}
    for row in kinds.values():
        validator.validate(row)
    names = set(re.findall("`([a-z_0-9]+)`", " ".join(row[0] for row in documented("metric"))))
    names |= {f"{pool}_{name}" for pool in ("pool", "pool_model") for name in study.NAMES}
    assert {metric for _, _, metric in kinds} <= names
    assert all(re.fullmatch(SCHEMA["properties"]["metric"]["pattern"], name) for name in names)


def test_what_is_no_row_does_not_satisfy_the_schema():
    row = dict.fromkeys(study.COLUMNS, "x") | {"trial": 0, "round": 1, "num_labels": 5, "value": 0.5}
    row |= {"stage": "proxy", "split": "test", "metric": "accuracy"}
    jsonschema.validate(row, SCHEMA)
    for column, value in (("stage", "other"), ("split", "train"), ("metric", "accurracy"), ("round", 1.5), ("more", 1)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(row | {column: value}, SCHEMA)
