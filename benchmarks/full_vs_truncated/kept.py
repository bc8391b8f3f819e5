"""Finished measurements, kept until all are there, so that a run that was stopped goes on."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import results


class Kept:
    """A folder with one file for each finished measurement.

    It is named by the setting: another setting begins anew. It knows nothing of the code: after a change, `forget`.
    """

    def __init__(self, setting: Any, folder: Path = results.FOLDER / ".partial"):
        """Look for what there is.

        Args:
            setting: anything with a `repr` of its own.
            folder: where it lies.
        """
        self.folder = folder / hashlib.sha256(repr(setting).encode()).hexdigest()[:12]

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
            self.folder.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            new.write_text(json.dumps(measure()))
            new.replace(path)
        return json.loads(path.read_text())

    def forget(self) -> None:
        """Remove it all."""
        shutil.rmtree(self.folder, ignore_errors=True)
