"""Numbers as a sentence holds them: with as many digits as say something, and never with an exponent."""

import numpy as np


def plain(value: float, digits: int = 2) -> str:
    """Write a number to so many digits, and all those before its point.

    Args:
        value: the number.
        digits: how many, of those that count.

    Returns:
        The text.

    Example:
        >>> [plain(value) for value in (123.4, 18.2, 6.25, 0.5, 0.0, -0.000012)]
        ['123', '18', '6.2', '0.5', '0', '-0.000012']
    """
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")


def percent(share: float) -> str:
    """Write a share in percent: it is 0, or 100, only where it is so.

    Args:
        share: from 0 to 1.

    Returns:
        The text, without the sign.

    Example:
        >>> [percent(share) for share in (0.0, 0.00004, 0.004, 0.123, 0.997, 0.99999, 1.0)]
        ['0', '0.004', '0.4', '12', '99.7', '99.9', '100']
    """
    hundredths = 100 * share
    return f"{min(hundredths, 99.9):.1f}" if 99.5 <= hundredths < 100 else plain(hundredths)
