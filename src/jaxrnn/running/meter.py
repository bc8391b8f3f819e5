"""From the metrics of updates to lines in a file and words on a screen."""

import math
import time
from typing import Any

import jax

from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.running import runs
from jaxrnn.running.progress import Progress
from jaxrnn.running.runs import Run
from jaxrnn.training import Metrics

_SMOOTHING = 0.95  # the share of the past in the numbers shown: about the last 20 updates


def penalized(config: Config) -> bool:
    """Tell whether the loss that training shows has penalties in it, which that of validation has not.

    Args:
        config: the run's configuration.

    Returns:
        True where the training loss has penalties in it.
    """
    return config.regularizer.activation_penalty > 0 or config.regularizer.temporal_penalty > 0


class Meter:
    """Reads the metrics of each dispatch: at once where it has ended, else while the device works on the next one.

    Attributes:
        bits: the loss in bits per symbol, smoothed; NaN before the first.
        symbols: symbols learned from, in the time measured.
        seconds: the time measured: training alone, without compilation and validation.
        skipped: updates that were not made because something was not finite.
    """

    def __init__(self, run: Run, progress: Progress, unit: str, max_skipped: int):
        """Make a meter that has seen nothing.

        Args:
            run: where the lines go.
            progress: how to tell the user.
            unit: what a symbol is called in short, such as "char".
            max_skipped: so many non-finite updates in a row are too many.
        """
        self.bits, self.symbols, self.seconds, self.skipped = math.nan, 0, 0.0, 0
        self._run, self._progress, self._unit, self._max_skipped = run, progress, unit, max_skipped
        self._waiting: tuple[Metrics, int, int] | None = None
        self._clock: float | None = None

    def put(self, metrics: Metrics, before: int, after: int) -> None:
        """Take the metrics of a dispatch that is under way or has ended, and read those of the one before it.

        Args:
            metrics: arrays `[U]` on the device; only the first `after - before` are of real updates.
            before: updates before the dispatch.
            after: updates after it.
        """
        self.flush()
        self._waiting = metrics, before, after
        if jax.process_count() == 1 and all(map(_is_there, metrics)):  # several must do the same
            self.flush()  # while it waits the clock would run for the next one

    def flush(self) -> None:
        """Read what waits to be read.

        Raises:
            InputError: if too many updates in a row were skipped.
        """
        if self._waiting is None:
            return
        metrics, before, after = self._waiting
        self._waiting = None
        values = jax.device_get(metrics)._asdict()
        rows = [{name: value[u].item() for name, value in values.items()} for u in range(after - before)]
        speed = self._pace(sum(row["weight"] for row in rows))
        for step, row in enumerate(rows, before + 1):
            self._record(step, row, speed)
        self.skipped += sum(row["skipped"] for row in rows)
        skipped, at = max((row["skipped_in_a_row"], step) for step, row in enumerate(rows, before + 1))
        if skipped >= self._max_skipped:
            folder = self._run.snapshots
            kept = f"the last good snapshot stays in {folder}" if folder.exists() else "no snapshot was saved yet"
            raise InputError(
                f"optimizer.rate: training diverged: {skipped} updates in a row, up to update {at}, were not "
                f"finite; {kept}; start again with a lower rate"
            )
        self._progress.update(after, self._words(rows[-1], speed))

    def pause(self) -> None:
        """Stop the clock until the next dispatch has been read: what comes between is not training."""
        self.flush()
        self._clock = None

    def _pace(self, symbols: float) -> float:
        """Count the symbols of a dispatch and tell how many a second there are; the first one only starts the clock."""
        now = time.monotonic()
        if self._clock is not None:
            self.symbols += int(symbols)
            self.seconds += now - self._clock
        self._clock = now
        return self.symbols / self.seconds if self.seconds else math.nan

    def _record(self, step: int, row: dict[str, Any], speed: float) -> None:
        """Write the line of one update."""
        loss = row["loss"] / row["weight"] if row["weight"] else math.nan
        bits = loss / math.log(2)
        if math.isfinite(bits):
            self.bits = bits if math.isnan(self.bits) else _SMOOTHING * self.bits + (1 - _SMOOTHING) * bits
        line = {"kind": "update", "step": step, "loss": loss, "bits": bits, "targets": int(row["weight"])}
        shown = ("rate", "gradient_norm", "clipped", "parameter_norm", "update_norm", "skipped")
        runs.append(self._run, line | {name: row[name] for name in shown} | {"tokens_per_second": round(speed, 1)})

    def _words(self, row: dict[str, Any], speed: float) -> str:
        """Say how it goes."""
        words = [f"loss {self.bits * math.log(2):.3f}", f"{self.bits:.3f} bits/{self._unit}"]
        words += [f"{speed:,.0f} {self._unit}/s"] if speed > 0 else []
        words += [f"grad {row['gradient_norm']:.2f}"]
        words += [f"{self.skipped} skipped, not finite"] if self.skipped else []
        return "  ".join(words)


def _is_there(values: Any) -> bool:
    """Whether the device has ended with an array; of one that does not tell it is not known."""
    return getattr(values, "is_ready", lambda: False)()
