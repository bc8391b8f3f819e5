"""The one error that a user can cause and mend."""


class InputError(ValueError):
    """Something a user gave is wrong: a file, a key, a value, an argument's shape.

    The message is one line that names the culprit, says what was expected and what to do. The commands print it
    and exit with code 2; from Python it is an ordinary `ValueError`.

    Example:
        >>> raise InputError("data.corpus: no file 'boks.txt'; give a text file, a folder or a corpus name")
        Traceback (most recent call last):
            ...
        jaxrnn.errors.InputError: data.corpus: no file 'boks.txt'; give a text file, a folder or a corpus name
    """
