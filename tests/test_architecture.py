"""The page on architecture shows the rooms that there are, in the order of the import rows."""

import re
from pathlib import Path

import aioluahttp

FOLDER = Path(aioluahttp.__file__).parent
TESTS = Path(__file__).parent
PAGE = (TESTS.parent / 'docs/explanation/architecture.md').read_text(encoding='utf-8')
ROOMS, SENT, SERVED = re.findall(r'\| --- \| --- \|\n((?:\|.*\n)+)', PAGE)


def rows() -> list[set[str]]:
    """Read the import rows that tests/test_layers.py holds the code to, the lowest first."""
    text = (TESTS / 'test_layers.py').read_text(encoding='utf-8')
    found = re.search(r'for row in """(.*?)"""', text, re.DOTALL)
    assert found
    return [set(row.split()) for row in found[1].strip().splitlines()]


SHOWN = [re.findall(r'`(\w+(?:\.py)?)`', line.split('|')[1]) for line in ROOMS.splitlines()]


def test_the_page_shows_each_room_in_its_row():
    """The rows of the first table are the import rows, upside down."""
    assert rows() == [{name.removesuffix('.py') for name in names} for names in reversed(SHOWN)]


def test_a_room_is_a_folder_or_a_file_as_the_page_says():
    """What ends in ``.py`` is a file, and the others are folders."""
    assert [] == [name for names in SHOWN for name in names if not (FOLDER / name).exists()]


def test_the_modules_on_the_way_of_a_request_exist():
    """Each ``room/module`` of the page is a file of the package."""
    named = set(re.findall(r'\b([a-z_]+)/([a-z_]+)\b', PAGE))
    modules = [FOLDER / room / f'{name}.py' for room, name in named if room not in ('src', 'tests')]
    assert [] == sorted(path for path in modules if not path.is_file())


def test_a_way_goes_through_modules_once():
    """Each row of the two tables of a way names a module, and none is named twice."""
    for way in (SENT, SERVED):
        steps = [
            re.findall(r'`([a-z_]+/[a-z_]+)`', line.split('|')[1]) for line in way.splitlines()
        ]
        assert {1} == set(map(len, steps))
        assert len(steps) == len({step for (step,) in steps}) > 5
