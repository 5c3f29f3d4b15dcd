"""Exit statuses, and errors as a line."""

import errno
import os
import subprocess
import sys

import pytest

import aioluahttp as http
from aioluahttp.cli.statuses import FAILED, INTERRUPTED, UNREAD, USAGE, exit_status


def noted(error, note):
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ('error', 'status', 'line'),
    [
        (http.TableError('wrong'), USAGE, 'wrong'),
        (http.ConnectError('nobody'), FAILED, 'nobody'),
        (noted(http.ProtocolError('broken'), 'again'), FAILED, 'broken; again'),
        (ImportError('needs x'), FAILED, 'needs x'),
        (OSError('plain'), FAILED, 'plain'),
        (OSError(errno.EACCES, 'cannot listen'), FAILED, 'cannot listen'),
        (FileNotFoundError(errno.ENOENT, 'no such', 'a'), FAILED, "no such: 'a'"),
    ],
)
def test_an_expected_error_is_one_line(capsys, error, status, line):
    """It has no traceback, and no number of the system."""

    def fail():
        raise error

    assert status == exit_status(fail)
    assert ('', f'aioluahttp: {line}\n') == capsys.readouterr()


def test_any_other_error_is_raised():
    """It is a bug, and needs its traceback."""
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


def test_an_interrupt_has_a_status():
    """Shells use it, too."""

    def interrupt():
        raise KeyboardInterrupt

    assert INTERRUPTED == exit_status(interrupt)


@pytest.mark.parametrize(('returned', 'status'), [(None, 0), (0, 0), (4, 4)])
def test_the_status_is_that_of_the_command(returned, status):
    """None is 0."""
    assert status == exit_status(lambda: returned)


def test_output_that_nobody_reads_is_no_error():
    """Nothing is on stderr, as with ``| head``."""
    read, write = os.pipe()
    os.close(read)
    script = 'from aioluahttp.cli.statuses import exit_status as e; exit(e(lambda: print("x")))'
    done = subprocess.run(
        [sys.executable, '-c', script], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (UNREAD, b'') == (done.returncode, done.stderr)
