"""Finished measurements, kept until all are there, so that a run that was stopped goes on."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.full_vs_truncated.setting import Setting


class Kept:
    """A folder with one file for each finished measurement.

    It is named by the setting and the machine: another one begins anew. It knows nothing of the code: after a change,
    `forget`.
    """

    def __init__(self, setting: Any, folder: Path = results.FOLDER / ".partial"):
        """Look for what there is.

        Args:
            setting: anything with a `repr` of its own.
            folder: where it lies.
        """
        self.folder = folder / hashlib.sha256(repr((setting, results.machine())).encode()).hexdigest()[:12]

    def __call__(self, name: str, measure: Callable[[], Any]) -> Any:
        """Measure, unless that is done.

        Args:
            name: of the measurement.
            measure: `() ->` anything JSON can hold.

        Returns:
            What it gave, now or before.
        """
        path = self.folder / f"{name.replace(', ', '_').replace(' ', '_')}.json"
        if not path.exists():
            print(f"  {name}", file=sys.stderr, flush=True)
            text, new = json.dumps(measure()), path.with_suffix(".new")
            self.folder.mkdir(parents=True, exist_ok=True)  # now: another run may have removed it meanwhile
            new.write_text(text)
            new.replace(path)
        return json.loads(path.read_text())

    def forget(self) -> None:
        """Remove it all."""
        shutil.rmtree(self.folder, ignore_errors=True)


def by_length(part: str, one_length: Callable[..., list[Any]], setting: Setting, kept: Kept) -> list[Any]:
    """Measure every length of every grid.

    Args:
        part: what is measured.
        one_length: `(grid, steps, setting) -> rows`.
        setting: the sizes.
        kept: what is done.

    Returns:
        Rows.
    """
    rows = []
    for grid in setting.grids:
        for steps in grid.lengths:
            name = f"{part} H={grid.hidden} T={steps} {len(grid.rules)} rules"
            rows += kept(name, partial(one_length, grid, steps, setting))
    return rows
