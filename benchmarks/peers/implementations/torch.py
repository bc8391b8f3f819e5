"""PyTorch: `nn.LSTM` and its like (the LSTM by oneDNN on a CPU), `clip_grad_norm_` and `SGD`."""

import importlib
from typing import Any

from benchmarks.peers.prepared import Prepared
from benchmarks.peers.rows import Batch, Row, Weights

torch: Any = importlib.import_module("torch")
nn, functional = torch.nn, torch.nn.functional

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}


class Model(nn.Module):
    """Embedding, recurrent layers and readout, with dropout between them."""

    def __init__(self, row: Row) -> None:
        """Make the layers of a row."""
        super().__init__()
        self.embedding: Any = nn.Embedding(row.outputs, row.embedding) if row.embedding else None
        self.drop = nn.Dropout(row.dropout)
        between = row.dropout if row.layers > 1 else 0.0
        self.core = CELLS[row.cell](row.inputs[0], row.hidden, num_layers=row.layers, dropout=between)
        self.readout = nn.Linear(row.hidden, row.outputs)
        if row.tied:
            self.readout.weight = self.embedding.weight

    def forward(self, inputs, carry):
        """The logits of every step, or of the last one, and the new carry."""
        xs = self.drop(self.embedding(inputs)) if self.embedding else inputs
        ys, carry = self.core(xs, carry)
        return self.readout(self.drop(ys if self.embedding else ys[-1])), carry


def build(row: Row, weights: Weights, batch: Batch) -> Prepared:
    """Prepare a row.

    Args:
        row: the row.
        weights: to start from.
        batch: the data.

    Returns:
        It, ready to run; nothing is compiled.
    """
    model = Model(row)
    places = named(row, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias_hh" in name:  # one bias for each gate
                parameter.zero_().requires_grad_(False)
        for name, (parameter, turned) in places.items():
            value = torch.from_numpy(weights[name])
            parameter.copy_(value.T if turned else value)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=row.rate)
    inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets).long().flatten()
    zeros = torch.zeros(row.layers, row.batch, row.hidden)
    carry = (zeros, zeros) if row.cell == "lstm" else zeros

    def run(number: int) -> float:
        nonlocal carry
        loss = torch.zeros(())
        for _ in range(number):
            optimizer.zero_grad(set_to_none=True)
            logits, after = model(inputs, carry)
            loss = functional.cross_entropy(logits.flatten(0, -2), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, row.clip)
            optimizer.step()
            carry = tuple(state.detach() for state in after) if row.cell == "lstm" else after.detach()
        return loss.item()

    def found() -> Weights:
        values = {name: (p.detach().T if turned else p.detach()) for name, (p, turned) in places.items()}
        return {name: value.numpy().copy() for name, value in values.items()}

    return Prepared(run, found)


def named(row: Row, model: Model) -> dict[str, tuple[Any, bool]]:
    """The parameter of each weight, and whether it is kept transposed."""
    places = {"b": (model.readout.bias, False)}
    places |= {} if row.tied else {"w": (model.readout.weight, True)}
    places |= {"embedding": (model.embedding.weight, False)} if model.embedding else {}
    for layer in range(row.layers):
        places[f"w_ih_{layer}"] = getattr(model.core, f"weight_ih_l{layer}"), True
        places[f"w_hh_{layer}"] = getattr(model.core, f"weight_hh_l{layer}"), True
        places[f"b_{layer}"] = getattr(model.core, f"bias_ih_l{layer}"), False
    return places
