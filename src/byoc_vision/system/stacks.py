"""Where the threads of this process are.

faulthandler tells it, since it holds the interpreter's lock all the time. Who walks `sys._current_frames()` of a thread
that goes on may get objects of other types, or crash: CPython makes the frame objects while one walks, and if a
garbage collection comes in between, the thread may leave the frames meanwhile. (Seen with CPython 3.11.7; the remark
on GH-97002 in its Python/frame.c tells of the same allocation.)
"""

from __future__ import annotations

import faulthandler
import os
import re
from threading import Thread

_LINE = re.compile(r'(?m)^  File "(.+)", line (\d+) in (.+)$')


def stacks() -> str:
    """The stack of each thread as faulthandler writes it, the innermost line first: at most 100 lines, of 100 threads.

    It is written to memory, so that a full or hanging disk does not matter.
    """
    with open(os.memfd_create("stacks"), "w+b") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode()


def stack_of(thread: Thread) -> list[tuple[str, int, str]]:
    """File, line and function of each frame of a thread, the innermost first; empty if it does not run."""
    its_own = re.search(rf"(?m)^(?:Current t|T)hread 0x0*{thread.ident or 0:x} .*\n((?:  .*\n)*)", stacks())
    lines = _LINE.findall(its_own[1]) if its_own else []
    return [(file, int(line), function) for file, line, function in lines]
