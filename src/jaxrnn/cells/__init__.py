"""Recurrent cells, one a file: equations, parameters, paper."""

from jaxrnn.cells.coupled_lstm import coupled_lstm, coupled_lstm_step
from jaxrnn.cells.cudnn import cudnn_lstm
from jaxrnn.cells.elman import elman, elman_step
from jaxrnn.cells.elstm import elstm, elstm_step
from jaxrnn.cells.gru import gru, gru_step
from jaxrnn.cells.layer_norm_gru import layer_norm_gru, layer_norm_gru_step
from jaxrnn.cells.layer_norm_lstm import layer_norm_lstm, layer_norm_lstm_step
from jaxrnn.cells.lstm import lstm, lstm_step
from jaxrnn.cells.mgu import mgu, mgu_step
from jaxrnn.cells.min_gru import min_gru, min_gru_step
from jaxrnn.cells.peephole_lstm import peephole_lstm, peephole_lstm_step
from jaxrnn.cells.projection_lstm import projection_lstm, projection_lstm_step

__all__ = [
    "coupled_lstm",
    "cudnn_lstm",
    "coupled_lstm_step",
    "elman",
    "elman_step",
    "elstm",
    "elstm_step",
    "gru",
    "gru_step",
    "layer_norm_gru",
    "layer_norm_gru_step",
    "layer_norm_lstm",
    "layer_norm_lstm_step",
    "lstm",
    "lstm_step",
    "mgu",
    "mgu_step",
    "min_gru",
    "min_gru_step",
    "peephole_lstm",
    "peephole_lstm_step",
    "projection_lstm",
    "projection_lstm_step",
]
