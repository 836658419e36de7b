"""Files that appear, or change, all at once, and what is in them."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional, Union


@contextmanager
def written_whole(
    path: Union[str, Path], *, partial: Optional[Union[str, Path]] = None
) -> Iterator[str]:
    """Give a name to write to, ``<path>.partial``, which then takes the place of ``path``.

    Whoever reads ``path``, also after a crash or with a full disk, finds the old content or the
    new.

    Args:
        partial: Another name to write to, on the same disk.

    Raises:
        OSError: Nothing was written, as for lack of space; ``path`` is as it was.
    """
    partial = f'{path}.partial' if partial is None else str(partial)
    try:
        yield partial
        with open(partial, 'rb') as file:
            # else the new name may reach the disk before the content
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            os.remove(partial)
        if not isinstance(error, OSError):
            raise
        message = (
            f'{path} could not be written ({error.strerror or error}); files written before, also '
            'of this name, are untouched'
        )
        raise OSError(error.errno or errno.EIO, message) from error


def file_sha256(path: Union[str, Path]) -> str:
    """SHA-256 of a file's bytes in hexadecimal digits, of files of any size.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
