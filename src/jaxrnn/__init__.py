"""Recurrent networks and backpropagation through time, as pure functions.

What lies where; `from jaxrnn.fused import trace`, then `help(trace)`, says more::

    types                        the letters of all shapes; Marked: an input with padding and resets
    cell                         the record of a cell: Cell, Recurrence
    cells                        lstm, gru, elman and others, one a file
    compose                      stack, dropout, with_readout, language_model and others: they return cells
    fused, stepwise              a cell of your own: derive, from equations; from_step, from a step; trace: its gates
    linear_scan                  linear_unroll, linear_scan: all steps at once, where h' = a * h + b
    marks, trees                 within_lengths: from lengths to marks; renew_keys: new masks in a loop of your own
    initializers, losses         orthogonal, uniform, ...; softmax_cross_entropy, squared_error, ...
    cross_entropy                readout_cross_entropy: of a large vocabulary, block by block
    sampled_cross_entropy        sampled_cross_entropy: the same, estimated from some symbols
    gradients, spooled           Chunk; bptt, truncated_bptt, checkpointed_bptt, ...; spooled_bptt: by way of the disk
    optimizers, schedules        optimizer, clipping; schedule: of the learning rate
    averaging                    averaged, evaluated: the mean of the parameters over the end of training
    training, snapshots          init, make_train_step, stack_chunks; save, load, newest
    mesh, parallel               data_mesh, put_rows; data_parallel: the rows of a batch over devices
    allocator                    keep_buffers: quicker steps on Linux
    evaluation, context          make_evaluate; make_cost_by_context: by how much has been read
    dynamic, pointer             make_dynamic_evaluate, make_pointer_evaluate: a model that adapts, or has a cache
    sampling, beam, novelty      make_generate; make_beam_search; longest_copied: what of it is not new
    data, ngrams                 from a text to chunks, tasks; baselines: what counting predicts
    analysis                     credit by lag, spectra, horizons, units that tell a label
    interop                      torch: from_torch, to_torch; linen: from_linen
    errors                       InputError: what a user can mend
    config, settings, build      Config; resolve: from a file; build_model: from names to things
    running                      what the commands are made of; trained.load_trained: the model of a run

The commands are `python -m jaxrnn.train`, `evaluate`, `sample` and `analyze`, or `jaxrnn train` and so on.
"""

__version__ = "0.1.0"
