"""Recurrent cells, one a file: equations, parameters, paper."""

from jaxrnn.cells.elman import elman, elman_step
from jaxrnn.cells.elstm import elstm, elstm_step
from jaxrnn.cells.gru import gru, gru_step
from jaxrnn.cells.lstm import lstm, lstm_step

__all__ = ["elman", "elman_step", "elstm", "elstm_step", "gru", "gru_step", "lstm", "lstm_step"]
