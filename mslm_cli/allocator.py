"""How this process keeps memory that it has freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next array of like size, where it can be told to.

    By default glibc gives arrays of some 100 kB and more back at once, and most of the time of a short array
    operation then goes into getting the pages anew.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**30)
        mallopt(_MMAP_THRESHOLD, 2**25)
