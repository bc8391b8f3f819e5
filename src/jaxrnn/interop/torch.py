"""The parameters of PyTorch's recurrent layers: `torch.nn.LSTM`, `GRU` and `RNN`, and LSTMs with a projection.

Their equations are those of `lstm`, `gru`, `elman` and `projection_lstm`, with the gates in the same order; matrices
lie transposed, and a parameter's name ends in its layer: `weight_hh_l1` is our `params["1"]["w_hh"].T`.

Parameters do not tell their equations: what has the shapes of a GRU, such as those of `coupled_lstm` or of a GRU that
resets before the product, passes for PyTorch's.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.errors import InputError
from jaxrnn.trees import fitted
from jaxrnn.types import Params

_NAMES = {
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "w_hr": "weight_hr",
    "b_ih": "bias_ih",
    "b_hh": "bias_hh",
}
_OURS = {theirs: ours for ours, theirs in _NAMES.items()}
_NAME = re.compile(r"(?P<what>[a-z]+_[a-z]+)_l(?P<layer>[0-9]+)(?P<reverse>_reverse)?")
_ENDINGS = {"forward": "", "backward": "_reverse"}


def from_torch(state: Mapping[str, Any], like: Params | None = None) -> Params:
    """Turn the `state_dict` of a recurrent layer of PyTorch into parameters.

    Args:
        state: arrays by PyTorch's names, such as `weight_ih_l0 [G*H, I]`: tensors, or what NumPy makes arrays of. Where
            it has no biases they are 0.
        like: parameters of the cell that is to have them, as its `init` makes them: of one layer, of one that reads
            both ways, or of a stack, with dropout between its layers or without. None for the form below.

    Returns:
        `{"0": {"w_ih": [I, G*H], ...}, "1": ...}`: the parameters of `stack(lstm(...), ...)`, one entry a layer. Of a
        layer that reads both ways, those of `bidirectional`: `{"forward": {...}, "backward": {...}}`. With `like`, its
        form.

    Raises:
        InputError: for a name that is none of a recurrent layer's, where weights are missing, or where `like` has other
            layers, names or shapes.

    Example:
        >>> theirs = {"weight_ih_l0": np.zeros((16, 3)), "weight_hh_l0": np.zeros((16, 4)),
        ...           "bias_ih_l0": np.zeros(16), "bias_hh_l0": np.zeros(16)}
        >>> {name: p.shape for name, p in from_torch(theirs)["0"].items()}
        {'w_ih': (3, 16), 'w_hh': (4, 16), 'b_ih': (16,), 'b_hh': (16,)}
        >>> from jaxrnn.cells import lstm
        >>> import jax
        >>> from_torch(theirs, like=lstm(3, 4).init(jax.random.key(0)))["w_hh"].shape
        (4, 16)
    """
    if not state:
        raise InputError("from_torch: state is empty; expected the state_dict of a recurrent layer")
    layers: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for name, value in state.items():
        found = _NAME.fullmatch(name)
        if not found or found["what"] not in _OURS:
            known = ", ".join(f"{theirs}_l0" for theirs in _OURS)
            raise InputError(f"{name}: no parameter of a recurrent layer of PyTorch; expected {known}, and so on")
        direction = "backward" if found["reverse"] else "forward"
        part = layers.setdefault(found["layer"], {}).setdefault(direction, {})
        part[_OURS[found["what"]]] = _array(value).T
    for layer in map(str, range(1 + max(map(int, layers), default=-1))):
        directions = layers.setdefault(layer, {})
        for direction, part in ({"forward": {}} | directions).items():
            for name in ("w_ih", "w_hh"):
                if name not in part:
                    raise InputError(
                        f"{_NAMES[name]}_l{layer}{_ENDINGS[direction]}: missing; give the whole state_dict"
                    )
            part.setdefault("b_ih", np.zeros(part["w_ih"].shape[-1:], part["w_ih"].dtype))
            _check_part(f"from_torch: layer {layer}", part)
    params = {layer: parts if "backward" in parts else parts["forward"] for layer, parts in layers.items()}
    return params if like is None else _placed(params, like)


def to_torch(params: Params) -> dict[str, np.ndarray]:
    """Turn the parameters of a stack of layers into the `state_dict` of a recurrent layer of PyTorch.

    Args:
        params: as `from_torch` returns them, or those of one layer; layers without parameters, such as dropout, are
            passed over. A layer with one bias gets a second one of zeros, for PyTorch has two or none.

    Returns:
        Arrays by PyTorch's names. `layer.load_state_dict` takes tensors: `torch.tensor(array)` of each. Those of
        bfloat16 come as float32, for NumPy has no bfloat16 that PyTorch knows.

    Raises:
        InputError: for a parameter that PyTorch's layers have not, or where layers are not called by numbers.

    Example:
        >>> import jax
        >>> from jaxrnn.cells import gru
        >>> {name: p.shape for name, p in to_torch({"0": gru(3, 4).init(jax.random.key(0))}).items()}
        {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
    """
    state: dict[str, np.ndarray] = {}
    params = {"0": params} if _is_layer(params) else params
    if not all(name.isdigit() for name in params):
        raise InputError(f"to_torch: expected layers by number, {{'0': ...}}; found {', '.join(map(repr, params))}")
    layers = [of_layer for _, of_layer in sorted(params.items(), key=lambda one: int(one[0])) if of_layer]
    for number, of_layer in enumerate(layers):
        for direction, part in _directions(of_layer).items():
            _check_part(f"layer {number}", part)
            for name, p in {**part, "b_hh": part.get("b_hh", np.zeros_like(part["b_ih"]))}.items():
                state[f"{_NAMES[name]}_l{number}{_ENDINGS[direction]}"] = np.ascontiguousarray(
                    np.asarray(_known_to_torch(p)).T
                )
    return state


def _known_to_torch(p: Any) -> Any:
    """A parameter in a dtype that both NumPy and PyTorch have."""
    return p.astype(np.float32) if p.dtype == jnp.bfloat16 else p


def _placed(params: Params, like: Params) -> Params:
    """The parameters of layers in the form of other ones; a second bias where these have one."""
    whole = {"0": like} if _is_layer(like) else like
    names = {jax.tree_util.keystr(path[-1:], simple=True) for path, _ in jax.tree.leaves_with_path(like)}
    for part in (part for of_layer in params.values() for part in _directions(of_layer).values()):
        if "b_hh" in names:
            part.setdefault("b_hh", np.zeros_like(part["b_ih"]))
    try:
        placed = fitted(params, whole)
    except (AttributeError, KeyError, TypeError, ValueError):
        placed = {}
    if jax.tree.map(np.shape, placed) != jax.tree.map(np.shape, whole):
        found, wanted = (jax.tree.map(np.shape, tree) for tree in (params, whole))
        raise InputError(f"from_torch: the state has {found}; like has {wanted}; make the cell with the same layers")
    return placed if whole is like else placed["0"]


def _is_layer(params: Params) -> bool:
    """Whether parameters are those of one layer, and no stack."""
    return "w_ih" in params or "forward" in params


def _directions(of_layer: Params) -> dict[str, Any]:
    """The parts of a layer: one, or two where it reads both ways."""
    return of_layer if "forward" in of_layer else {"forward": of_layer}


def _check_part(where: str, part: Mapping[str, Any]) -> None:
    """Refuse parameters that PyTorch's layers have not, or have in another number of gates."""
    for name in part:
        if name not in _NAMES:
            raise InputError(f"{where}: {name}: no parameter of a recurrent layer of PyTorch")
    for name in ("w_ih", "w_hh", "b_ih"):
        if name not in part:
            raise InputError(f"{where}: {name}: missing; expected the parameters of a layer as init makes them")
    shapes = {name: np.shape(p) for name, p in part.items()}
    flat = all(len(shape) == (1 if name.startswith("b_") else 2) for name, shape in shapes.items())
    results = {shape[-1] for name, shape in shapes.items() if name != "w_hr"} if flat else set()
    if len(results) != 1:
        raise InputError(f"{where}: has {shapes}; expected weights [I, G*H] and [H, G*H], and biases [G*H]")
    units = len(part["w_hr"] if "w_hr" in part else part["w_hh"])
    gates = len(part["b_ih"]) / units
    if gates not in (1, 3, 4):
        raise InputError(f"{where}: has {gates:g} gates; expected 1, 3 or 4, as in RNN, GRU and LSTM")


def _array(value: Any) -> np.ndarray:
    """A tensor, on whatever device, or an array as an array of its own: PyTorch changes its tensors in place."""
    if not hasattr(value, "detach"):
        return np.array(value)
    tensor = value.detach().cpu()
    return np.array((tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy())  # which NumPy has not
