"""The board that all workers share."""

from __future__ import annotations

import os

from byoc_serve.health import Board, State


def test_ready_means_all_workers() -> None:
    board = Board(workers=2)
    assert [board[0], board[1], board.ready] == [State.STARTING, State.STARTING, False]
    board[0] = State.READY
    assert not board.ready
    board[1] = State.READY
    assert board.ready
    board[0] = State.FAILED
    assert not board.ready


def test_the_exit_code_is_no_worker_s_state() -> None:
    board = Board(workers=1)
    board.exit_code = 3
    board[0] = State.READY
    assert (board.exit_code, board.ready) == (3, True)


def test_a_forked_worker_writes_for_all() -> None:
    board = Board(workers=1)
    child = os.fork()
    if child == 0:
        board[0] = State.READY
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert board.ready
