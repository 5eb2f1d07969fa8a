from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops_nb.backends.data import DatasetStore, disk, objects, sources
from mlops_nb.errors import MlopsError, NotFoundError, StoreError, UsageError
from mlops_nb.references import DataReference


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty folder").mkdir()
    (root / "a.txt").write_bytes(b"one")
    (root / "same.txt").write_bytes(b"one")
    (root / "nothing").write_bytes(b"")
    (root / "ünï cødé ✓.bin").write_bytes(bytes(range(256)))
    (root / "deep" / "er" / "line\nend").write_bytes(b"two")
    (root / ".hidden").write_bytes(b"three")
    return root


def contents(root: Path) -> dict[str, bytes | None]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None
        for p in root.rglob("*")
    }


def files_below(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def object_files(store: DatasetStore) -> list[Path]:
    return [p for p in (store.folder / "objects").rglob("*") if p.is_file()]


def flip(path: Path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


# Adding


def test_a_file_becomes_version_1_with_all_its_facts(store, tmp_path):
    source = tmp_path / "x.bin"
    source.write_bytes(b"hello")
    before = datetime.now(UTC)
    added = store.add(source, "things", message="first", run_id="r1")
    version = added.version
    assert added.is_new
    assert (version.reference, version.kind, version.n_files, version.size) == (
        "things@v1",
        "file",
        1,
        5,
    )
    assert (version.message, version.run_id, version.source) == ("first", "r1", str(source))
    assert re.fullmatch("[0-9a-f]{32}", version.digest)
    assert before <= version.created <= datetime.now(UTC)
    assert version.author
    assert version == store.get("things") == store.versions("things")[0]


def test_unchanged_content_makes_no_new_version_and_changed_content_does(store, tmp_path):
    source = tmp_path / "x.bin"
    source.write_bytes(b"hello")
    first = store.add(source, "things")
    os.utime(source, (1, 1))
    again = store.add(source, "things", message="other")
    assert not again.is_new
    assert again.version == first.version
    source.write_bytes(b"hellO")
    assert store.add(source, "things").version.version == 2
    source.write_bytes(b"hello")
    assert store.add(source, "things").version.version == 3
    assert [v.version for v in store.versions("things")] == [1, 2, 3]


def test_a_folder_comes_back_byte_for_byte(store, folder, tmp_path):
    version = store.add(folder, "pictures").version
    assert (version.kind, version.n_files, version.size) == ("folder", 6, 3 + 3 + 0 + 256 + 3 + 5)
    out = store.checkout("pictures@v1", tmp_path / "out")
    assert contents(out) == contents(folder)


def test_renaming_moving_or_emptying_within_a_folder_changes_its_digest(store, folder):
    digests = [store.add(folder, "pictures").version.digest]
    changes = [
        lambda: (folder / "a.txt").rename(folder / "b.txt"),
        lambda: (folder / "b.txt").rename(folder / "deep" / "b.txt"),
        lambda: (folder / "deep" / "b.txt").write_bytes(b""),
        (folder / "empty folder").rmdir,
    ]
    for change in changes:
        change()
        digests.append(store.add(folder, "pictures").version.digest)
    assert len(set(digests)) == 5


def test_equal_files_are_stored_once_and_added_bytes_is_what_the_objects_grew_by(store, folder):
    grown = 0
    for name in ("one", "two"):
        version = store.add(folder, name).version
        now = sum(p.stat().st_size for p in object_files(store))
        assert version.added_bytes == now - grown
        assert store.get(name).added_bytes == version.added_bytes
        grown = now
    assert version.added_bytes == 0
    assert sum(p.read_bytes() == b"one" for p in object_files(store)) == 1


def test_the_source_is_only_read(store, folder):
    before = {p: p.stat() for p in folder.rglob("*")}
    listing = contents(folder)
    store.add(folder, "pictures")
    assert contents(folder) == listing
    assert all(p.stat().st_mtime_ns == s.st_mtime_ns for p, s in before.items())
    assert all(p.stat().st_mode == s.st_mode for p, s in before.items())


def test_an_empty_file_and_an_empty_folder_are_versions(store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.bin").touch()
    assert store.add(tmp_path / "empty", "folder").version.n_files == 0
    assert store.add(tmp_path / "empty.bin", "file").version.size == 0
    assert contents(store.checkout("folder", tmp_path / "out")) == {}
    assert store.checkout("file", tmp_path / "out.bin").read_bytes() == b""


def test_links_inside_a_folder_are_stored_as_what_they_point_to(store, folder, tmp_path):
    (folder / "link").symlink_to("a.txt")
    (folder / "link to folder").symlink_to("deep")
    store.add(folder, "pictures")
    out = store.checkout("pictures", tmp_path / "out")
    assert (out / "link").read_bytes() == b"one"
    assert not (out / "link").is_symlink()
    assert (out / "link to folder" / "er" / "line\nend").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("target", "problem"),
    [("../secret", "out of the added folder"), ("nowhere", "link to nothing"), (".", "lies in")],
)
def test_a_link_that_cannot_be_stored_is_named(store, folder, target, problem):
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "deep" / "bad link").symlink_to(Path("..") / target)
    with pytest.raises(UsageError, match=rf"bad link is a .*{problem}"):
        store.add(folder, "pictures")
    assert store.names() == ()
    assert object_files(store) == []


def test_a_pipe_in_a_folder_is_named_and_not_waited_for(store, folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="pipe is neither a file nor a folder"):
        store.add(folder, "pictures")


def test_a_file_name_that_is_no_utf8_is_named(store, folder):
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))).write_bytes(b"")
    with pytest.raises(UsageError, match="not valid UTF-8; rename"):
        store.add(folder, "pictures")


def test_a_missing_source_is_named_with_its_neighbour(store, tmp_path):
    (tmp_path / "flights.csv").write_text("a\n1\n")
    with pytest.raises(NotFoundError, match=r"did you mean flights\.csv"):
        store.add(tmp_path / "flight.csv", "flights")


def test_a_folder_that_holds_the_store_is_refused(store, tmp_path):
    with pytest.raises(UsageError, match="holds the dataset store itself"):
        store.add(tmp_path, "all")


def test_a_bad_name_is_refused_before_anything_is_written(store, folder):
    with pytest.raises(UsageError, match="cannot name a dataset"):
        store.add(folder, "../x")
    assert not store.folder.exists()


# Tables


def test_a_frame_comes_back_with_rows_and_profile(store):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}, index=[5, 6, 7])
    version = store.add(frame, "table", source_label="df").version
    assert (version.kind, version.rows, version.source, version.n_files) == ("table", 3, "df", 1)
    assert [(c.name, c.nulls) for c in version.columns] == [
        ("a", 0),
        ("b", 1),
        ("__index_level_0__", 0),
    ]
    pd.testing.assert_frame_equal(store.load("table@v1"), frame)
    assert not store.add(store.load("table"), "table").is_new


def test_an_arrow_table_is_the_same_table_as_its_frame(store):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})
    assert store.add(frame, "table").is_new
    assert not store.add(pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}), "table").is_new


def test_a_cell_at_row_300_000_makes_a_new_version(store):
    frame = pd.DataFrame({"a": np.arange(336_776)})
    store.add(frame, "table")
    frame.loc[300_000, "a"] = -1
    added = store.add(frame, "table")
    assert added.version.reference == "table@v2"
    assert store.load("table@v2").loc[300_000, "a"] == -1
    assert store.load("table@v1").loc[300_000, "a"] == 300_000


def test_a_frame_that_cannot_be_stored_leaves_nothing(store):
    with pytest.raises(UsageError, match="column 'a'"):
        store.add(pd.DataFrame({"a": [1, "x"]}), "table")
    assert store.names() == ()
    assert object_files(store) == []


def test_a_csv_file_is_a_table_with_profile_and_keeps_its_bytes(store, tmp_path):
    source = tmp_path / "x.csv.gz"
    pd.DataFrame({"a": [1, 2, None], "b": ["x", "y", "z"]}).to_csv(source, index=False)
    version = store.add(source, "table").version
    assert (version.kind, version.rows) == ("file", 3)
    assert [(c.name, c.type, c.nulls) for c in version.columns] == [
        ("a", "double", 1),
        ("b", "string", 0),
    ]
    assert store.load("table")["b"].tolist() == ["x", "y", "z"]
    assert store.checkout("table", tmp_path / "out.gz").read_bytes() == source.read_bytes()


def test_a_file_that_only_claims_to_be_a_table_is_stored_and_says_so(store, tmp_path):
    source = tmp_path / "x.parquet"
    source.write_bytes(b"no parquet at all")
    version = store.add(source, "table").version
    assert version.rows is None
    assert "no readable parquet" in version.note
    with pytest.raises(UsageError, match=r"cannot be read as parquet.*data checkout table@v1"):
        store.load("table")


def test_a_table_file_above_the_limit_is_stored_without_profile_and_says_so(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "PROFILE_LIMIT", 5000)
    plain, packed = tmp_path / "x.csv", tmp_path / "x.csv.zip"
    frame = pd.DataFrame({"a": ["long text"] * 1000})
    frame.to_csv(plain)
    frame.to_csv(packed)
    assert packed.stat().st_size < 5000 < plain.stat().st_size
    for source in (plain, packed):
        version = store.add(source, "table").version
        assert version.rows is None
        assert version.note == "not profiled: more than 5.0 kB"
    assert len(store.load("table")) == 1000


def test_a_folder_of_one_format_is_loaded_in_name_order(store, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in (2, 1, 3):
        pd.DataFrame({"n": [number]}).to_csv(parts / f"{number}.csv", index=False)
    store.add(parts, "parts")
    assert store.load("parts")["n"].tolist() == [1, 2, 3]
    (parts / "4.csv").write_text("m\n1\n")
    store.add(parts, "parts")
    with pytest.raises(UsageError, match=r"4\.csv has other columns than 1\.csv"):
        store.load("parts")
    (parts / "readme.txt").write_text("hello")
    store.add(parts, "parts")
    with pytest.raises(UsageError, match=r"parts@v3 is no table.*data checkout parts@v3"):
        store.load("parts")


# References


def test_unknown_names_versions_and_aliases_say_what_there_is(store, tmp_path):
    with pytest.raises(NotFoundError, match="add it with data add SOURCE flights"):
        store.get("flights")
    store.add(pd.DataFrame({"a": [1]}), "flights")
    store.add(pd.DataFrame({"a": [2]}), "flights")
    with pytest.raises(NotFoundError, match=r"no dataset 'flight'.*did you mean flights"):
        store.get(DataReference("flight"))
    with pytest.raises(NotFoundError, match="no version 7 of dataset flights; there is v1, v2"):
        store.get("flights@v7")
    with pytest.raises(
        NotFoundError, match="no alias 'prod' of dataset flights; there is none yet"
    ):
        store.get("flights@prod")
    store.set_alias("flights@v1", "clean")
    with pytest.raises(NotFoundError, match="there is clean"):
        store.get("flights@prod")


def test_an_alias_moves_and_is_shown_by_its_version(store):
    for number in (1, 2):
        store.add(pd.DataFrame({"a": [number]}), "flights")
    assert store.set_alias("flights@v1", "prod").aliases == ("prod",)
    assert store.load("flights@prod")["a"].tolist() == [1]
    store.set_alias("flights", "prod")
    assert store.get("flights@prod").version == 2
    assert [v.aliases for v in store.versions("flights")] == [(), ("prod",)]


def test_the_listing_has_the_latest_of_each_name_or_all_versions_of_one(store):
    for name, number in (("b", 1), ("a", 2), ("b", 3)):
        store.add(pd.DataFrame({"a": [number]}), name)
    assert [v.reference for v in store.listing().versions] == ["a@v1", "b@v2"]
    assert [v.reference for v in store.listing("b").versions] == ["b@v2", "b@v1"]


def test_an_unused_store_is_empty_and_is_not_made_by_looking(store):
    assert store.names() == ()
    assert store.listing().versions == ()
    assert not store.folder.exists()


# Checkout


def test_a_checkout_is_named_after_the_data(store, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.add(folder / "a.txt", "one")
    store.add(folder, "two")
    store.add(pd.DataFrame({"a": [1]}), "three")
    (tmp_path / "there").mkdir()
    assert store.checkout("one") == Path("a.txt")
    assert store.checkout("two") == Path("two")
    assert store.checkout("three") == Path("three.parquet")
    assert store.checkout("one", Path("there")) == Path("there/a.txt")
    assert store.checkout("one", Path("new/folder/b")) == Path("new/folder/b")
    assert pd.read_parquet("three.parquet")["a"].tolist() == [1]


def test_what_is_there_already_is_kept_unless_it_is_the_same_or_may_be_replaced(
    store, folder, tmp_path
):
    store.add(folder, "pictures")
    store.add(folder / "a.txt", "one")
    out, file = tmp_path / "out", tmp_path / "file"
    for reference, target in (("pictures", out), ("one", file)):
        store.checkout(reference, target)
        assert store.checkout(reference, target) == target
    (out / "mine.txt").write_text("my work")
    file.write_text("my work")
    for reference, target in (("pictures", out), ("one", file)):
        with pytest.raises(UsageError, match=rf"{target} is there already.*--overwrite"):
            store.checkout(reference, target)
    assert (out / "mine.txt").read_text() == file.read_text() == "my work"
    store.checkout("pictures", out, overwrite=True)
    store.checkout("one", file, overwrite=True)
    assert contents(out) == contents(folder)
    assert file.read_bytes() == b"one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "out", "pictures", "store"]


def test_an_empty_folder_is_filled(store, folder, tmp_path):
    store.add(folder, "pictures")
    (tmp_path / "out").mkdir()
    assert contents(store.checkout("pictures", tmp_path / "out")) == contents(folder)


def test_the_current_folder_and_the_store_are_never_replaced(store, folder, tmp_path, monkeypatch):
    store.add(folder, "pictures")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for target in (Path(), Path(".."), tmp_path, store.folder):
        with pytest.raises(UsageError, match="holds the current folder or the dataset store"):
            store.checkout("pictures", target, overwrite=True)
    assert store.names() == ("pictures",)


def test_links_at_the_target_are_not_followed(store, folder, tmp_path):
    store.add(folder, "pictures")
    store.add(folder / "a.txt", "one")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "a.txt").write_text("precious")
    (tmp_path / "file").symlink_to(precious / "a.txt")
    (tmp_path / "out").symlink_to(precious)
    for reference, target in (("one", tmp_path / "file"), ("pictures", tmp_path / "out")):
        with pytest.raises(UsageError, match="is there already"):
            store.checkout(reference, target)
        store.checkout(reference, target, overwrite=True)
        assert not target.is_symlink()
    assert contents(precious) == {"a.txt": b"precious"}


def test_links_inside_the_target_are_not_followed(store, folder, tmp_path):
    store.add(folder, "pictures")
    precious = tmp_path / "precious"
    shutil.copytree(folder / "deep", precious)
    out = store.checkout("pictures", tmp_path / "out")
    shutil.rmtree(out / "deep")
    (out / "deep").symlink_to(precious)
    with pytest.raises(UsageError, match="is there already"):
        store.checkout("pictures", out)
    store.checkout("pictures", out, overwrite=True)
    assert not (out / "deep").is_symlink()
    assert contents(precious) == contents(folder / "deep")


def test_a_version_whose_paths_lead_out_of_its_folder_is_refused(store, folder, tmp_path):
    store.add(folder, "pictures")
    evil = {"files": [{"path": "../evil", "size": 0, "blake2b": objects.new_hash().hexdigest()}]}
    content = json.dumps(evil).encode()
    digest = objects.new_hash()
    digest.update(content)
    path = store.folder / "objects" / digest.hexdigest()[:2] / digest.hexdigest()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    file = store.folder / "versions" / "pictures" / "v000001.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "manifest": digest.hexdigest()}))
    with pytest.raises(StoreError, match="leads out of its folder"):
        store.checkout("pictures", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


# Damage


def test_a_flipped_byte_is_found_at_load_and_checkout_and_adding_again_mends_it(store, tmp_path):
    source = tmp_path / "x.csv"
    source.write_text("a\n1\n2\n")
    store.add(source, "table")
    damaged = next(p for p in object_files(store) if p.read_bytes() == source.read_bytes())
    flip(damaged, 2)
    out = tmp_path / "out.csv"
    for use in (lambda: store.load("table"), lambda: store.checkout("table", out)):
        with pytest.raises(StoreError, match=rf"table@v1: object {damaged.name[:12]}.* is damaged"):
            use()
    assert not out.exists()
    assert not store.add(source, "table").is_new
    assert store.load("table")["a"].tolist() == [1, 2]


def test_every_flipped_byte_of_every_object_is_found(store, folder, tmp_path):
    store.add(folder, "pictures")
    for path in object_files(store):
        content = path.read_bytes()
        for position in range(0, len(content), 1 + len(content) // 8):
            flip(path, position)
            with pytest.raises(StoreError, match="damaged"):
                store.checkout("pictures", tmp_path / "out")
            path.write_bytes(content)
    assert contents(store.checkout("pictures", tmp_path / "out")) == contents(folder)


def test_a_missing_object_is_named(store, tmp_path):
    store.add(pd.DataFrame({"a": [1]}), "table")
    for path in object_files(store):
        path.unlink()
    with pytest.raises(StoreError, match=r"table@v1: object .* is missing"):
        store.load("table")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"columns": 3}'])
def test_a_damaged_version_file_is_named(store, content):
    store.add(pd.DataFrame({"a": [1]}), "table")
    (store.folder / "versions" / "table" / "v000001.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"v000001\.json is damaged"):
        store.get("table")


def test_a_store_of_a_later_format_is_left_alone(store):
    store.add(pd.DataFrame({"a": [1]}), "table")
    (store.folder / "format.json").write_text('{"format": 1}')
    before = files_below(store.folder)
    for use in (store.names, lambda: store.get("table"), lambda: store.add(pd.DataFrame(), "x")):
        with pytest.raises(StoreError, match=r"store format 1, this mlops_nb knows 0.*upgrade"):
            use()
    assert files_below(store.folder) == before


def test_a_folder_with_other_things_is_not_made_a_store(store):
    store.folder.mkdir()
    (store.folder / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match=r"no dataset store \(it has thesis\.tex\)"):
        store.add(pd.DataFrame({"a": [1]}), "table")
    assert files_below(store.folder) == ["thesis.tex"]


def test_a_store_without_its_format_file_is_not_taken_for_empty(store):
    store.add(pd.DataFrame({"a": [1]}), "table")
    (store.folder / "format.json").unlink()
    with pytest.raises(StoreError, match=r"format\.json is missing"):
        store.names()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": "x"}'])
def test_a_damaged_alias_is_named(store, content):
    store.add(pd.DataFrame({"a": [1]}), "table")
    store.set_alias("table", "prod")
    (store.folder / "aliases" / "table" / "prod.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"aliases.*is damaged"):
        store.get("table@prod")


def test_a_disk_without_hard_links_is_named_as_such(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match="no hard links, nothing was added; set data"):
        store.add(pd.DataFrame({"a": [1]}), "table")


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame(index=range(3)),
        pd.DataFrame(index=[5, 6]),
        pd.DataFrame({"a": pd.Series([], dtype="float64"), "b": pd.Series([], dtype="str")}),
    ],
)
def test_a_table_without_rows_or_columns_comes_back(store, frame):
    version = store.add(frame, "table").version
    assert version.rows == len(frame)
    pd.testing.assert_frame_equal(
        store.load("table"), frame, check_column_type=False, check_index_type=False
    )


def test_notes_on_a_frame_are_no_data(store):
    frame = pd.DataFrame({"a": [1]})
    store.add(frame, "table")
    frame.attrs["who"] = object()
    assert not store.add(frame, "table").is_new


# A source that changes


def disturbed(monkeypatch, action, *, after: int):
    """Run `action` when the writer has been given its `after`-th block."""
    count = 0
    plain = objects.Staged.write

    def write(self, block):
        nonlocal count
        count += 1
        if count == after:
            action()
        return plain(self, block)

    monkeypatch.setattr(objects.Staged, "write", write)


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        (lambda f: (f / "deep/er/line\nend").unlink(), "vanished"),
        (shutil.rmtree, "vanished"),
        (lambda f: (f / "new").write_bytes(b"x"), "changed"),
        (lambda f: (f / ".hidden").write_bytes(b"other"), "changed"),
        (lambda f: (f / "a.txt").write_bytes(b"longer"), "changed"),
        (lambda f: (f / "same.txt").replace(f / "a.txt"), "changed|vanished"),
    ],
)
@pytest.mark.parametrize("after", [1, 3])
def test_a_folder_that_changes_while_it_is_read_adds_nothing(
    store, folder, monkeypatch, action, problem, after
):
    disturbed(monkeypatch, lambda: action(folder), after=after)
    with pytest.raises(UsageError, match=f"({problem}) while it was being read, nothing was added"):
        store.add(folder, "pictures")
    assert store.names() == ()
    assert object_files(store) == []
    assert files_below(store.folder) == ["format.json"]


def test_a_big_file_that_grows_or_vanishes_while_it_is_read_adds_nothing(
    store, tmp_path, monkeypatch
):
    source = tmp_path / "big.bin"

    def grow():
        with source.open("ab") as handle:
            handle.write(b"more")

    for action, problem in ((grow, "changed"), (source.unlink, "vanished|changed")):
        source.write_bytes(os.urandom(3 * objects.BLOCK))
        with monkeypatch.context() as patch:
            disturbed(patch, action, after=2)
            with pytest.raises(UsageError, match=f"big.bin ({problem}) while it was being read"):
                store.add(source, "big")
        assert files_below(store.folder) == ["format.json"]


# Failures of the disk


CALLS = ("write", "replace", "link", "fsync", "mkdir", "open")


def failing_at(monkeypatch, number: int, calls=CALLS) -> list[str]:
    """Let the `number`-th call that changes the disk fail with ENOSPC; returns the calls made."""
    made: list[str] = []

    def wrapped(name, plain):
        def call(*args, **keywords):
            harmless = name == "mkdir" and Path(args[0]).is_dir()
            if not harmless and (name != "open" or args[1] & os.O_CREAT):
                made.append(name)
                if len(made) == number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return plain(*args, **keywords)

        return call

    for name in calls:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    return made


def first_success(monkeypatch, attempt, check) -> int:
    """Fail at the first, second, … call until `attempt` gets through; returns how many failed."""
    for number in range(1, 500):
        with monkeypatch.context() as patch:
            made = failing_at(patch, number)
            try:
                attempt(number)
            except MlopsError as error:
                failure = error
            else:
                assert len(made) < number
                return number - 1
        assert isinstance(failure, StoreError)
        assert "\n" not in str(failure)
        check(number, failure)
    raise AssertionError("never got through")


def test_a_full_disk_at_any_call_of_a_first_add_leaves_the_old_or_the_new_state(
    folder, tmp_path, monkeypatch
):
    def store_of(number):
        return DatasetStore(tmp_path / f"store{number}")

    def check(number, failure):
        store = store_of(number)
        if store.names():
            assert "was added, but the disk did not confirm it" in str(failure)
            assert [v.version for v in store.versions("pictures")] == [1]
        else:
            assert "is full, nothing was added; free some space" in str(failure)
        assert files_below(store.folder / "tmp") == []
        assert store.add(folder, "pictures").version.version == 1
        out = store.checkout("pictures", tmp_path / f"out{number}")
        assert contents(out) == contents(folder)

    failed = first_success(monkeypatch, lambda n: store_of(n).add(folder, "pictures"), check)
    assert failed > 20


def test_a_full_disk_at_any_call_of_a_later_add_keeps_the_versions_there_are(
    store, tmp_path, monkeypatch
):
    frames = [pd.DataFrame({"a": [number]}) for number in range(300)]
    store.add(frames[0], "table")

    def check(number, failure):
        versions = store.versions("table")
        confirmed = "nothing was added" in str(failure)
        assert store.load("table")["a"].tolist() == [number - 1 if confirmed else number]
        assert store.add(frames[number], "table").version.version == number + 1
        assert [v.version for v in versions] == list(range(1, number + (1 if confirmed else 2)))
        assert store.load("table")["a"].tolist() == [number]
        assert files_below(store.folder / "tmp") == []

    assert first_success(monkeypatch, lambda n: store.add(frames[n], "table"), check) > 8


def test_a_full_disk_at_any_call_of_an_alias_leaves_the_old_or_the_new_one(store, monkeypatch):
    for number in (1, 2):
        store.add(pd.DataFrame({"a": [number]}), "table")
    store.set_alias("table@v1", "prod")

    def check(number, failure):
        done = "table@v2 is prod now, but the disk did not confirm it" in str(failure)
        assert done or "is full" in str(failure)
        assert store.get("table@prod").version == (2 if done else 1)
        assert files_below(store.folder / "aliases") == ["table/prod.json"]
        assert files_below(store.folder / "tmp") == []
        store.set_alias("table@v1", "prod")

    assert first_success(monkeypatch, lambda _: store.set_alias("table@v2", "prod"), check) > 4
    assert store.get("table@prod").version == 2


def test_a_folder_that_is_not_permitted_is_named_and_not_called_full(store, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    store.add(pd.DataFrame({"a": [1]}), "table")
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        with pytest.raises(
            StoreError, match=r"tmp/\w+ is not permitted.*nothing was added; choose"
        ):
            store.add(pd.DataFrame({"a": [2]}), "table")
        with pytest.raises(StoreError, match=r"is not permitted.*nothing was replaced.*--to"):
            store.checkout("table", tmp_path / "new folder" / "file")
    assert [v.version for v in store.versions("table")] == [1]


def test_a_full_disk_at_any_call_of_a_checkout_keeps_what_was_there(
    store, folder, tmp_path, monkeypatch
):
    store.add(folder, "pictures")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("my work")

    def check(number, failure):
        assert f"the disk of {out} is full, nothing was replaced" in str(failure)
        assert contents(out) == {"mine.txt": b"my work"}
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pictures", "store"]

    def attempt(number):
        store.checkout("pictures", out, overwrite=True)

    assert first_success(monkeypatch, attempt, check) > 10
    assert contents(out) == contents(folder)


# Several processes


ADD = """
import sys
from pathlib import Path
from mlops_nb.backends.data import DatasetStore
store, name = DatasetStore(Path(sys.argv[1])), sys.argv[2]
for source in sys.argv[3:]:
    print(store.add(Path(source), name).version.version, flush=True)
"""


def adding(store: DatasetStore, name: str, sources: list[Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADD, str(store.folder), name, *map(str, sources)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_processes_adding_to_one_name_make_eighty_versions(store, tmp_path):
    sources = [[tmp_path / f"{p}-{n}.bin" for n in range(10)] for p in range(8)]
    every = [path for group in sources for path in group]
    for path in every:
        path.write_bytes(path.name.encode())
    processes = [adding(store, "shared", group) for group in sources]
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in outcomes] == [""] * 8
    told = sorted(int(word) for output, _ in outcomes for word in output.split())
    assert told == list(range(1, 81))
    versions = store.versions("shared")
    assert [v.version for v in versions] == told
    assert len({v.digest for v in versions}) == 80
    stored = {store.checkout(v.reference, tmp_path / v.reference).read_bytes() for v in versions}
    assert stored == {path.name.encode() for path in every}
    assert files_below(store.folder / "tmp") == []


def test_eight_processes_adding_the_same_make_one_version(store, folder):
    processes = [adding(store, "shared", [folder]) for _ in range(8)]
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert outcomes == [("1\n", "")] * 8
    assert [v.version for v in store.versions("shared")] == [1]


def being_written(store: DatasetStore) -> bool:
    """Whether a block of a big file is in tmp/ already (what vanishes meanwhile is passed over)."""
    for folder, _, names in os.walk(store.folder / "tmp"):
        for name in names:
            with suppress(FileNotFoundError):
                if (Path(folder) / name).stat().st_size >= 1 << 20:
                    return True
    return False


def test_a_process_killed_while_adding_leaves_no_version_and_the_next_add_cleans_up(
    store, tmp_path
):
    source = tmp_path / "big.bin"
    source.write_bytes(os.urandom(1 << 20) * 50)
    process = adding(store, "big", [source])
    deadline = time.monotonic() + 30
    while not being_written(store):
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (-signal.SIGKILL, "")
    assert store.names() == ()
    assert files_below(store.folder / "tmp") != []
    assert store.add(source, "big").version.size == 50 << 20
    assert files_below(store.folder / "tmp") == []
    assert store.checkout("big", tmp_path / "out").read_bytes() == source.read_bytes()


def test_what_a_living_process_is_writing_is_not_swept(store, tmp_path):
    store.add(pd.DataFrame({"a": [1]}), "table")
    with disk.workplace(store.folder / "tmp") as folder:
        (folder / "half").write_bytes(b"half")
        store.add(pd.DataFrame({"a": [2]}), "table")
        assert (folder / "half").read_bytes() == b"half"
    assert files_below(store.folder / "tmp") == []


def test_memory_stays_bounded_for_a_big_file(store, tmp_path):
    source = tmp_path / "big.bin"
    with source.open("wb") as handle:
        handle.truncate(160 << 20)
    code = f"""
import resource
from pathlib import Path
from mlops_nb.backends.data import DatasetStore
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = DatasetStore(Path({str(store.folder)!r}))
store.add(Path({str(source)!r}), "big")
store.checkout("big", Path({str(tmp_path / "out")!r}))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 60  # MiB


def test_importing_the_store_imports_neither_pandas_nor_pyarrow():
    heavy = "{'pandas', 'pyarrow', 'numpy'}"
    code = f"import sys, mlops_nb.backends.data; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# Real disks


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.system
def test_a_disk_that_is_really_full_keeps_the_versions_there_are(small_disk, tmp_path):
    store = DatasetStore(small_disk / "store")
    small, big = tmp_path / "small.bin", tmp_path / "big.bin"
    small.write_bytes(b"small")
    big.write_bytes(os.urandom(3 << 20))
    store.add(small, "data")
    with pytest.raises(
        StoreError, match=r"the disk of .* is full, nothing was added; free some space"
    ):
        store.add(big, "data")
    assert [v.version for v in store.versions("data")] == [1]
    assert files_below(store.folder / "tmp") == []
    small.write_bytes(b"other")
    assert store.add(small, "data").version.version == 2

    elsewhere = DatasetStore(tmp_path / "elsewhere")
    elsewhere.add(big, "big")
    with pytest.raises(StoreError, match="is full, nothing was replaced"):
        elsewhere.checkout("big", small_disk / "out.bin")
    assert [p.name for p in small_disk.iterdir()] == ["store"]


@pytest.mark.system
def test_a_store_on_a_read_only_disk_can_be_read_and_says_so_when_written(small_disk, tmp_path):
    store = DatasetStore(small_disk / "store")
    store.add(pd.DataFrame({"a": [1]}), "table")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="store is read-only for you, nothing was added"):
        store.add(pd.DataFrame({"a": [2]}), "table")
    assert store.load("table")["a"].tolist() == [1]
