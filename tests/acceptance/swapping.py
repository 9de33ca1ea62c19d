"""Swap a file or folder with a link that leads out, as often and as fast as it goes, until killed.

    python swapping.py FOLDER NAME LINK TARGET

Each swap is one step (renameat2), so that there is never a moment in which a name is missing. What others
remove is put back: a file at NAME, a link to TARGET at LINK.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys

_EXCHANGE = 2
_CWD = -100


def main(folder: str, name: str, link: str, target: str) -> None:
    os.chdir(folder)
    swap = ctypes.CDLL(None, use_errno=True).renameat2
    one, other = name.encode(), link.encode()
    os.symlink(target, link)
    print("swapping", flush=True)
    while True:
        if not swap(_CWD, one, _CWD, other, _EXCHANGE):
            continue
        if (code := ctypes.get_errno()) != errno.ENOENT:
            raise OSError(code, os.strerror(code))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        with contextlib.suppress(FileExistsError):
            os.symlink(target, link)


if __name__ == "__main__":
    main(*sys.argv[1:])
