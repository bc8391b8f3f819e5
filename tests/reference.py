"""Recurrent cells and backpropagation through time in plain NumPy loops: the path that everything is held to.

No scan, no jit, no import of the library under test. Each cell is a `Reference`: a step forward, which also returns
all it computed, and a step backward written out by hand from the equations. Arrays are float64 and time-major.
"""

from typing import NamedTuple

import numpy as np


class Reference(NamedTuple):
    """A cell.

    `forward(params, carry, x) -> (carry, values)`; `backward(params, values, d_carry) -> (d_carry, d_x, d_params)`. A
    carry is a tuple of `[B, H]`, its first member the output. `values` names all that the step computed. `shapes` has,
    by `(I, H)`, the parameters that are not as usual; `output_size` is None where it is H.
    """

    gates: int
    states: int
    forward: object
    backward: object
    shapes: object = lambda input_size, hidden_size: {}
    output_size: int | None = None


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def project(params, x):
    return x @ params["w_ih"] + params["b_ih"]


def recurrent_bias(params):
    return params.get("b_hh", np.zeros_like(params["b_ih"]))


def elman(activation="tanh"):
    """`h' = tanh(x w_ih + b_ih + h w_hh + b_hh)`, or relu in the place of tanh."""

    def forward(params, carry, x):
        (h,) = carry
        a = project(params, x) + h @ params["w_hh"] + recurrent_bias(params)
        new = np.tanh(a) if activation == "tanh" else np.maximum(a, 0)
        return (new,), {"x": x, "h_before": h, "h": new}

    def backward(params, values, d_carry):
        (d_h,) = d_carry
        d_a = d_h * ((1 - values["h"] ** 2) if activation == "tanh" else (values["h"] > 0))
        d_params = {
            "w_ih": values["x"].T @ d_a,
            "w_hh": values["h_before"].T @ d_a,
            "b_ih": d_a.sum(0),
            "b_hh": d_a.sum(0),
        }
        return (d_a @ params["w_hh"].T,), d_a @ params["w_ih"].T, d_params

    return Reference(1, 1, forward, backward)


def lstm():
    """`c' = f c + i g`, `h' = o tanh(c')`, gates in the order i, f, g, o."""

    def forward(params, carry, x):
        h, c = carry
        i, f, g, o = np.split(project(params, x) + h @ params["w_hh"] + recurrent_bias(params), 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new_c = f * c + i * g
        new_h = o * np.tanh(new_c)
        return (new_h, new_c), dict(x=x, h_before=h, c_before=c, i=i, f=f, g=g, o=o, c=new_c, h=new_h)

    def backward(params, values, d_carry):
        d_h, d_c = d_carry
        i, f, g, o = (values[name] for name in "ifgo")
        tanh_c = np.tanh(values["c"])
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_i, d_f, d_g, d_o = d_c * g, d_c * values["c_before"], d_c * i, d_h * tanh_c
        d_a = np.concatenate([d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g**2), d_o * o * (1 - o)], axis=-1)
        d_params = {
            "w_ih": values["x"].T @ d_a,
            "w_hh": values["h_before"].T @ d_a,
            "b_ih": d_a.sum(0),
            "b_hh": d_a.sum(0),
        }
        return (d_a @ params["w_hh"].T, d_c * f), d_a @ params["w_ih"].T, d_params

    return Reference(4, 2, forward, backward)


def gru_reset_after():
    """`n = tanh(x w_in + b_in + r (h w_hn + b_hn))`, `h' = (1 - z) n + z h`, gates in the order r, z, n."""

    def forward(params, carry, x):
        (h,) = carry
        x_r, x_z, x_n = np.split(project(params, x), 3, axis=-1)
        h_r, h_z, h_n = np.split(h @ params["w_hh"] + recurrent_bias(params), 3, axis=-1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        new = (1 - z) * n + z * h
        return (new,), dict(x=x, h_before=h, r=r, z=z, n=n, h_n=h_n, h=new)

    def backward(params, values, d_carry):
        (d_h,) = d_carry
        r, z, n, h = (values[name] for name in ("r", "z", "n", "h_before"))
        d_n = d_h * (1 - z) * (1 - n**2)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * values["h_n"] * r * (1 - r)
        from_input = np.concatenate([d_r, d_z, d_n], axis=-1)
        from_state = np.concatenate([d_r, d_z, d_n * r], axis=-1)
        d_params = {"w_ih": values["x"].T @ from_input, "w_hh": h.T @ from_state}
        d_params |= {"b_ih": from_input.sum(0), "b_hh": from_state.sum(0)}
        return (d_h * z + from_state @ params["w_hh"].T,), from_input @ params["w_ih"].T, d_params

    return Reference(3, 1, forward, backward)


def gru_reset_before():
    """`n = tanh(x w_in + b_in + (r h) w_hn + b_hn)`, `h' = (1 - z) n + z h`, gates in the order r, z, n."""

    def forward(params, carry, x):
        (h,) = carry
        x_r, x_z, x_n = np.split(project(params, x) + recurrent_bias(params), 3, axis=-1)
        w_r, w_z, w_n = np.split(params["w_hh"], 3, axis=-1)
        r, z = sigmoid(x_r + h @ w_r), sigmoid(x_z + h @ w_z)
        n = np.tanh(x_n + (r * h) @ w_n)
        new = (1 - z) * n + z * h
        return (new,), dict(x=x, h_before=h, r=r, z=z, n=n, h=new)

    def backward(params, values, d_carry):
        (d_h,) = d_carry
        r, z, n, h = (values[name] for name in ("r", "z", "n", "h_before"))
        w_r, w_z, w_n = np.split(params["w_hh"], 3, axis=-1)
        d_n = d_h * (1 - z) * (1 - n**2)
        d_z = d_h * (h - n) * z * (1 - z)
        d_rh = d_n @ w_n.T
        d_r = d_rh * h * r * (1 - r)
        d_a = np.concatenate([d_r, d_z, d_n], axis=-1)
        d_before = d_h * z + d_rh * r + d_r @ w_r.T + d_z @ w_z.T
        d_w_hh = np.concatenate([h.T @ d_r, h.T @ d_z, (r * h).T @ d_n], axis=-1)
        d_params = {"w_ih": values["x"].T @ d_a, "w_hh": d_w_hh, "b_ih": d_a.sum(0), "b_hh": d_a.sum(0)}
        return (d_before,), d_a @ params["w_ih"].T, d_params

    return Reference(3, 1, forward, backward)


def concatenated_lstm(w, b, carry, x):
    """The LSTM's step with one matrix: `[h, x] w + b`, where `w = [w_hh; w_ih]` is `[H + I, 4*H]`."""
    h, c = carry
    i, f, g, o = np.split(np.concatenate([h, x], axis=-1) @ w + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def concatenated_elman(w, b, carry, x):
    """The Elman step with one matrix: `tanh([h, x] w + b)`."""
    (h,) = carry
    return (np.tanh(np.concatenate([h, x], axis=-1) @ w + b),)


def concatenated_gru_reset_before(w, b, carry, x):
    """The GRU's step with one matrix for `[h, x]` and one for `[r h, x]`; reset after the product has no such form."""
    (h,) = carry
    (w_r, w_z, w_n), (b_r, b_z, b_n) = np.split(w, 3, axis=-1), np.split(b, 3)
    r, z = (sigmoid(np.concatenate([h, x], axis=-1) @ w_ + b_) for w_, b_ in ((w_r, b_r), (w_z, b_z)))
    n = np.tanh(np.concatenate([r * h, x], axis=-1) @ w_n + b_n)
    return ((1 - z) * n + z * h,)


def unroll(cell, params, carry, xs):
    """Run a cell over time: the last carry, the outputs `[T, B, H]` and the values of every step."""
    outputs, tape = [], []
    for x in xs:
        carry, values = cell.forward(params, carry, x)
        outputs.append(carry[0])
        tape.append(values)
    return carry, np.array(outputs), tape


def bptt(cell, params, tape, d_carry, d_ys):
    """Backpropagation through time, last step first: cotangents of parameters, first carry and inputs."""
    d_params = {name: np.zeros_like(value) for name, value in params.items()}
    d_xs = []
    for values, d_y in zip(reversed(tape), reversed(d_ys), strict=True):
        d_carry = (d_carry[0] + d_y, *d_carry[1:])
        d_carry, d_x, here = cell.backward(params, values, d_carry)
        for name in d_params:
            d_params[name] = d_params[name] + here[name]
        d_xs.append(d_x)
    return d_params, d_carry, np.array(d_xs[::-1])


def squared_error(ys, targets, weight):
    """`sum_tb weight_tb |y_tb - target_tb|^2`, and its cotangent of ys."""
    total, d_ys = 0.0, np.zeros_like(ys)
    for t in range(ys.shape[0]):
        for row in range(ys.shape[1]):
            error = ys[t, row] - targets[t, row]
            total += weight[t, row] * (error @ error)
            d_ys[t, row] = 2 * weight[t, row] * error
    return total, d_ys


def softmax_cross_entropy(logits, targets, weight):
    """`-sum_tb weight_tb log softmax(logits_tb)[target_tb]`, and its cotangent of the logits."""
    total, d_logits = 0.0, np.zeros_like(logits)
    for t in range(logits.shape[0]):
        for row in range(logits.shape[1]):
            a = logits[t, row] - logits[t, row].max()
            p = np.exp(a) / np.exp(a).sum()
            total -= weight[t, row] * np.log(p[targets[t, row]])
            d_logits[t, row] = weight[t, row] * (p - np.eye(p.size)[targets[t, row]])
    return total, d_logits


def language_model(cell, params, carry, ids, targets, weight):
    """Embedding, one recurrent layer, affine readout and cross-entropy: the loss, and the gradient by hand."""
    table, (w, b) = params["embedding"]["w"], (params["readout"]["w"], params["readout"]["b"])
    _, hs, tape = unroll(cell, params["core"], carry, table[ids])
    loss, d_logits = softmax_cross_entropy(hs @ w + b, targets, weight)
    nothing = tuple(np.zeros_like(state) for state in carry)
    d_core, _, d_xs = bptt(cell, params["core"], tape, nothing, d_logits @ w.T)
    d_table = np.zeros_like(table)
    for t in range(ids.shape[0]):
        for row in range(ids.shape[1]):
            d_table[ids[t, row]] += d_xs[t, row]
    flat_h, flat_d = hs.reshape(-1, hs.shape[-1]), d_logits.reshape(-1, b.size)
    grads = {"embedding": {"w": d_table}, "core": d_core, "readout": {"w": flat_h.T @ flat_d, "b": flat_d.sum(0)}}
    return loss, grads


def random_params(rng, cell, input_size, hidden_size):
    """Parameters of a layer, all of them random (a bias of zero would hide mistakes)."""
    width = cell.gates * hidden_size
    shapes = {"w_ih": (input_size, width), "w_hh": (hidden_size, width), "b_ih": (width,), "b_hh": (width,)}
    shapes |= cell.shapes(input_size, hidden_size)
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return params | {"w_hh": params["w_hh"] / hidden_size**0.5}


def random_carry(rng, cell, rows, hidden_size):
    """A carry `[B, H]` for each state, away from zero."""
    sizes = (cell.output_size or hidden_size, *[hidden_size] * (cell.states - 1))
    return tuple(rng.normal(size=(rows, size)) for size in sizes)
