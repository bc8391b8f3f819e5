"""What one dispatch takes: the next chunks of the text, on the devices that work on them."""

from jaxrnn.averaging import average_start
from jaxrnn.data.chunks import number_of_chunks, read
from jaxrnn.gradients import Chunk
from jaxrnn.mesh import put_rows
from jaxrnn.running.experiment import Experiment, epoch_streams
from jaxrnn.running.position import Position
from jaxrnn.training import stack_chunks


def next_chunks(experiment: Experiment, position: Position) -> tuple[Chunk, Position]:
    """Read what one dispatch takes. It stays within an epoch, the run's length, and what comes before an average.

    Args:
        experiment: the experiment.
        position: where the run stands.

    Returns:
        Chunks `[U, A, K, B]`, filled up with weight 0 where there are fewer, and the position after them.
    """
    training, average_last = experiment.config.training, experiment.config.optimizer.average_last
    streams = epoch_streams(experiment.config, experiment.streams, position.epoch)
    accumulate, in_epoch = training.accumulate, number_of_chunks(streams)
    start = average_start(average_last, experiment.updates)  # an average begins between two dispatches
    stop = start if position.updates < start else experiment.updates
    updates = min(training.updates_per_dispatch, stop - position.updates)
    end = min(position.chunk + updates * accumulate, in_epoch)
    chunks = [read(streams, index) for index in range(position.chunk, end)]
    updates = -(-len(chunks) // accumulate)
    stacked = stack_chunks(chunks, updates=training.updates_per_dispatch, accumulation=accumulate)
    epoch, chunk = (position.epoch + 1, 0) if end == in_epoch else (position.epoch, end)
    return stacked, position._replace(updates=position.updates + updates, epoch=epoch, chunk=chunk)


def put_chunks(experiment: Experiment, chunks: Chunk) -> Chunk:
    """Bring chunks to the devices that work on them.

    Args:
        experiment: the experiment.
        chunks: `[U, A, K, B]`, with the rows of all processes.

    Returns:
        The chunks, each row on the device that works on it.
    """
    return put_rows(experiment.mesh, chunks, axis=3)
