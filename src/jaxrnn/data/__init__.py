"""From a text to chunks of token ids, and tasks drawn from random numbers.

::

    corpora   which texts are read, and how they are split        reading               files as blocks of text
    text      tokenizers: from text to symbols and back           vocabulary            from symbols to ids and back
    dataset   a corpus as token ids on disk, memory-mapped        cache                 folders, whole or not at all
    chunks    contiguous streams, cut into chunks of one shape    lengths               chunks of random lengths
    named     texts that everybody knows, fetched and checked     sequences             of unequal lengths, padded
    tasks     synthetic tasks with a known floor                  influence_balancing   and one that misleads
"""
