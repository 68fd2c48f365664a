"""`sobench data list|fetch|verify`: list data sets, download their files, compare the files with their checksums.

Imports no torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from sobench.config import registry
from sobench.data.sources import File, Source
from sobench.data.store import Store, intact
from sobench.errors import Failure
from sobench.system.text import table

ALL = "all"
DAMAGED = ("wrong checksum", "empty", "not a file")
"""States of a file that make `verify` fail."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `data`; each of its actions sets `func`, which takes the arguments and returns an exit code."""
    text = "list, fetch or verify the files of data sets"
    parser = subparsers.add_parser("data", help=text, description=f"{text[0].upper()}{text[1:]}.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, func, text in (
        ("list", list_datasets, "list data sets, with the size and the folder of their files"),
        (
            "fetch",
            fetch,
            "get missing files into the cache: from the mirror, or by download; without a name list what there is",
        ),
        ("verify", verify, "compare the existing files with their checksums"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        about = "data sets, or all" if func is fetch else "data sets (default: all)"
        action.add_argument("names", nargs="*", metavar="NAME", help=about)
        about = "the cache (default: SOBENCH_CACHE, else ~/.cache/sobench)"
        action.add_argument("--data-dir", type=Path, metavar="DIR", help=about)
        about = "a folder that is searched first and never written to (default: SOBENCH_DATA)"
        action.add_argument("--mirror", type=Path, metavar="DIR", help=about)
        action.set_defaults(func=func)


def list_datasets(args: argparse.Namespace) -> int:
    """Print a table of the data sets: description, size, state of the files and their folders. Always returns 0."""
    store = Store.default(args.mirror, args.data_dir)
    rows = [("data set", "content", "size", "state", "where")]
    rows += [
        (source.name, source.about, size_of(source), *state_of(store, source)) for source in _chosen(store, args.names)
    ]
    if not args.names:
        for name, entry in registry.entries("datasets").items():
            if name not in store.sources:
                rows.append((name, registry.summary(entry), "", "", registry.origin(entry)))
    print(*table(rows), sep="\n")
    return 0


def fetch(args: argparse.Namespace) -> int:
    """Put the files of the data sets into the cache. Returns 1 if a data set cannot be had; each of these is named.

    Without a name, list the data sets that have files, and download nothing.
    """
    store = Store.default(args.mirror, args.data_dir)
    if not args.names:
        return _list_fetchable(store)
    failures = []
    for source in _chosen(store, [] if args.names == [ALL] else args.names):
        if not source.files:
            print(f"{source.name}: nothing to fetch: {source.where}")
        for filename in source.files:
            try:
                print(f"{source.name}: {store.fetch(source.name, filename)}", flush=True)
            except Failure as failure:
                failures.append(str(failure))
                break  # its other files come from the same place
    for failure in failures:
        print(f"sobench: {failure}", file=sys.stderr)
    return int(bool(failures))


def _list_fetchable(store: Store) -> int:
    """Print the data sets that have files, with their sizes."""
    with_files = [source for source in store.sources.values() if source.files]
    rows = [("data set", "size", "state", "content")]
    for source in with_files:
        how = "" if source.urls else ", manual download"
        rows.append((source.name, size_of(source), f"{state_of(store, source)[0]}{how}", source.about))
    print(*table(rows), sep="\n")
    some = " ".join(source.name for source in with_files[:2])
    print(f"to get some of them: sobench data fetch {some}; all of them: sobench data fetch {ALL}")
    return 0


def verify(args: argparse.Namespace) -> int:
    """Verify every existing copy of each file.

    Returns 1 if one is damaged, or if a file of a named data set is missing.
    """
    store = Store.default(args.mirror, args.data_dir)
    faults = []
    for source in _chosen(store, args.names):
        if not source.files:
            print(f"{source.name}: nothing to verify: {source.where}")
        if stand_in := store.stand_in(source.name):
            print(f"{source.name}: {stand_in}: unverified, stands in for {', '.join(source.files)}")
            continue
        for filename, file in source.files.items():
            copies = [place for place in store.places(source.name, filename) if place.exists()]
            states = {str(place): _file_state(place, file) for place in copies}
            for place, state in (states or {filename: "missing"}).items():
                print(f"{source.name}: {place}: {state}")
                if state in DAMAGED or (state == "missing" and args.names):
                    faults.append(f"{place} ({state})")
    if faults:
        print(f"sobench: data verify: {', '.join(faults)}", file=sys.stderr)
    return int(bool(faults))


def _file_state(place: Path, file: File) -> str:
    if not place.is_file():
        return "not a file"
    if not file.verifiable:
        return "unverified, no checksum is published" if intact(place, file) else "empty"
    return "ok" if intact(place, file) else "wrong checksum"


def _chosen(store: Store, names: Iterable[str]) -> list[Source]:
    """The named data sets, each once; all without a name."""
    return [store.source(name) for name in (dict.fromkeys(names) or store.sources)]


def size_of(source: Source) -> str:
    """The size of all files of a data set, as text."""
    if not source.files:
        return ""
    return "unknown" if source.bytes is None else f"{source.bytes / 1e6:.1f} MB"


def state_of(store: Store, source: Source) -> tuple[str, str]:
    """Whether all files of a data set exist (`verify` looks at their contents), and their folders."""
    if not source.files:
        return "", source.where
    if stand_in := store.stand_in(source.name):
        return f"{stand_in.name}, unverified", str(stand_in.parent)
    first_copies = [next((p for p in store.places(source.name, name) if p.is_file()), None) for name in source.files]
    existing = [place for place in first_copies if place]
    if len(existing) == len(first_copies):
        state = "present" if source.verifiable else "present, unverified"
    else:
        state = f"{len(existing)} of {len(first_copies)} files" if existing else "missing"
    return state, ", ".join(dict.fromkeys(str(place.parent) for place in existing))
