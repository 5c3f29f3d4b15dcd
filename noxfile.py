"""Sessions for CI and for contributors: ``pip install nox && nox``."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import nox
from packaging.requirements import Requirement

nox.needs_version = '>=2025.2.9'
nox.options.default_venv_backend = 'uv|virtualenv'  # uv, where it is, takes seconds, not minutes
nox.options.sessions = ['tests', 'lint', 'types', 'docs']

PROJECT = nox.project.load_toml('pyproject.toml')
HERE = f'{sys.version_info.major}.{sys.version_info.minor}'


def runs(version: str) -> bool:
    """Tell whether a Python is installed and active: a shim of pyenv may be neither."""
    python = shutil.which(f'python{version}')
    return version == HERE or bool(
        python
        and not subprocess.run([python, '-c', ''], check=False, capture_output=True).returncode
    )


# The Pythons of the classifiers that are there; another one has no session, and to ask for it is an
# error, where nox would skip its session. The one that runs nox counts even without a classifier.
PYTHONS = [version for version in nox.project.python_versions(PROJECT) if runs(version)] or [HERE]
# Tests of whole programs, docs and source files, and of random bytes: a version of a dependency
# that breaks one of them breaks others, too.
APART = ('cli', *(f'test_{name}.py' for name in 'deploying docs examples fuzz layers'.split()))
# Tests that import every module, or that need another packaged file.
WHOLE = [
    f'tests/{name}.py'
    for name in (
        'cli/test_cli',
        'test_compatibility',
        'test_docs',
        'test_examples',
        'test_exports',
        'test_layers',
        'test_testing',
    )
]


def group(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups: pip has had ``--group`` only since 25.1."""
    return nox.project.dependency_groups(PROJECT, *names)


def floors() -> list[str]:
    """Return the dependencies with each ``>=`` replaced by ``==``."""
    pins = []
    for requirement in map(Requirement, PROJECT['project']['dependencies']):
        (floor,) = (s.version for s in requirement.specifier if s.operator == '>=')
        marker = f'; {requirement.marker}' if requirement.marker else ''
        pins.append(f'{requirement.name}=={floor}{marker}')
    return pins


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on every installed Python; on the first, coverage must be 100 % of branches."""
    session.install('-e', '.', *group('test'))
    # Coverage takes as long as the tests themselves, and some of them cover only some branches.
    if session.python != PYTHONS[0] or session.posargs:
        session.run('pytest', *session.posargs)
        return
    session.env['COVERAGE_FILE'] = str(Path(session.virtualenv.location, 'coverage').resolve())
    session.run('coverage', 'erase')
    session.run('coverage', 'run', '-m', 'pytest')
    session.run('coverage', 'combine', '--quiet')
    session.run('coverage', 'report')


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that pyproject.toml allows."""
    session.install('-e', '.', *floors(), *group('test'))
    apart = [f'--ignore=tests/{name}' for name in APART]
    session.run('pytest', *(session.posargs or apart))


@nox.session(name='next')
def another_aiohttp(session: nox.Session) -> None:
    """Test with the newest aiohttp, pre-releases too, or ``nox -s next -- 'aiohttp==4.0.0a1'``.

    It may fail: the summary says which doors to aiohttp need an update.
    """
    session.install('-e', '.', *group('test'))
    session.install('--no-deps', '--pre', '--upgrade', *(session.posargs or ['aiohttp']))
    session.run('python', '-c', 'import aiohttp; print("aiohttp", aiohttp.__version__)')
    files = [f'tests/test_{name}.py' for name in ('aiohttp', 'serving', 'sending')]
    quiet = ['--tb=no', '-rfE', '--continue-on-collection-errors']
    for kind in ('default::DeprecationWarning', 'default:aiohttp runs without:RuntimeWarning'):
        quiet += ['-W', kind]
    session.run('pytest', *quiet, *files, env={'COLUMNS': '200'})  # the summary is cut there


@nox.session
def soak(session: nox.Session) -> None:
    """Run mixed load on client and server: ``nox -s soak -- --minutes N``. tests/soak has more."""
    session.install('-e', '.', *group('test'))
    session.run('python', 'tests/soak/soak.py', *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Test the server with Chromium, if it is installed; not a part of ``.ci/run``."""
    session.install('-e', '.', *group('test'))
    session.run('pytest', '-rs', 'tests/browser/browsing.py', *session.posargs)


@nox.session(python=['3.11', '3.13'])  # those of benchmarks/RESULTS.md
def bench(session: nox.Session) -> None:
    """Run the benchmarks: ``nox -s bench -- --quick`` measures less. benchmarks/ has more."""
    session.install('-e', '.')
    try:
        session.install(*group('bench'))
    except nox.command.CommandFailed:  # a package without a wheel is reported in its rows
        for requirement in group('bench'):
            session.install(requirement, success_codes=(0, 1))
    session.run('python', '-m', 'benchmarks', *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff: ``nox -s lint -- --fix`` fixes what it can."""
    session.install(*group('lint'))
    fix = '--fix' in session.posargs
    session.run('ruff', 'check', *(['--fix'] if fix else []))
    session.run('ruff', 'format', *([] if fix else ['--check']))


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and basedpyright, and that wrong code is rejected."""
    session.install('-e', '.', *group('types'))
    session.run('mypy')
    session.run('basedpyright')
    session.run('basedpyright', '--verifytypes', 'aioluahttp', '--ignoreexternal')
    session.run('python', 'tests/typing/check.py')


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation without the network; a broken reference is an error."""
    session.install('-e', '.', *group('docs'))
    flags = ['--fresh-env', '--fail-on-warning', '--keep-going', '--nitpicky']
    session.run('sphinx-build', *flags, 'docs', 'docs/_build/html')


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and the sdist, and test the wheel outside the source tree."""
    session.install(*group('build'))
    with TemporaryDirectory() as folder:
        tmp = Path(folder).resolve()
        session.run('python', '-m', 'build', '--outdir', folder)
        (sdist,), (built,) = tmp.glob('*.tar.gz'), tmp.glob('*.whl')
        session.run('twine', 'check', '--strict', str(sdist), str(built))

        # Tests from the sdist run against the wheel, so that a file missing in either shows.
        with tarfile.open(sdist) as archive:
            archive.extractall(tmp, filter='data')
        tree = tmp / sdist.name.removesuffix('.tar.gz')
        shutil.rmtree(tree / 'src')
        session.install(str(built), *group('test'))
        with session.chdir(tree):
            session.run('python', '-m', 'aioluahttp')
            session.run('pytest', *(session.posargs or WHOLE))
