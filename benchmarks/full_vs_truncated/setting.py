"""The sizes of all measurements: for the figures, for a quick look, and for the test."""

from typing import NamedTuple

BACKWARD = (
    "bptt",
    "checkpointed, segments",
    "checkpointed, budget",
    "truncated",
    "replaying",
    "geometric",
    "heavy-tailed",
    "adaptive",
)
ONLINE = ("snap1", "uoro", "rtrl")


class Grid(NamedTuple):
    """Rules, lengths and horizons that are measured on one character LSTM.

    Attributes:
        hidden: H.
        rows: B.
        lengths: T.
        horizons: k, for rules that have one.
        rules: their names, in `rules.RULES`; the first is `bptt`, against which the others are held.
    """

    hidden: int
    rows: int
    lengths: tuple[int, ...]
    horizons: tuple[int, ...]
    rules: tuple[str, ...]


class Task(NamedTuple):
    """A task, and how it is learnt.

    Attributes:
        name: "copy", "adding" or "order".
        size: the delay of copy memory; the steps of the others.
        updates: how many are made.
    """

    name: str
    size: int
    updates: int


class Course(NamedTuple):
    """Tasks that are learnt by the same rules, on the same LSTM.

    Attributes:
        hidden: H.
        rows: B.
        horizon: k.
        symbols: how many are shown in copy memory.
        time_scale: of the LSTM's first gates, in steps (`initializers.chrono`).
        rate: of Adam.
        rules: names.
        tasks: in pairs, one whose delay lies inside the horizon and one beyond.
    """

    hidden: int
    rows: int
    horizon: int
    symbols: int
    time_scale: float
    rate: float
    rules: tuple[str, ...]
    tasks: tuple[Task, ...]


class Witness(NamedTuple):
    """What is known of a certificate.

    Attributes:
        hidden: H of the character LSTM.
        rows: B.
        piece: K, the new steps of which the gradient is taken.
        window: over which credit is measured.
        history: T, over which the true gradient is taken.
        places: how many places in the text.
        copy_updates: how long the LSTM that copies is trained before.
    """

    hidden: int
    rows: int
    piece: int
    window: int
    history: int
    places: int
    copy_updates: int


class Setting(NamedTuple):
    """What is measured.

    Attributes:
        updates: of the character LSTM, before its gradient is looked at.
        grids: for cost and gradient.
        rounds: how often each is timed.
        draws: of random rules.
        processes: grids, each case of which is measured in a process of its own.
        courses: for learning.
        seeds: of each.
        points: in a curve.
        balancing_updates: in influence balancing.
        witness: for the certificate.
    """

    updates: int
    grids: tuple[Grid, ...]
    rounds: int
    draws: int
    processes: tuple[Grid, ...]
    courses: tuple[Course, ...]
    seeds: int
    points: int
    balancing_updates: int
    witness: Witness


FULL = Setting(
    updates=600,
    grids=(
        Grid(64, 8, (256, 1024, 4096), (16, 64), BACKWARD),
        Grid(64, 8, (256,), (), ("bptt", "snap1", "uoro")),
        Grid(16, 2, (64, 256), (16,), ("bptt", "truncated", *ONLINE)),
    ),
    rounds=5,
    draws=16,
    processes=(
        Grid(64, 8, (1024, 16384), (64,), BACKWARD),
        Grid(64, 8, (1024,), (), ("snap1", "uoro")),
        Grid(16, 2, (1024,), (), ONLINE),
    ),
    courses=(
        Course(
            hidden=32,
            rows=32,
            horizon=50,
            symbols=2,
            time_scale=50.0,
            rate=0.02,
            rules=tuple(name for name in BACKWARD if name != "checkpointed, segments"),  # which learns as the other
            tasks=(
                Task("copy", 20, 1000),
                Task("copy", 100, 2000),
                Task("adding", 50, 800),
                Task("adding", 100, 800),
                Task("order", 50, 800),
                Task("order", 100, 800),
            ),
        ),
        Course(
            hidden=8,
            rows=8,
            horizon=10,
            symbols=1,
            time_scale=10.0,
            rate=0.02,
            rules=("bptt", "truncated", *ONLINE),
            tasks=(
                Task("copy", 5, 750),
                Task("copy", 20, 750),
                Task("order", 10, 750),
                Task("order", 20, 750),
            ),
        ),
    ),
    seeds=3,
    points=25,
    balancing_updates=1000,
    witness=Witness(hidden=64, rows=8, piece=16, window=128, history=2048, places=48, copy_updates=1600),
)

QUICK = Setting(
    updates=60,
    grids=(Grid(16, 4, (128,), (16,), BACKWARD), Grid(8, 2, (32,), (), ("bptt", *ONLINE))),
    rounds=3,
    draws=8,
    processes=(Grid(16, 4, (1024,), (16,), ("truncated",)),),
    courses=(
        Course(
            hidden=16,
            rows=16,
            horizon=10,
            symbols=1,
            time_scale=10.0,
            rate=0.02,
            rules=("checkpointed, budget", "truncated"),
            tasks=(Task("copy", 20, 200),),
        ),
    ),
    seeds=2,
    points=20,
    balancing_updates=300,
    witness=Witness(hidden=16, rows=4, piece=8, window=24, history=256, places=12, copy_updates=100),
)

TINY = Setting(
    updates=2,
    grids=(Grid(4, 2, (12,), (4,), ("bptt", "truncated", "geometric")),),
    rounds=1,
    draws=2,
    processes=(),
    courses=(Course(4, 2, 4, 1, 4.0, 0.02, ("checkpointed, budget", "truncated"), (Task("copy", 6, 4),)),),
    seeds=2,
    points=2,
    balancing_updates=4,
    witness=Witness(hidden=4, rows=2, piece=4, window=8, history=16, places=6, copy_updates=2),
)
