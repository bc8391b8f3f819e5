"""The commands of jaxrnn as a user gives them, each in a process of its own, and what they leave."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command(name: str, *options: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a command to its end, and read its last line.

    Args:
        name: "train", "evaluate", ...
        *options: as they stand on the command line.
        environment: variables beside those that there are.

    Returns:
        What it says in JSON.

    Raises:
        CalledProcessError: if it fails.
    """
    words = [sys.executable, "-m", f"jaxrnn.{name}", "--json", *options]
    everything = os.environ | (environment or {})
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=everything) as process:
        try:
            said, _ = process.communicate()
        except KeyboardInterrupt:  # which has come to the command too: it saves, and that may take a while
            process.wait()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return json.loads(said.splitlines()[-1])


def train(folder: Path, *begin: str) -> dict[str, Any]:
    """Train a run to its end: from its beginning, or from where it was left.

    Args:
        folder: the run's.
        *begin: how it begins, as on the command line; a run that has begun otherwise is refused, not gone on with.

    Returns:
        The last words of `jaxrnn train`, but for the place of the run and for its speed, which is of the last stretch.
    """
    said = command("train", "--run", str(folder), *begin, *(["--resume"] if folder.exists() else []))
    return {key: value for key, value in said.items() if key not in ("run", "snapshot", "tokens_per_second")}


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in a run's metrics.

    Args:
        folder: the run's.
        kind: "update" or "validation".

    Returns:
        The lines, in their order.
    """
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def validations(folder: Path) -> list[list[float]]:
    """The curve of validations of a run.

    Args:
        folder: the run's.

    Returns:
        Updates and bits per symbol, `[[step, bits], ...]`.
    """
    return [[line["step"], line["bits"]] for line in metrics(folder, "validation")]
