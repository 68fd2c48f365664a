"""`sobench data list|fetch|verify [NAMES]`. Imports no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from sobench.config import registry
from sobench.data.sources import File, Source
from sobench.data.store import Store, intact
from sobench.errors import Failure

BAD = ("wrong checksum", "empty")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Registers `data`; each of its actions sets `func`, which takes the namespace and returns an exit code."""
    parser = subparsers.add_parser("data", help="list, fetch or verify data sets", description="The data sets' files.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for func, text in (
        (list_datasets, "the data sets, and where their files are"),
        (fetch, "copy from the mirror, or download, what the cache does not have"),
        (verify, "compare the files that are here with their checksums"),
    ):
        action = actions.add_parser(func.__name__.removesuffix("_datasets"), help=text, description=text)
        action.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")
        action.add_argument(
            "--data-dir", type=Path, metavar="DIR", help="the cache (default: SOBENCH_CACHE, else ~/.cache/sobench)"
        )
        action.add_argument(
            "--mirror",
            type=Path,
            metavar="DIR",
            help="a folder that is looked in first and never written to (default: SOBENCH_DATA)",
        )
        action.set_defaults(func=func)


def list_datasets(args: argparse.Namespace) -> int:
    """Prints a table of what there is, its size, and whether and where it is here. Always 0."""
    store = Store.default(args.mirror, args.data_dir)
    rows = [("data set", "what it is", "size", "state", "where")]
    for source in _chosen(store, args.names):
        rows.append((source.name, source.about, _size(source), *_state(store, source)))
    if not args.names:
        rows += [
            (name, registry.summary(entry), "", "", registry.origin(entry))
            for name, entry in registry.entries("datasets").items()
            if name not in store.sources
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def fetch(args: argparse.Namespace) -> int:
    """Puts the files of the named data sets into the cache. 0, or 1 when a data set could not be had: each is named."""
    store = Store.default(args.mirror, args.data_dir)
    failures = []
    for source in _chosen(store, args.names):
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


def verify(args: argparse.Namespace) -> int:
    """Checks every copy that is here. 1 when one is wrong, or when a data set was named and a file of it is missing."""
    store = Store.default(args.mirror, args.data_dir)
    bad = []
    for source in _chosen(store, args.names):
        if not source.files:
            print(f"{source.name}: nothing to verify: {source.where}")
        if stand_in := store.stand_in(source.name):
            print(f"{source.name}: {stand_in}: unverified, stands in for {', '.join(source.files)}")
            continue
        for filename, file in source.files.items():
            copies = [place for place in store.places(source.name, filename) if place.exists()]
            states = {str(place): _verdict(place, file) for place in copies}
            for place, state in (states or {filename: "missing"}).items():
                print(f"{source.name}: {place}: {state}")
                if state in BAD or (state == "missing" and args.names):
                    bad.append(place)
    if bad:
        print(f"sobench: bad: {', '.join(bad)}", file=sys.stderr)
    return int(bool(bad))


def _verdict(place: Path, file: File) -> str:
    if not file.verifiable:
        return "unverified, no checksum is published" if intact(place, file) else "empty"
    return "ok" if intact(place, file) else "wrong checksum"


def _chosen(store: Store, names: Iterable[str]) -> list[Source]:
    return [store.source(name) for name in (dict.fromkeys(names) or store.sources)]


def _size(source: Source) -> str:
    if not source.files:
        return ""
    return "unknown" if source.bytes is None else f"{source.bytes / 1e6:.1f} MB"


def _state(store: Store, source: Source) -> tuple[str, str]:
    """Whether all files of a data set exist (their contents are for `verify`), and the folders they are in."""
    if not source.files:
        return "", source.where
    if stand_in := store.stand_in(source.name):
        return f"{stand_in.name}, unverified", str(stand_in.parent)
    here = [next((p for p in store.places(source.name, name) if p.exists()), None) for name in source.files]
    folders = dict.fromkeys(str(place.parent) for place in here if place)
    found = sum(place is not None for place in here)
    present = "present" if source.verifiable else "present, unverified"
    state = present if found == len(here) else f"{found} of {len(here)} files" if found else "missing"
    return state, ", ".join(folders)
