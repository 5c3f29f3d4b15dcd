"""The command line: a server and its requests, shown on loopback."""

import asyncio
import importlib
import subprocess
import sys

import pytest

from aioluahttp.cli import demonstrate, echo, main
from aioluahttp.conversion import to_request


def check(output):
    """Check that every table is there."""
    lines = output.splitlines()
    assert lines[0].startswith('listening on http://127.0.0.1:')
    assert 'the server is closed' == lines[-1]
    for text in "'body': '<h1>Hello</h1>'", "'body': 'a table went out'", '10 in parallel':
        assert text in output
    squares = [line.rpartition(' ')[2] for line in lines if '/square?' in line]
    assert [str(n * n) for n in range(10)] == squares


@pytest.mark.parametrize('loop', ['asyncio', 'uvloop'])
def test_main_shows_the_tables(capsys, monkeypatch, loop):
    """It gives 0, on uvloop where that is installed, else on asyncio."""
    if loop == 'uvloop':
        pytest.importorskip('uvloop')
    else:
        monkeypatch.setitem(sys.modules, 'uvloop', None)  # as if it were not installed
    loops = set()

    async def noted(table):
        loops.add(type(asyncio.get_running_loop()).__module__.partition('.')[0])
        return await echo(table)

    monkeypatch.setattr('aioluahttp.cli.echo', noted)
    assert 0 == main([])
    assert {loop} == loops
    output, errors = capsys.readouterr()
    check(output)
    assert '' == errors


async def test_it_can_be_shown_in_a_loop_that_runs(capsys):
    """``demonstrate`` is the same for code that is asynchronous already."""
    await demonstrate()
    check(capsys.readouterr()[0])


def test_the_module_can_be_run():
    """``python -m aioluahttp`` exits 0 with nothing on stderr, warnings being errors."""
    # Not -X dev: CPython 3.11 crashes where coverage traces uvloop in debug mode.
    command = [sys.executable, '-W', 'error', '-m', 'aioluahttp']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, '') == (done.returncode, done.stderr)
    check(done.stdout)


def test_the_module_can_be_imported(capsys):
    """Only to run it shows anything."""
    importlib.import_module('aioluahttp.__main__')
    assert ('', '') == capsys.readouterr()


@pytest.mark.parametrize(
    ('arguments', 'status', 'text'),
    [(['--help'], 0, 'HTTP as plain tables'), (['--no'], 2, 'unrecognized arguments: --no')],
)
def test_it_takes_no_arguments_but_help(capsys, arguments, status, text):
    """Help exits 0, anything else 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert status == caught.value.code
    assert text in ''.join(capsys.readouterr())


async def test_what_is_not_there_is_a_404():
    """The server of the demonstration says what it has not found."""
    response = await echo(to_request(url='http://h/nothing?x'))
    assert {'status': 404, 'body': 'nothing at /nothing'} == response
