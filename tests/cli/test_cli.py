"""The command line: help, exit statuses, and the demonstration."""

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


def test_the_docs_have_the_help_texts(monkeypatch):
    """The page equals what ``docs/command_line.py`` writes."""
    if sys.version_info < (3, 13):
        pytest.skip('argparse formats options differently')
    monkeypatch.setenv('COLUMNS', '100')  # the module sets it, too; this restores it
    spec = importlib.util.spec_from_file_location('command_line', DOCS / 'command_line.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text('utf-8') == module.page()


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_has_help(capsys, command):
    """The help says what the command does."""
    with pytest.raises(SystemExit) as caught:
        main([command, '--help'])
    assert 0 == caught.value.code
    assert COMMANDS[command].help.split(',')[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'what'),
    [
        (['--no'], 'unrecognized arguments: --no'),
        (['no'], 'invalid choice'),
        (['request', 'http://h', '--header', 'A'], "argument -H/--header: 'A' must be \"NAME:"),
        (['request', 'http://h', '--json', '{'], "argument --json: '{' must be JSON: "),
        (['request', 'http://h', '--form', 'a'], "argument --form: 'a' must be NAME=VALUE"),
        (['echo', '--workers', '0'], "argument --workers: '0' must be a number, 1 or more"),
        (['echo', '--port', '65536'], "argument --port: '65536' must be a number from 0 to"),
        (['proxy', ':1', '--max-body', 'big'], "argument --max-body: 'big' must be a number of"),
    ],
)
def test_wrong_arguments_exit_with_2(capsys, arguments, what):
    """The last line of the message says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 2 == caught.value.code
    assert what in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ('arguments', 'status', 'what'),
    [
        (['request'], 2, 'there is no URL'),
        (['request', ':1'], 1, 'http://localhost:1/: Cannot connect to host localhost:1 ['),
        (['request', '--table', '/no/such/file'], 2, 'No such file'),
        (['request', 'h', '-d', '@/no/such/file'], 2, 'No such file'),
        (['request', 'h', '--multipart', 'a=@/no/such/file'], 2, 'No such file'),
        (['request', 'h', '-d', 'x', '--form', 'a=b'], 2, 'exclude each other'),
        (['download', 'h', '/no/such/'], 1, "no such folder: '/no/such/'"),
        (['serve', 'no_such_module:x'], 2, 'no_such_module'),
        (['serve', 'no_such_folder'], 2, 'a folder that exists, or module:handler'),
        (['proxy', 'nonsense://'], 2, 'nonsense'),
        (['echo', '--workers', '2', '--host', '192.0.2.1'], 1, 'cannot listen on 192.0.2.1:8080'),
        (['echo', '--host', '192.0.2.1'], 1, 'cannot listen on 192.0.2.1:8080'),
        (['echo', '--trusted-proxies', 'x', '--port', '0'], 2, "'trusted_proxies' is 'x'"),
        (['serve', '.', '--workers', '2', '--reload'], 2, '--workers'),
    ],
)
def test_an_error_is_one_line_on_stderr(capsys, monkeypatch, arguments, status, what):
    """There is no traceback. 2 is a wrong command line, 1 what fails; see ``cli/statuses``."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    assert status == main(arguments)
    output, errors = capsys.readouterr()
    assert ('', 1) == (output, errors.count('\n'))
    assert errors.startswith('aioluahttp: ')
    assert what in errors


async def test_main_runs_a_command(capsys):
    """The exit status is that of the command."""

    def handler(request):
        return {'status': 418, 'body': request.headers['a']}

    async with listen('127.0.0.1', 0, handler) as server:
        arguments = ['request', server.url, '-H', 'A: b', '--check', '--repr']
        assert 4 == await asyncio.to_thread(main, arguments)
    assert "'body': 'b'" in capsys.readouterr().out


def test_an_interrupt_exits_with_130(monkeypatch):
    """Shells use that status; there is no traceback."""

    def interrupt(given):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, 'echo', COMMANDS['echo']._replace(run=interrupt))
    assert 130 == main(['echo'])


def test_the_version_is_that_of_the_package(capsys):
    """It is printed with the name of the program."""
    assert 0 == main(['--version'])
    assert f'aioluahttp {http.__version__}\n' == capsys.readouterr().out


def check_demonstration(output):
    lines = output.splitlines()
    assert lines[0].startswith('listening on http://127.0.0.1:')
    assert 'the server is closed' == lines[-1]


def test_without_a_command_the_demonstration_runs(capsys):
    """It starts a server and sends it requests."""
    assert 0 == main([])
    check_demonstration(capsys.readouterr().out)


def test_the_module_can_be_run():
    """``python -m aioluahttp`` exits with 0 and an empty stderr, with warnings as errors."""
    # Not -X dev: CPython 3.11 crashes where coverage traces uvloop in debug mode.
    command = [sys.executable, '-W', 'error', '-m', 'aioluahttp']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, '') == (done.returncode, done.stderr)
    check_demonstration(done.stdout)


def test_the_module_can_be_imported(capsys):
    """Importing ``__main__`` prints nothing."""
    importlib.import_module('aioluahttp.__main__')
    assert ('', '') == capsys.readouterr()
