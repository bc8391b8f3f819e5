"""How should the gradient go back through time? What every answer costs, how true it is, and what it does to learning.

::

    python -m benchmarks.full_vs_truncated                  # 25 minutes on 2 cores; may be stopped, and goes on
    python -m benchmarks.full_vs_truncated --quick          # 2 minutes, to see that it works
    python -m benchmarks.full_vs_truncated --parts cost pace    # what is timed, and nothing else, for a quiet moment

The parts, a file each:

- `cost`: seconds a token, temporary memory of the compiled program, and the memory of a process that does nothing else.
- `gradient`: bias, cosine and scatter against full BPTT's, at the parameters of a character LSTM that has learnt a bit.
- `learning`: copy memory, adding and temporal order with delays inside the horizon and beyond it, three seeds each.
- `pace`: the seconds of a gradient in `learning`, by which equal compute is told.
- `balancing`: influence balancing, where a gradient that is cut too soon points the wrong way.
- `certificate`: how often, and by how much, the bound of adaptive truncation is not one.

`setting` has the sizes, `rules` the estimators, `problems` and `text` what is learnt from, `process` what runs
apart, `kept` what makes it go on where it was stopped, `tables` and `pictures` what is shown.
"""
