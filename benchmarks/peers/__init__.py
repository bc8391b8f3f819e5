"""The whole train step of jaxrnn against that of PyTorch and of other JAX libraries, and against its matrix products.

    python -m benchmarks.peers                  # long; nothing else should run beside it
    python -m benchmarks.peers --quick          # small sizes and two implementations, to see that it works

An update is the same for all: embedding, recurrent layers, softmax and cross-entropy, backward, clipping by the global
norm, SGD, and the carry handed on to the next update; each library does it in its own fastest idiomatic form. That all
compute the same is checked before anything is timed.
"""
