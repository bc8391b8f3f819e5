"""Where results go: JSON with the versions and the machine that made it, and a picture beside it."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxrnn

FOLDER = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a result depends on besides the code: versions, processor and cores."""
    return {
        "jaxrnn": jaxrnn.__version__,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _of_cpu("model name") or platform.processor() or platform.machine(),
        "vectors": next((name for name in ("avx512f", "avx2") if name in _of_cpu("flags").split()), None),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
    }


def save(name: str, result: dict[str, Any], figure: Figure, folder: Path = FOLDER, *, quick: bool = False) -> Path:
    """Write `NAME.json` and `NAME.svg`, and say where.

    Args:
        name: the benchmark's name.
        result: anything JSON can hold; the machine is added.
        figure: the picture.
        folder: where to.
        quick: whether it was a trial, which must not take the place of the real result: it goes to `NAME_quick.json`.

    Returns:
        The path of the JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(name, folder, quick)
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    figure.savefig(path.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})
    print(f"written: {path}")
    return path


def before(name: str, folder: Path = FOLDER, *, quick: bool = False) -> dict[str, Any]:
    """Read what was measured before on the same machine, with the same versions of JAX and NumPy.

    Args:
        name: the benchmark's name.
        folder: where it lies.
        quick: as for `save`.

    Returns:
        The result, empty where there is none or it is of another machine.
    """
    path = _path(name, folder, quick)
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found if found.pop("machine", None) == machine() else {}


def _path(name: str, folder: Path, quick: bool) -> Path:
    """Where the numbers of a benchmark lie."""
    return folder / f"{name}{'_quick' if quick else ''}.json"


def _of_cpu(key: str) -> str:
    """What Linux tells of the processor under a name; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
