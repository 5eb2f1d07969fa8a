from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from mlops_nb.datasets import Added, Column, DatasetList, DatasetVersion, TableFormat, table_format
from mlops_nb.tables import plain

FLIGHTS = DatasetVersion(
    name="flights",
    version=3,
    digest="0123456789abcdef0123456789abcdef",
    kind="table",
    n_files=1,
    size=5_200_000,
    added_bytes=1_000,
    created=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    author="ada",
    source="flights_df",
    message="dropped bad rows",
    rows=336_776,
    columns=(Column("carrier", "string", 0, 16, "9E", "YV"), Column("delay", "double", 2)),
    aliases=("prod",),
)
PICTURES = DatasetVersion(
    name="pictures",
    version=1,
    digest="f" * 32,
    kind="folder",
    n_files=2_000,
    size=26_000_000,
    added_bytes=26_300_000,
    created=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    author="ada",
    source="raw/pictures",
)


def test_a_version_says_its_reference_shape_size_author_and_columns():
    text = str(FLIGHTS)
    for word in ("flights@v3", "336,776 rows x 2 columns", "5.2 MB", "ada", "flights_df", "prod"):
        assert word in text
    assert "dropped bad rows" in text.splitlines()[0]
    assert "carrier" in text
    assert "9E" in text


def test_a_folder_says_how_many_files_and_shows_no_column_table():
    assert str(PICTURES).splitlines() == [str(PICTURES)]
    assert "2,000 files" in str(PICTURES)


def test_a_version_becomes_json_with_its_reference_and_profile():
    record = json.loads(json.dumps(FLIGHTS.to_dict(), allow_nan=False))
    assert record["reference"] == "flights@v3"
    assert record["created"] == "2026-03-01T12:00:00+00:00"
    assert record["columns"][0] == {
        "name": "carrier",
        "type": "string",
        "nulls": 0,
        "distinct": 16,
        "min": "9E",
        "max": "YV",
        "mean": None,
    }


def test_hostile_names_are_harmless_in_html_and_text():
    version = DatasetVersion(**{**vars(PICTURES), "message": "<script>\x1b[2J"})
    assert "<script>" not in version._repr_html_()
    assert "\x1b" not in str(version)


def test_added_tells_a_new_version_from_an_unchanged_one():
    assert str(Added(FLIGHTS, is_new=True)).startswith("added flights@v3: 336,776 rows")
    assert str(Added(FLIGHTS, is_new=False)) == "unchanged: flights@v3 holds this already"
    assert Added(FLIGHTS, is_new=False).to_dict()["is_new"] is False
    assert Added(FLIGHTS, is_new=True).to_dict()["reference"] == "flights@v3"


def test_added_is_flat_in_json_the_versions_keys_beside_is_new():
    added = json.loads(json.dumps(plain(Added(FLIGHTS, is_new=True)), allow_nan=False))
    assert added.pop("is_new") is True
    assert added == FLIGHTS.to_dict()
    facts = ("reference", "name", "version", "digest", "rows", "added_bytes")
    assert [added[key] for key in facts] == [
        "flights@v3",
        "flights",
        3,
        FLIGHTS.digest,
        336_776,
        1_000,
    ]


def test_a_list_has_a_row_for_each_version():
    lines = str(DatasetList((FLIGHTS, PICTURES))).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["flights@v3", "pictures@v1"]
    assert len(DatasetList((FLIGHTS, PICTURES)).to_dict()["versions"]) == 2


def test_an_empty_list_says_what_to_type():
    assert "data add SOURCE NAME" in str(DatasetList(()))


def test_aliases_do_not_make_versions_different():
    assert DatasetVersion(**{**vars(FLIGHTS), "aliases": ()}) == FLIGHTS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", TableFormat("csv")),
        ("A.CSV.GZ", TableFormat("csv", "gzip")),
        ("a.b.csv.zip", TableFormat("csv", "zip")),
        ("a.tsv", TableFormat("tsv")),
        ("a.parquet", TableFormat("parquet")),
        ("a.feather", TableFormat("feather")),
        ("a.json", TableFormat("json")),
        ("a.jsonl.gz", TableFormat("jsonl", "gzip")),
        ("a.parquet.gz", None),
        ("a.zip", None),
        ("csv", None),
        ("a.txt", None),
    ],
)
def test_a_file_name_promises_a_table_format(name, expected):
    assert table_format(name) == expected
