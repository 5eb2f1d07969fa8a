from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlops_nb.errors import StoreError
from mlops_nb.files import file_errors, locked, try_lock, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import sys, time
from pathlib import Path
from mlops_nb.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Any]:
    """Another process that holds tmp_path/lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    yield child
    child.kill()
    child.communicate()


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    write_atomically(path, "one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_replaced_file_is_readable_by_whom_the_umask_lets(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "x")
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_a_failing_write_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"the disk of .* is full; free some space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_lock_of_another_process_is_seen_and_free_once_that_is_dead(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    with (tmp_path / "lock").open("ab") as stream:
        assert not try_lock(stream)
        holder.kill()
        holder.wait()
        assert try_lock(stream)


def test_a_lock_is_waited_for(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    waiter = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiter.wait(0.5)
    holder.kill()
    assert waiter.stdout is not None
    assert waiter.stdout.readline() == b"held\n"
    waiter.communicate()


def test_a_lock_is_free_after_its_block(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with locked(path), path.open("ab") as other:
        assert not try_lock(other)
    with path.open("ab") as other:
        assert try_lock(other)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk of /d is full; free some space"),
        (errno.EDQUOT, "the disk of /d is full; free some space"),
        (errno.EROFS, "cannot write /d/f: .*; work in a folder you may write to"),
        (errno.EACCES, "cannot write /d/f: .*; work in a folder you may write to"),
        (errno.EIO, "/d/f: Input/output error"),
    ],
)
def test_the_disks_troubles_are_one_line_with_a_cure(number: Any, words: Any) -> None:
    with pytest.raises(StoreError, match=words) as caught, file_errors(Path("/d")):
        raise OSError(number, os.strerror(number), "/d/f")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5
