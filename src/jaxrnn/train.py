"""Train a recurrent language model: `python -m jaxrnn.train [config.toml] [--section.key value]...`.

    python -m jaxrnn.train                                  the built-in configuration, about 5 minutes on 2 cores
    python -m jaxrnn.train --run runs/mine --resume         go on with a run that was stopped

Reads top to bottom: what a user may ask for, how a run begins or goes on, the training, and the last words.
"""

import math
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jaxrnn.build import NAMES, check_names
from jaxrnn.command import Parser, make_command, path
from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.evaluation import Evaluation, Score
from jaxrnn.mesh import gathered
from jaxrnn.ngrams import baselines, counted_part
from jaxrnn.running import runs, summary
from jaxrnn.running.devices import prepare
from jaxrnn.running.experiment import Experiment, set_up
from jaxrnn.running.memory import check_memory, check_program
from jaxrnn.running.meter import Meter, penalized
from jaxrnn.running.origin import begun_anew, first_files, gone_on_with, last_snapshot, lengthen
from jaxrnn.running.pace import fix_length, seconds_to_validate
from jaxrnn.running.particulars import particulars
from jaxrnn.running.position import Position, save
from jaxrnn.running.processes import agreed, is_first, of_first, part, together
from jaxrnn.running.programs import Compiled, Programs, build_programs, compile_ahead
from jaxrnn.running.progress import progress, show
from jaxrnn.running.run_text import validation_ids
from jaxrnn.running.runs import Run
from jaxrnn.running.scorer import evaluation_streams, make_score, text_in_rows
from jaxrnn.running.signals import stop_on_signals
from jaxrnn.running.trained import Trained, load_trained
from jaxrnn.running.trainer import Job, finished, train
from jaxrnn.running.wording import in_short, symbol_noun
from jaxrnn.running.writer import make_writer, opening
from jaxrnn.settings import KEYS, add_keys, check_read, whereabouts
from jaxrnn.training import TrainState
from jaxrnn.trees import fitted
from jaxrnn.types import Params

EXAMPLES = """\
  jaxrnn train                                    a character LSTM on the source of Python's standard library
  jaxrnn train --data.corpus book.txt             the same model on a text of your own (a file, a folder, a .gz)
  jaxrnn train configs/tinyshakespeare.toml       settings from a file, which has those that differ from the defaults
  jaxrnn train --model.cell gru --model.hidden_size 256 --training.length "2 epochs"
  jaxrnn train --gradient.rule truncated --gradient.horizon 16
  jaxrnn train --run runs/mine                    choose the run's folder; then, after Ctrl-C or a power cut:
  jaxrnn train --run runs/mine --resume           go on as if nothing had happened, on the same devices to the same bits
  jaxrnn train --run runs/mine --resume --training.length "20 epochs"      make it longer, finished or not
  jaxrnn train --from runs/mine --data.corpus letters.txt --optimizer.rate 1e-3    a new run from what it has learned
  zcat news.gz | jaxrnn train --data.corpus -     read the text from standard input

Ctrl-C finishes the current update or validation, saves and ends with exit code 130 (SIGTERM: 143; closing the
terminal: 129); a second Ctrl-C stops at once.
Wrong input ends with a message of one line and exit code 2.
"""


class Session(NamedTuple):
    """What one call of the command works with.

    Attributes:
        experiment: what is trained.
        programs: its compiled functions.
        run: where everything is kept.
        start: state and position to go on from.
        n_grams: for the test text and what validations score, bits per symbol of n-grams of orders 1, 2, 3, ...
        score: `(params, ids, name) -> Evaluation` of a text.
        screen: where words go.
    """

    experiment: Experiment
    programs: Programs
    run: Run
    start: tuple[TrainState, Position]
    n_grams: dict[str, list[float]]
    score: Callable[..., Evaluation]
    screen: Console


class Outcome(NamedTuple):
    """How a training went.

    Attributes:
        position: where it ended.
        signal: what stopped it before its end, SIGTERM where that was in another process; or None.
        speed: symbols learned from in a second, or None where nothing was measured.
        skipped: updates that were not made because something was not finite.
    """

    position: Position
    signal: Signals | None
    speed: float | None
    skipped: int


def _train(asked: Namespace, screen: Console) -> tuple[int, dict[str, Any] | None]:
    """Begin or go on, train, and say how it went."""
    with ExitStack() as held:
        with together("beginning"):
            session = _open(asked, screen, held)
        outcome = _run(session)
        with together("end"):
            end = _finish if outcome.signal is None else _leave
            answer = end(session, outcome) if is_first() else None  # the first process speaks for all
    part()
    return 0 if outcome.signal is None else 128 + outcome.signal, answer


def _parser() -> Parser:
    """What a user may ask for."""
    parser = Parser(
        "jaxrnn train",
        "[config.toml] [--section.key VALUE]... [--run DIR] [--resume | --from RUN] [--verbose] [--json]",
        "Train a recurrent language model, show its progress, and keep everything in a folder.",
        EXAMPLES,
    )
    parser.add_argument("file", nargs="?", type=path, metavar="config.toml", help="settings other than the defaults")
    parser.add_argument("--run", type=path, metavar="DIR", help="the run's folder [runs/CORPUS-CELL-NUMBER]")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on with the run in the folder that --run names")
    begin.add_argument(
        "--from",
        dest="parent",
        type=path,
        metavar="RUN",
        help="start a new run from another one's settings, vocabulary and best parameters",
    )
    parser.add_argument("--verbose", action="store_true", help="show what runs: devices, loops, memory, compilation")
    add_keys(parser, NAMES)
    return parser


def _overrides(asked: Namespace) -> dict[str, str]:
    """The keys that were given on the command line."""
    return {name: value for name, value in vars(asked).items() if name in KEYS}


def _open(asked: Namespace, screen: Console, held: ExitStack) -> Session:
    """Make everything ready and say what it is. A new run's folder comes last, when nothing can be wrong any more."""
    file, given = asked.file, _overrides(asked)
    origin = gone_on_with(asked.run, file, given) if asked.resume else begun_anew(file, given, asked.parent)
    config, run = origin.config, origin.run
    prepare(config)
    screen.quiet = not is_first()
    if run:
        if is_first():
            held.enter_context(runs.locked(run))
    else:
        check_names(config)
        check_read(config)
        if is_first():
            runs.check_free(asked.run or runs.free_folder(config))
    parent = load_trained(origin.parent) if origin.parent else None
    experiment = set_up(config, run, parent.vocabulary if parent else None)
    check_memory(experiment)
    opening(experiment.dataset.vocabulary, config.sampling.prompt)  # better refused now than after the training
    programs = build_programs(experiment)
    start = None
    if run:
        start = last_snapshot(experiment, programs, run)
        lengthen(experiment, run, start[1] if start else Position())
    compiled, n_grams = _compile(experiment, programs, screen, resumed=bool(start or parent))
    score, model = _make_score(experiment), config.model
    with screen.status("measuring the pace ..."):
        experiment = fix_length(experiment, programs, score)
        start = start or (_beginning(experiment, programs, parent), Position())
        if model.vocabulary_sample and not model.vocabulary_block:  # unlike an update, a validation holds all logits
            seconds_to_validate(experiment, start[0].params, score)  # better refused now than after the first updates
    screen.print(summary.introduction(experiment, config.training.length))
    screen.print(summary.n_gram_line(experiment, n_grams["test"]))
    if parent:
        screen.print(f"{'begins with':<11} the parameters of {parent.snapshot}")
    if asked.verbose:
        screen.print(particulars(experiment, compiled))
    run = _claimed(run, asked.run, experiment, start, parent, held)
    screen.print(f"{'run':<11} {run.folder}\n")
    return Session(experiment, programs, run, start, n_grams, score, screen)


def _compile(
    experiment: Experiment, programs: Programs, screen: Console, *, resumed: bool
) -> tuple[Compiled, dict[str, list[float]]]:
    """Compile the programs, and meanwhile count n-grams: what the train step takes, and the bits by text and order."""
    with screen.status("compiling, and counting n-grams to compare with ..."), ThreadPoolExecutor(1) as aside:
        compiling = aside.submit(compile_ahead, programs, experiment, resumed=resumed)
        ids = experiment.dataset.ids | {"valid": validation_ids(experiment.config, experiment.dataset)}
        n_grams = baselines(experiment.dataset._replace(ids=ids))
        compiled = compiling.result()
    check_program(compiled, len(experiment.mesh.local_devices))
    return compiled, n_grams


def _claimed(
    run: Run | None,
    folder: Path | None,
    experiment: Experiment,
    start: tuple[TrainState, Position],
    parent: Trained | None,
    held: ExitStack,
) -> Run:
    """The run that goes on, or a new one in a folder of its own, locked."""
    if not is_first():  # it writes what the first one writes, where nobody looks
        folder, run = Path(held.enter_context(TemporaryDirectory())) / "run", None
    if run is None:
        more = _first_snapshot(start, experiment.config) if parent else None
        files = first_files(experiment, parent)
        run = runs.create(folder, files, more) if folder else runs.create_next(experiment.config, files, more)
        held.enter_context(runs.locked(run))
    return run


def _first_snapshot(start: tuple[TrainState, Position], config: Config) -> Callable[[Run], object]:
    """What a run has at once that begins with another's parameters: however early it is stopped, it has them."""
    state, position = gathered(start[0]), start[1]
    return lambda run: save(run, "step", state, position, config)


def _beginning(experiment: Experiment, programs: Programs, parent: Trained | None) -> TrainState:
    """The state before the first update, with parameters that are drawn, or are those of another run."""
    if parent is None:
        return programs.beginning()
    like = jax.eval_shape(experiment.learner.cell.init, jax.random.key(0))
    return programs.beginning(fitted(parent.params, like))


def _make_score(experiment: Experiment) -> Callable[..., Evaluation]:
    """How texts are scored in training and at its end; what does not fit into memory is refused by its keys."""
    # Several processes score the whole text, each by itself.
    mesh = experiment.mesh if jax.process_count() == 1 else None
    data = experiment.config.data
    score = make_score(experiment.learner.cell, mesh, separate_lines=data.separate_lines)

    def whole(params: Params, ids: np.ndarray, name: str) -> Evaluation:
        text = text_in_rows(ids, evaluation_streams(data), data.chunk_length, name=name)
        try:
            return score(params, text)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            takes = f"scoring {text.batch_size} streams side by side takes more memory than there is"
            keys = "model.vocabulary_block, data.evaluation_streams"
            raise InputError(f"{keys}: {takes}; give one of them a smaller value") from None

    return whole


def _run(session: Session) -> Outcome:
    """Train to the end, or until a signal comes."""
    experiment, run = session.experiment, session.run
    config, noun = experiment.config, symbol_noun(experiment.config.data.tokenizer)
    state, position = session.start
    runs.rewind(run, position.updates, position.validated)
    if position.updates:
        session.screen.print(f"going on after update {position.updates:,} of {experiment.updates:,}")
    text = validation_ids(experiment.config, experiment.dataset)
    with stop_on_signals() as stop, progress(session.screen, experiment.updates, position.updates) as shown:
        meter = Meter(run, shown, in_short(noun), config.training.max_skipped)

        def announce(position: Position, score: Score) -> None:
            row = {"kind": "validation", "step": position.updates, "loss": score.nats, "bits": score.bits}
            runs.append(run, row | {"targets": int(score.weight), "best": position.stale == 0})
            training = f"training {meter.bits:.3f}{', with penalties' if penalized(config) else ''}"
            training = "" if math.isnan(meter.bits) else training  # it was stopped just before
            shown.say(summary.validation_line(position, score, training, min(session.n_grams["valid"]), noun))

        def validate(params: Params) -> Score:
            name = "data.corpus: validation text"
            return Score(*of_first("validation", lambda: session.score(params, text, name).score))

        job = Job(experiment, session.programs, run, validate, meter, announce, agreed(stop))
        state, position = train(job, state, position)
    speed = round(meter.symbols / meter.seconds, 1) if meter.seconds else None
    signal = None if finished(experiment, position) else stop.received or Signals.SIGTERM
    return Outcome(position, signal, speed, int(state.skipped))


def _leave(session: Session, outcome: Outcome) -> dict[str, Any]:
    """Say how to go on."""
    position = outcome.position
    options = whereabouts(session.experiment.config)
    how = shlex.join(["jaxrnn", "train", "--run", str(session.run.folder), "--resume", *options])
    updates = session.experiment.updates
    session.screen.print(f"stopped after update {position.updates:,} of {updates:,}, and saved; to go on: {how}")
    signal = outcome.signal.name if outcome.signal else None
    return {"run": str(session.run.folder), "interrupted": signal, "updates": position.updates, "resume": how}


def _finish(session: Session, outcome: Outcome) -> dict[str, Any]:
    """Score the best parameters on the test text, show what they write, and say where everything is."""
    experiment, run, screen, position = session.experiment, session.run, session.screen, outcome.position
    best, ids = load_trained(run.folder), experiment.dataset.ids["test"]
    unseen = experiment.dataset.unseen["test"]
    evaluation = session.score(best.params, ids, "data.corpus: test text")
    result = summary.Result(evaluation, summary.characters(best.vocabulary, ids), best.vocabulary, unseen)
    bits = [bits * (len(ids) - 1) / result.characters for bits in session.n_grams["test"]]
    n_grams = summary.n_gram_names(bits, counted_part(experiment.dataset))
    answer = summary.result_json(result) | {
        "run": str(run.folder),
        "snapshot": best.snapshot.name,
        "updates": position.updates,
        "seconds": round(position.seconds, 1),
        "tokens_per_second": outcome.speed,
        "skipped": outcome.skipped,
        "parameters": summary.parameters(best.params),
        "baselines": n_grams,
    }
    runs.append(run, {"kind": "test", "step": position.updates} | answer)
    if position.updates < experiment.updates:
        screen.print(f"stopped early: {position.stale} validations without a new best (training.patience)")
    skipped = f", {outcome.skipped} updates skipped" if outcome.skipped else ""
    spent = f"after {position.seconds:,.0f} seconds of training{skipped}"
    screen.print(f"\ntest text, parameters of {best.snapshot.name}, {spent}:")
    screen.print(summary.result_text(result))
    screen.print(summary.best_n_gram_line(n_grams))
    screen.print("\nwhat it writes:\n")
    _show_sample(session, best)
    screen.print(f"\nrun {run.folder}; more: jaxrnn sample {shlex.quote(str(run.folder))}")
    return answer


def _show_sample(session: Session, best: Trained) -> None:
    """Write a sample to the screen as it comes, and keep it."""
    text = show(session.screen, make_writer(best).stream(best.config.sampling, best.config.seed).pieces)
    runs.keep_sample(session.run, best.snapshot.name, text)


main = make_command(_parser, _train)

if __name__ == "__main__":
    sys.exit(main())
