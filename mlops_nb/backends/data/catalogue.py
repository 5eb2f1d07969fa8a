"""versions/, aliases/ and format.json: what in the store has a name."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.backends.data import disk
from mlops_nb.backends.data.disk import children, damaged, line, read_json, to_json
from mlops_nb.backends.data.objects import Entry, digest_of, open_object, read_manifest
from mlops_nb.datasets import Added, Column, DatasetVersion
from mlops_nb.errors import NotFoundError, StoreError, did_you_mean
from mlops_nb.files import sync, write_atomically, write_new
from mlops_nb.references import check_name

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.references import DataReference

FORMAT = 0
VERSION_FILE = re.compile(r"v([0-9]{6,})\.json")


class Catalogue:
    """The named part of a store; OSErrors come through."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # The store's format

    def prepare(self) -> None:
        """Make the store, or see that it is one that this code may write to."""
        self.check_format()
        target = self.folder / "format.json"
        if target.exists():
            return
        strangers = {f.name for f in children(self.folder)} - {"tmp", "lost+found"}
        if strangers := {name for name in strangers if not name.startswith(".")}:
            raise StoreError(
                f"{self.folder} is not empty and no dataset store (it has {min(strangers)})",
                cure="set data in mlops.toml to a folder of its own",
            )
        with disk.workplace(self.folder / "tmp") as folder:
            write_new(folder / "format.json", to_json({"format": FORMAT, "hash": "blake2b-256"}))
            disk.link_new(folder / "format.json", target)
            sync(self.folder)

    def check_format(self) -> None:
        """StoreError if this code does not know the store's format."""
        path = self.folder / "format.json"
        if not path.exists():
            # looked for twice: another process may be making the store right now
            if (self.folder / "versions").exists() and not path.exists():
                raise StoreError(
                    f"{path} is missing beside dataset versions", cure="restore it from a backup"
                )
            return
        found = read_json(path).get("format")
        if found != FORMAT:
            raise StoreError(
                f"{self.folder} has store format {found!r}, this mlops_nb knows {FORMAT}",
                cure="pip install --upgrade mlops-nb",
            )

    # Versions

    def names(self) -> tuple[str, ...]:
        """Every dataset that has a version, sorted."""
        self.check_format()
        folders = children(self.folder / "versions")
        return tuple(sorted(f.name for f in folders if self._numbers(f.name)))

    def known(self, name: str) -> list[int]:
        """The numbers of all versions, ascending; NotFoundError if there is none."""
        self.check_format()
        numbers = self._numbers(check_name(name, "dataset"))
        if not numbers:
            cure = did_you_mean(name, self.names()) or f"add it with data add SOURCE {name}"
            raise NotFoundError(f"no dataset {name!r} in {self.folder}", cure=cure)
        return numbers

    def find(self, reference: DataReference) -> DatasetVersion:
        """The version meant; NotFoundError says what there is instead."""
        numbers = self.known(reference.name)
        number = reference.version or numbers[-1]
        if reference.alias:
            number = self._aliased(reference.name, reference.alias)
        if number not in numbers:
            there = ", ".join(f"v{n}" for n in numbers[-8:])
            raise NotFoundError(
                f"no version {number} of dataset {reference.name}",
                cure=f"there is {'… ' if len(numbers) > 8 else ''}{there}",
            )
        return self.version(reference.name, number)

    def latest(self, name: str) -> DatasetVersion | None:
        numbers = self._numbers(name)
        return self.version(name, numbers[-1]) if numbers else None

    def version(self, name: str, number: int) -> DatasetVersion:
        """A version that is there; StoreError if its file is damaged."""
        path = self._path(name, number)
        record = read_json(path)
        try:
            known = {k: v for k, v in record.items() if k not in ("format", "manifest")}
            known["columns"] = tuple(Column(**column) for column in record["columns"])
            known["created"] = datetime.fromisoformat(record["created"])
            version = DatasetVersion(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{type(error).__name__}: {line(error)}") from error
        if (version.name, version.version) != (name, number):
            raise damaged(path, f"it says {version.reference}")
        aliases = tuple(a for a, n in self._aliases(name).items() if n == number)
        return replace(version, aliases=aliases)

    def entries(self, version: DatasetVersion) -> tuple[Entry, ...]:
        """The files of a version, every path seen to stay inside its folder."""
        path = self._path(version.name, version.version)
        manifest = Entry("manifest", -1, str(read_json(path).get("manifest")))
        with open_object(self.folder, version, manifest) as handle:
            try:
                entries = read_manifest(handle.read())
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(path, f"manifest: {line(error)}") from error
        if not all(entry.is_inside for entry in entries):
            raise damaged(path, "a path leads out of its folder")
        if version.kind != "table" and digest_of(entries) != version.digest:
            raise damaged(path, "its digest is not that of its files")
        return entries

    def append(self, name: str, record: dict[str, Any], workplace: Path) -> Added:
        """The next version, unless the latest holds the same content."""
        disk.make_folder(self.folder / "versions" / name)
        while True:
            # the number is the one after the version compared with, so that no equal one slips in
            latest = self.latest(name)
            if latest and (latest.kind, latest.digest) == (record["kind"], record["digest"]):
                return Added(latest, is_new=False)
            number = latest.version + 1 if latest else 1
            record = {"format": FORMAT, "name": name, **record, "version": number}
            if self._link(record, workplace):
                return Added(self.version(name, number), is_new=True)

    def _link(self, record: dict[str, Any], workplace: Path) -> bool:
        """Create the version if its number is free still."""
        name, number = record["name"], record["version"]
        aside = workplace / f"v{number}.json"
        aside.unlink(missing_ok=True)
        write_new(aside, to_json(record))
        is_ours = disk.link_new(aside, self._path(name, number))
        if is_ours:
            reference = f"{name}@v{number}"
            _confirm(self.folder / "versions" / name, f"{reference} was added", reference)
        return is_ours

    def _numbers(self, name: str) -> list[int]:
        found = (VERSION_FILE.fullmatch(f.name) for f in children(self.folder / "versions" / name))
        return sorted(int(match[1]) for match in found if match)

    def _path(self, name: str, number: int) -> Path:
        return self.folder / "versions" / name / f"v{number:06d}.json"

    # Aliases

    def set_alias(self, version: DatasetVersion, alias: str) -> None:
        aliases = self.folder / "aliases" / version.name
        with disk.workplace(self.folder / "tmp") as folder:
            disk.make_folder(aliases)
            content = to_json({"version": version.version})
            write_atomically(aliases / f"{alias}.json", content, aside=folder)
        _confirm(aliases, f"{version.reference} is {alias} now", version.reference)

    def _aliases(self, name: str) -> dict[str, int]:
        files = sorted(f for f in children(self.folder / "aliases" / name) if f.suffix == ".json")
        try:
            return {file.stem: int(read_json(file)["version"]) for file in files}
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.folder / "aliases" / name, line(error)) from error

    def _aliased(self, name: str, alias: str) -> int:
        aliases = self._aliases(name)
        if alias not in aliases:
            cure = did_you_mean(alias, aliases) or f"there is {', '.join(aliases) or 'none yet'}"
            raise NotFoundError(f"no alias {alias!r} of dataset {name}", cure=cure)
        return aliases[alias]


def _confirm(folder: Path, done: str, reference: str) -> None:
    """Sync the folder of a file that has its name already, and so is there for all readers."""
    try:
        sync(folder)
    except OSError as error:
        raise StoreError(
            f"{done}, but the disk did not confirm it ({error.strerror})",
            cure=f"look at it with data show {reference}",
        ) from error
