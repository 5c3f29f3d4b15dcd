"""Hold the types to their promises: ``python tests/typing/check.py`` in the types session.

Both checkers must let good.py and the annotated examples of README and docs pass, and in bad.py
refuse exactly the lines marked ``# error``.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
GOOD, BAD = HERE / 'good.py', HERE / 'bad.py'
ROOT = HERE.parents[1]
PAGES = [ROOT / 'README.md', *sorted(ROOT.glob('docs/**/*.md'))]
FENCE = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def examples(folder: str) -> list[str]:
    """Write each annotated example of README and docs to a file, and name the files."""
    paths = []
    for page in PAGES:
        for number, source in enumerate(FENCE.findall(page.read_text('utf-8'))):
            if is_annotated(source):
                paths.append(Path(folder, f'{page.stem}_{number}.py'))
                paths[-1].write_text(source, 'utf-8')
    return [str(path) for path in paths]


def is_annotated(source: str) -> bool:
    """Tell whether code has annotations; a block with top-level ``await`` may have none."""
    nodes = list(ast.walk(ast.parse(source)))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(isinstance(n, ast.AnnAssign) for n in nodes) or any(f.returns for f in functions)


def run(*command: str) -> str:
    """Run a checker from the root, where its settings are, and give what it prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1 is for errors that were found
        sys.exit(f'{command[0]} broke down:\n{done.stdout}{done.stderr}')
    return done.stdout


def mypy(*files: str) -> list[tuple[str, int, str]]:
    """Give the file, line and text of each error that mypy finds."""
    lines = run(*(sys.executable, '-m', 'mypy', '--strict', '--output=json', *files)).splitlines()
    found = [json.loads(line) for line in lines if line.startswith('{')]
    return [
        (one['file'], one['line'], one['message']) for one in found if one['severity'] == 'error'
    ]


def basedpyright(*files: str) -> list[tuple[str, int, str]]:
    """Give the file, line and text of each error that basedpyright finds."""
    program = str(Path(sys.executable).with_name('basedpyright'))
    output = run(program, '--pythonpath', sys.executable, '--outputjson', *files)
    found = json.loads(output)['generalDiagnostics']
    return [
        (one['file'], one['range']['start']['line'] + 1, one['message'])
        for one in found
        if one['severity'] == 'error'
    ]


def wrong(found: list[tuple[str, int, str]]) -> list[str]:
    """List where what a checker found differs from what the files promise."""
    texts = {(Path(file).name, line): text for file, line, text in found}
    lines = BAD.read_text('utf-8').splitlines()
    promised = {(BAD.name, n) for n, line in enumerate(lines, 1) if line.endswith('# error')}
    return [
        *(
            f'{file}:{line} is refused: {texts[file, line]}'
            for file, line in sorted(texts.keys() - promised)
        ),
        *(f'{file}:{line} passes' for file, line in sorted(promised - texts.keys())),
    ]


def main() -> int:
    """Run both checkers; the exit code is the number of faults, at most 1."""
    with TemporaryDirectory() as folder:
        files = [str(GOOD), str(BAD), *examples(folder)]
        faults = [
            f'{checker.__name__}: {fault}'
            for checker in (mypy, basedpyright)
            for fault in wrong(checker(*files))
        ]
    print(*faults or ['the types hold: good.py passes, bad.py is refused where it says'], sep='\n')
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main())
