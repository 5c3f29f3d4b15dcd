"""The command line."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.cli import COMMANDS, main
from aioluahttp.server.listen import listen

DOCS = Path(__file__).parents[2] / 'docs'


def test_help_stands_in_the_docs(monkeypatch):
    """The page is what ``docs/command_line.py`` writes."""
    if sys.version_info < (3, 13):
        pytest.skip('argparse words options otherwise')
    monkeypatch.setenv('COLUMNS', '100')  # is set by the module, too, and put back
    spec = importlib.util.spec_from_file_location('command_line', DOCS / 'command_line.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text('utf-8') == module.page()


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_has_help(capsys, command):
    """It says what the command does."""
    with pytest.raises(SystemExit) as caught:
        main([command, '--help'])
    assert 0 == caught.value.code
    assert COMMANDS[command].help.split(',')[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'what'),
    [
        (['--no'], 'unrecognized arguments: --no'),
        (['no'], 'invalid choice'),
        (['request', 'http://h', '--header', 'A'], 'argument -H/--header: invalid'),
        (['request', 'http://h', '--json', '{'], 'argument --json: invalid'),
    ],
)
def test_wrong_arguments_exit_with_2(capsys, arguments, what):
    """The last line says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 2 == caught.value.code
    assert what in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ('arguments', 'status', 'what'),
    [
        (['request'], 2, "'host'"),
        (['request', 'http://127.0.0.1:1'], 1, 'GET http://127.0.0.1:1/: '),
        (['request', '--table', '/no/such/file'], 1, 'No such file'),
        (['serve', 'no_such_module:x'], 1, 'no_such_module'),
        (['proxy', 'nonsense://'], 2, 'nonsense'),
    ],
)
def test_what_goes_wrong_is_one_line(capsys, monkeypatch, arguments, status, what):
    """No traceback, on the standard error; a table that is wrong exits with 2."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    assert status == main(arguments)
    output, errors = capsys.readouterr()
    assert ('', 1) == (output, errors.count('\n'))
    assert errors.startswith('aioluahttp: ')
    assert what in errors


async def test_a_request_is_sent(capsys):
    """The exit status is that of the command."""

    def answer(request):
        return {'status': 418, 'body': request.headers['a']}

    async with listen('127.0.0.1', 0, answer) as server:
        arguments = ['request', server.url, '-H', 'A: b', '--check', '--repr']
        assert 4 == await asyncio.to_thread(main, arguments)
    assert "'body': 'b'" in capsys.readouterr().out


def test_an_interrupt_exits_as_shells_have_it(monkeypatch):
    """With no traceback."""

    def interrupt(given):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, 'echo', COMMANDS['echo']._replace(run=interrupt))
    assert 130 == main(['echo'])


def test_the_version_is_that_of_the_package(capsys):
    """It is printed with the name."""
    assert 0 == main(['--version'])
    assert f'aioluahttp {http.__version__}\n' == capsys.readouterr().out


def check_demonstration(output):
    lines = output.splitlines()
    assert lines[0].startswith('listening on http://127.0.0.1:')
    assert 'the server is closed' == lines[-1]


def test_without_a_command_it_shows_tables(capsys):
    """A server, and requests to it."""
    assert 0 == main([])
    check_demonstration(capsys.readouterr().out)


def test_the_module_can_be_run():
    """``python -m aioluahttp`` exits 0 with nothing on stderr, warnings being errors."""
    # Not -X dev: CPython 3.11 crashes where coverage traces uvloop in debug mode.
    command = [sys.executable, '-W', 'error', '-m', 'aioluahttp']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, '') == (done.returncode, done.stderr)
    check_demonstration(done.stdout)


def test_the_module_can_be_imported(capsys):
    """Only to run it shows anything."""
    importlib.import_module('aioluahttp.__main__')
    assert ('', '') == capsys.readouterr()
