"""The further cells in plain NumPy, after the pattern of `reference`: each step forward, and backward by hand."""

import numpy as np

from reference import Reference, lstm, project, recurrent_bias, sigmoid


def peephole_lstm():
    """`i, f` see `c`, `o` sees `c'`, each unit its own; else the LSTM."""

    def forward(params, carry, x):
        h, c = carry
        i, f, g, o = np.split(project(params, x) + h @ params["w_hh"] + recurrent_bias(params), 4, axis=-1)
        w_i, w_f, w_o = np.split(params["w_c"], 3)
        i, f, g = sigmoid(i + w_i * c), sigmoid(f + w_f * c), np.tanh(g)
        new_c = f * c + i * g
        o = sigmoid(o + w_o * new_c)
        new_h = o * np.tanh(new_c)
        return (new_h, new_c), dict(x=x, h_before=h, c_before=c, i=i, f=f, g=g, o=o, c=new_c, h=new_h)

    def backward(params, values, d_carry):
        d_h, d_c = d_carry
        i, f, g, o, c_before, c = (values[name] for name in ("i", "f", "g", "o", "c_before", "c"))
        w_i, w_f, w_o = np.split(params["w_c"], 3)
        d_o = d_h * np.tanh(c) * o * (1 - o)
        d_c = d_c + d_h * o * (1 - np.tanh(c) ** 2) + d_o * w_o
        d_i, d_f, d_g = d_c * g * i * (1 - i), d_c * c_before * f * (1 - f), d_c * i * (1 - g**2)
        d_a = np.concatenate([d_i, d_f, d_g, d_o], axis=-1)
        d_w_c = np.concatenate([(d_i * c_before).sum(0), (d_f * c_before).sum(0), (d_o * c).sum(0)])
        d_params = {"w_ih": values["x"].T @ d_a, "w_hh": values["h_before"].T @ d_a, "w_c": d_w_c}
        d_params |= {"b_ih": d_a.sum(0), "b_hh": d_a.sum(0)}
        return (d_a @ params["w_hh"].T, d_c * f + d_i * w_i + d_f * w_f), d_a @ params["w_ih"].T, d_params

    return Reference(4, 2, forward, backward, lambda _, hidden_size: {"w_c": (3 * hidden_size,)})


def coupled_lstm():
    """`c' = f c + (1 - f) g`, `h' = o tanh(c')`, gates in the order f, g, o."""

    def forward(params, carry, x):
        h, c = carry
        f, g, o = np.split(project(params, x) + h @ params["w_hh"] + recurrent_bias(params), 3, axis=-1)
        f, g, o = sigmoid(f), np.tanh(g), sigmoid(o)
        new_c = f * c + (1 - f) * g
        new_h = o * np.tanh(new_c)
        return (new_h, new_c), dict(x=x, h_before=h, c_before=c, f=f, g=g, o=o, c=new_c, h=new_h)

    def backward(params, values, d_carry):
        d_h, d_c = d_carry
        f, g, o, c_before, c = (values[name] for name in ("f", "g", "o", "c_before", "c"))
        d_o = d_h * np.tanh(c) * o * (1 - o)
        d_c = d_c + d_h * o * (1 - np.tanh(c) ** 2)
        d_f, d_g = d_c * (c_before - g) * f * (1 - f), d_c * (1 - f) * (1 - g**2)
        d_a = np.concatenate([d_f, d_g, d_o], axis=-1)
        d_params = {"w_ih": values["x"].T @ d_a, "w_hh": values["h_before"].T @ d_a}
        d_params |= {"b_ih": d_a.sum(0), "b_hh": d_a.sum(0)}
        return (d_a @ params["w_hh"].T, d_c * f), d_a @ params["w_ih"].T, d_params

    return Reference(3, 2, forward, backward)


def projection_lstm(projection_size):
    """`h' = (o tanh(c')) w_hr`, of its own size; else the LSTM."""

    def forward(params, carry, x):
        (_, c), values = lstm().forward(params, carry, x)
        values |= {"m": values["h"], "h": values["h"] @ params["w_hr"]}
        return (values["h"], c), values

    def backward(params, values, d_carry):
        d_h, d_c = d_carry
        inner = values | {"h": values["m"]}
        d_before, d_x, d_params = lstm().backward(params, inner, (d_h @ params["w_hr"].T, d_c))
        return d_before, d_x, d_params | {"w_hr": values["m"].T @ d_h}

    def shapes(input_size, hidden_size):
        return {"w_hh": (projection_size, 4 * hidden_size), "w_hr": (hidden_size, projection_size)}

    return Reference(4, 2, forward, backward, shapes, projection_size)


def norm(a):
    """Mean 0 and variance 1 (plus 1e-5) in each row."""
    centred = a - a.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def norm_backward(a, d_norm):
    """The cotangent of `a` for that of `norm(a)`: `(d - mean(d) - n mean(d n)) / sqrt(variance + 1e-5)`."""
    n, deviation = norm(a), np.sqrt(a.var(-1, keepdims=True) + 1e-5)
    return (d_norm - d_norm.mean(-1, keepdims=True) - n * (d_norm * n).mean(-1, keepdims=True)) / deviation


def layer_norm_lstm():
    """The LSTM with `norm` on each product, over the four gates together, and on the content on its way out."""

    def forward(params, carry, x):
        h, c = carry
        from_input, from_state = x @ params["w_ih"], h @ params["w_hh"]
        a = params["gain_ih"] * norm(from_input) + params["b_ih"]
        a = a + params["gain_hh"] * norm(from_state) + recurrent_bias(params)
        i, f, g, o = np.split(a, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new_c = f * c + i * g
        out = np.tanh(params["gain_c"] * norm(new_c) + params["b_c"])
        values = dict(x=x, h_before=h, c_before=c, i=i, f=f, g=g, o=o, c=new_c, h=o * out, out=out)
        return (o * out, new_c), values | {"from_input": from_input, "from_state": from_state}

    def backward(params, values, d_carry):
        d_h, d_c = d_carry
        i, f, g, o, out, c = (values[name] for name in ("i", "f", "g", "o", "out", "c"))
        d_out = d_h * o * (1 - out**2)
        d_c = d_c + norm_backward(c, d_out * params["gain_c"])
        d_i, d_f, d_g, d_o = d_c * g, d_c * values["c_before"], d_c * i, d_h * out
        d_a = np.concatenate([d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g**2), d_o * o * (1 - o)], axis=-1)
        d_input = norm_backward(values["from_input"], d_a * params["gain_ih"])
        d_state = norm_backward(values["from_state"], d_a * params["gain_hh"])
        d_params = {"w_ih": values["x"].T @ d_input, "w_hh": values["h_before"].T @ d_state}
        d_params |= {"b_ih": d_a.sum(0), "b_hh": d_a.sum(0), "b_c": d_out.sum(0)}
        d_params |= {"gain_ih": (d_a * norm(values["from_input"])).sum(0), "gain_c": (d_out * norm(c)).sum(0)}
        d_params |= {"gain_hh": (d_a * norm(values["from_state"])).sum(0)}
        return (d_state @ params["w_hh"].T, d_c * f), d_input @ params["w_ih"].T, d_params

    def shapes(_, hidden_size):
        gains = {"gain_ih": (4 * hidden_size,), "gain_hh": (4 * hidden_size,)}
        return gains | {"gain_c": (hidden_size,), "b_c": (hidden_size,)}

    return Reference(4, 2, forward, backward, shapes)


def layer_norm_gru():
    """The GRU, reset after the product, with `norm` on each product: over r and z together, over n by itself."""

    def norm2(function, *arrays):
        cut = arrays[0].shape[-1] // 3 * 2
        return np.concatenate([function(*(a[..., part] for a in arrays)) for part in np.s_[:cut, cut:]], axis=-1)

    def forward(params, carry, x):
        (h,) = carry
        products = x @ params["w_ih"], h @ params["w_hh"]
        x_r, x_z, x_n = np.split(params["gain_ih"] * norm2(norm, products[0]) + params["b_ih"], 3, axis=-1)
        h_r, h_z, h_n = np.split(params["gain_hh"] * norm2(norm, products[1]) + recurrent_bias(params), 3, axis=-1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        new = (1 - z) * n + z * h
        return (new,), dict(x=x, h_before=h, r=r, z=z, n=n, h_n=h_n, h=new, products=products)

    def backward(params, values, d_carry):
        (d_h,) = d_carry
        r, z, n, h = (values[name] for name in ("r", "z", "n", "h_before"))
        from_input, from_state = values["products"]
        d_n = d_h * (1 - z) * (1 - n**2)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * values["h_n"] * r * (1 - r)
        d_x, d_s = np.concatenate([d_r, d_z, d_n], axis=-1), np.concatenate([d_r, d_z, d_n * r], axis=-1)
        d_params = {"b_ih": d_x.sum(0), "b_hh": d_s.sum(0)}
        d_params["gain_ih"] = (d_x * norm2(norm, from_input)).sum(0)
        d_params["gain_hh"] = (d_s * norm2(norm, from_state)).sum(0)
        d_x = norm2(norm_backward, from_input, d_x * params["gain_ih"])
        d_s = norm2(norm_backward, from_state, d_s * params["gain_hh"])
        d_params |= {"w_ih": values["x"].T @ d_x, "w_hh": h.T @ d_s}
        return (d_h * z + d_s @ params["w_hh"].T,), d_x @ params["w_ih"].T, d_params

    def shapes(_, hidden_size):
        return {"gain_ih": (3 * hidden_size,), "gain_hh": (3 * hidden_size,)}

    return Reference(3, 1, forward, backward, shapes)


def mgu():
    """`n = tanh(x w_in + b_in + (f h) w_hn + b_hn)`, `h' = (1 - f) h + f n`, gates in the order f, n."""

    def forward(params, carry, x):
        (h,) = carry
        x_f, x_n = np.split(project(params, x) + recurrent_bias(params), 2, axis=-1)
        w_f, w_n = np.split(params["w_hh"], 2, axis=-1)
        f = sigmoid(x_f + h @ w_f)
        n = np.tanh(x_n + (f * h) @ w_n)
        new = (1 - f) * h + f * n
        return (new,), dict(x=x, h_before=h, f=f, n=n, h=new)

    def backward(params, values, d_carry):
        (d_h,) = d_carry
        f, n, h = (values[name] for name in ("f", "n", "h_before"))
        w_f, w_n = np.split(params["w_hh"], 2, axis=-1)
        d_n = d_h * f * (1 - n**2)
        d_fh = d_n @ w_n.T
        d_f = (d_h * (n - h) + d_fh * h) * f * (1 - f)
        d_a = np.concatenate([d_f, d_n], axis=-1)
        d_w_hh = np.concatenate([h.T @ d_f, (f * h).T @ d_n], axis=-1)
        d_params = {"w_ih": values["x"].T @ d_a, "w_hh": d_w_hh, "b_ih": d_a.sum(0), "b_hh": d_a.sum(0)}
        return (d_h * (1 - f) + d_fh * f + d_f @ w_f.T,), d_a @ params["w_ih"].T, d_params

    return Reference(2, 1, forward, backward)


def min_gru():
    """`h' = (1 - z) h + z n`, with z and n of the input alone."""

    def forward(params, carry, x):
        (h,) = carry
        z, n = np.split(project(params, x), 2, axis=-1)
        z = sigmoid(z)
        new = (1 - z) * h + z * n
        return (new,), dict(x=x, h_before=h, z=z, n=n, h=new)

    def backward(params, values, d_carry):
        (d_h,) = d_carry
        x, h, z, n = (values[name] for name in ("x", "h_before", "z", "n"))
        d_a = np.concatenate([d_h * (n - h) * z * (1 - z), d_h * z], axis=-1)
        unused = {name: np.zeros_like(value) for name, value in params.items()}
        return (d_h * (1 - z),), d_a @ params["w_ih"].T, unused | {"w_ih": x.T @ d_a, "b_ih": d_a.sum(0)}

    return Reference(2, 1, forward, backward)
