"""Looking at a network: how credit flows back through time, what the units do, and which horizon is enough.

::

    flow                         lag_norms, summarize, lag_at: the norm of credit by its lag
    spectrum                     growth, jacobians, lyapunov: why credit vanishes or explodes
    scalar                       scalar_rnn, scalar_flow: the same in a network of one number
    bias                         truncation_bias, answer: which horizon is enough
    findings                     Labelled, find: the best unit and the best linear probe for each label
    labels, held_out             text_labels, python_labels; read_held_out: labelled text that training has not seen
    states, layers               observe: what every unit does; layers: which states belong to which layer
    units, probes, scores        choose_units; probe: the whole state; score: how well a number tells a label
    gates, health                saturation: gates that are open or shut; health: of a training
    text_view                    view: a passage with what units did at every symbol
    report, figures, pictures    write: one page of all of it; its figures; how they become SVG
"""
