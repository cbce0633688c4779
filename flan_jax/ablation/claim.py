"""Claims: at most one process works on something in a folder. The kernel lets go of a claim when its process ends."""

import contextlib
import errno
import fcntl
import os
import pathlib
import sys
from collections.abc import Iterator

UNKNOWN = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what file systems without locks answer


@contextlib.contextmanager
def claimed(path: str | os.PathLike) -> Iterator[bool]:
    """Claims a file for as long as the block runs; whether it could be had.

    Buckets mounted as folders, and Lustre mounted without `flock`, know no locks. There every claim is had, with a
    warning: whoever starts two processes must give them different work.
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as e:
            if e.errno not in UNKNOWN:
                raise
            print(f'{path}: no locks on this file system ({e.strerror}); run nothing twice at once', file=sys.stderr)
        yield True
