"""What is trained: a model, its sizes, and the same start and the same data for every implementation. NumPy only."""

from typing import NamedTuple

import numpy as np

Weights = dict[str, np.ndarray]
"""`embedding [V, E]`; of layer l `w_ih_l [I, G*H]`, `w_hh_l [H, G*H]`, `b_l [G*H]`; of the readout `w [H, O]`, absent
where it is the embedding transposed, and `b [O]`. Gates in the order i, f, g, o of an LSTM and r, z, n of a GRU."""

GATES = {"lstm": 4, "gru": 3, "elman": 1}


class Row(NamedTuple):
    """A model with its sizes.

    Attributes:
        cell: its name; one bias for each gate, and a GRU resets after the product.
        batch: B.
        steps: T.
        hidden: H.
        outputs: O: the symbols V of a language model, or classes that are told at the last step.
        embedding: E; None where the input is one number a step instead of a symbol.
        layers: L.
        tied: whether the readout's matrix is the embedding, transposed.
        dropout: the rate between embedding, layers and readout.
        rate: the learning rate.
        clip: the norm that gradients are clipped to, below that of the first gradient.
    """

    cell: str
    batch: int
    steps: int
    hidden: int
    outputs: int
    embedding: int | None = None
    layers: int = 1
    tied: bool = False
    dropout: float = 0.0
    rate: float = 1.0
    clip: float = 0.1

    @property
    def inputs(self) -> list[int]:
        """I of each layer."""
        return [self.embedding or 1] + [self.hidden] * (self.layers - 1)


class Batch(NamedTuple):
    """What an update learns from.

    Attributes:
        inputs: int32 `[T, B]`, or float32 `[T, B, 1]`.
        targets: int32 `[T, B]`, or one class for each row `[B]`.
    """

    inputs: np.ndarray
    targets: np.ndarray


ROWS = {
    "rnnlm": Row("lstm", 20, 35, 100, 10_000, embedding=100),
    "better_rnnlm": Row("lstm", 20, 35, 650, 10_000, embedding=650, layers=2, tied=True, dropout=0.5),
    "charlm": Row("lstm", 50, 50, 512, 65, embedding=64, layers=2),
    "seqmnist": Row("lstm", 32, 784, 128, 10),
    "longscan": Row("lstm", 1, 16_000, 128, 65, embedding=64),
    "gru": Row("gru", 50, 50, 512, 65, embedding=64),
    "elman": Row("elman", 50, 50, 512, 65, embedding=64),
}


def sized(name: str, size: str) -> Row:
    """Find a row, as it is or in a size that runs at once.

    Args:
        name: its name.
        size: "full" or "small".

    Returns:
        The row.
    """
    row = ROWS[name]
    if size == "full":
        return row
    embedding = row.embedding and (6 if row.tied else 4)
    return row._replace(batch=min(row.batch, 2), steps=5, hidden=6, outputs=min(row.outputs, 11), embedding=embedding)


def compared(row: Row) -> Row:
    """The same model as implementations are compared on it.

    Args:
        row: the model.

    Returns:
        One without dropout, whose masks would differ, and with a rate at which updates are well above the rounding of
        the weights that they are added to.
    """
    return row._replace(dropout=0.0, rate=10.0)


def start(row: Row) -> Weights:
    """The weights that all start from: uniform on (-0.1, 0.1), or up to 1/sqrt(H) where that is less.

    Args:
        row: the model.

    Returns:
        float32 arrays.
    """
    rng, width = np.random.default_rng(0), GATES[row.cell] * row.hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding": (row.outputs, row.embedding)} if row.embedding else {}
    for layer, size in enumerate(row.inputs):
        shapes |= {f"w_ih_{layer}": (size, width), f"w_hh_{layer}": (row.hidden, width), f"b_{layer}": (width,)}
    shapes |= {"b": (row.outputs,)} if row.tied else {"w": (row.hidden, row.outputs), "b": (row.outputs,)}
    reach = min(0.1, row.hidden**-0.5)
    return {name: rng.uniform(-reach, reach, shape).astype(np.float32) for name, shape in shapes.items()}


def batch(row: Row) -> Batch:
    """Random symbols or numbers, with random targets.

    Args:
        row: the model.

    Returns:
        The same batch for all, and for every update.
    """
    rng, shape = np.random.default_rng(1), (row.steps, row.batch)
    if row.embedding is None:
        inputs = rng.uniform(0, 1, (*shape, 1)).astype(np.float32)
        return Batch(inputs, rng.integers(0, row.outputs, row.batch, dtype=np.int32))
    return Batch(*(rng.integers(0, row.outputs, shape, dtype=np.int32) for _ in range(2)))
