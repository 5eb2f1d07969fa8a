"""The store of dataset versions: a folder, written so that a crash leaves the old or new state.

    format.json                   {"format": 0, "hash": "blake2b-256"}; written first, never changed
    objects/ab/abcd…              the bytes whose blake2b-256 is abcd… (64 hex characters), as they
                                  are; immutable; equal files are stored once
    versions/NAME/v000003.json    one version, and the commit point: linked into place exclusively
    aliases/NAME/prod.json        {"version": 3}; replaced as a whole
    tmp/TOKEN/ and TOKEN.lock     what one process is writing; the lock is held while it lives, so
                                  that the next writer can tell and remove what a killed one left

A version file is JSON: format, name, version, kind ("file", "folder", "table"), digest, manifest,
n_files, size, added_bytes, created (ISO 8601, UTC), author, source, message, run_id, rows,
columns (name, type, nulls, distinct, min, max, mean), note.

`manifest` is the hash of an object that is JSON too, and lists the files, sorted by path:

    {"files": [{"path": "a/b.csv", "size": 12, "blake2b": "abcd…"}, {"path": "empty/", …}]}

A path is relative with `/`; one that ends in `/` is an empty folder (size 0, blake2b ""). The
manifest of a file or a table has one entry; a table is one Parquet file, NAME.parquet. Modes, times
and owners are not stored; a symbolic link inside a folder is stored as what it points to.

`digest` is blake2b-128. Of files and folders: over b"mlops_nb files 0\\n" and, for each entry,
path, NUL, size in decimal, NUL, blake2b, newline. Of tables: see `digests.py` beside this folder;
it is that of the cells, and does not depend on how Parquet writes them.

Order of an add: read everything into tmp/ with fsync; see that the source did not change meanwhile;
rename objects; link the version. Whatever fails before the link leaves no version, at most objects
that nobody names. A version number taken by another writer means: look again, take the next.

The modules, each importing only from those below it:

    store.py                      DatasetStore: what callers use
    catalogue.py                  versions/, aliases/, format.json: what has a name
    sources.py   checkout.py      a path or frame becomes content; content becomes files again
    objects.py                    objects/: bytes named by their hash; manifests that list them
    disk.py                       tmp/ and its locks, folders, links, JSON, errors
"""

from mlops_nb.backends.data.store import DatasetStore

__all__ = ["DatasetStore"]
