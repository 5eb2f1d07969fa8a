from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from mlops_nb.errors import StoreError
from mlops_nb.journal import Journal, _records, orphans

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
import time
from pathlib import Path
from mlops_nb.journal import Journal
journal = Journal(Path(sys.argv[1]), tracking="here")
journal.append({"op": "open", "run_id": "r1"})
print("ready", flush=True)
sys.stdin.read()
"""


def dead_process(folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    assert not list(orphans(folder)), "a living process is not an orphan"
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_a_killed_process_leaves_its_records_to_the_next_a_living_one_does_not(
    tmp_path: Path,
) -> None:
    dead_process(tmp_path)
    [orphan] = orphans(tmp_path)
    path, records = orphan.path, orphan.records
    assert abs(orphan.last_seen - time.time()) < 60
    assert [r["op"] for r in records] == ["begin", "open"]
    assert records[0]["tracking"] == "here"
    assert path.exists(), "who deals with the records removes the file"


def test_an_ended_process_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tracking="here")
    journal.append({"op": "open", "run_id": "r1"})
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_on_the_disk_when_the_call_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tracking="here")
    journal.append({"op": "note", "text": "two\nlines"})
    assert json.loads(journal.path.read_text().splitlines()[-1]) == {
        "op": "note",
        "text": "two\nlines",
    }
    journal.close()
    journal.append({"op": "late"})  # after the end there is nothing to say any more
    assert list(tmp_path.iterdir()) == []


def test_the_journal_of_another_host_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other-1-x.jsonl").write_text('{"op": "begin", "host": "elsewhere", "pid": 1}\n')
    assert list(orphans(tmp_path)) == []


def test_a_missing_folder_holds_no_orphans(tmp_path: Path) -> None:
    assert list(orphans(tmp_path / "none")) == []


def test_a_forked_child_does_not_keep_its_dead_parents_lock(tmp_path: Path) -> None:
    code = WRITER.replace(
        'print("ready"', 'import os, time\nif os.fork() == 0:\n    time.sleep(60)\nprint("ready"'
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.kill()
    child.wait()
    try:
        found: list[Any] = []
        for _ in range(100):  # the forked child lets go as soon as it gets to run
            found = list(orphans(tmp_path))
            if found:
                break
            time.sleep(0.1)
        assert len(found) == 1
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def test_a_journal_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    with pytest.raises(StoreError) as caught:
        Journal(tmp_path / "journal", tracking="here")
    assert "\n" not in str(caught.value)


records = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), min_size=1)
)


@given(records, st.data())
def test_a_torn_file_gives_every_whole_record_before_the_tear(entries: Any, data: Any) -> None:
    content = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    cut = data.draw(st.integers(0, len(content)))
    whole = content[:cut].count(b"\n")
    found = list(_records(content[:cut]))
    assert found[:whole] == entries[:whole]
    assert len(found) <= whole + 1
