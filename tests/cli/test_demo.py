"""The demonstration."""

import asyncio
import sys

import pytest

from aioluahttp.cli.demo import demonstrate, show_request
from aioluahttp.server.listen import run_in_loop
from aioluahttp.tables.conversion import to_request


async def test_every_table_is_printed(capsys):
    """Requests and responses are."""
    await demonstrate()
    output, errors = capsys.readouterr()
    lines = output.splitlines()
    assert lines[0].startswith('listening on http://127.0.0.1:')
    assert ('the server is closed', '') == (lines[-1], errors)
    for text in "'body': '<h1>Hello</h1>'", "'body': 'a table went out'", '10 in parallel':
        assert text in output
    squares = [line.rpartition(' ')[2] for line in lines if '/square?' in line]
    assert [str(n * n) for n in range(10)] == squares


@pytest.mark.parametrize('loop', ['asyncio', 'uvloop'])
def test_it_runs_on_uvloop_if_that_is_installed(capsys, monkeypatch, loop):
    """Otherwise it runs on asyncio's loop."""
    if loop == 'uvloop':
        pytest.importorskip('uvloop')
    else:
        monkeypatch.setitem(sys.modules, 'uvloop', None)  # as if it were not installed
    loops = set()

    async def noted(table):
        loops.add(type(asyncio.get_running_loop()).__module__.partition('.')[0])
        return await show_request(table)

    monkeypatch.setattr('aioluahttp.cli.demo.show_request', noted)
    run_in_loop(demonstrate())
    assert {loop} == loops


async def test_an_unknown_path_is_a_404():
    """The body names the path."""
    response = await show_request(to_request(url='http://h/nothing?x'))
    assert {'status': 404, 'body': 'nothing at /nothing'} == response
