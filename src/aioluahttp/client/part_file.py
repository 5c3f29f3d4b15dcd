"""Files of downloads: written under a temporary name, and renamed once they are complete.

Also the headers by which one is resumed: Content-Range, and the validators of If-Range
(RFC 9110 13.1.5, 14).
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from contextlib import ExitStack, suppress
from typing import IO, Any, NamedTuple

from ..dates import parse_date
from ..headers import Headers

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    'ContentRange',
    'NewFile',
    'Notes',
    'ResumableFile',
    'is_validator',
    'parse_content_range',
    'validator_of',
]

WRITE = 256 * 1024  # bytes at a time: more may cost the kernel thrice as much, in large pages
FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0)
STRONG = re.compile('"[!#-~]*"')
CONTENT_RANGE = r'bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)'


class ContentRange(NamedTuple):
    """A Content-Range: the bytes ``first`` to ``last`` of ``length``.

    ``first`` and ``last`` are None if it names no bytes (``*``), ``length`` is None if unknown.
    """

    first: int | None
    last: int | None
    length: int | None


def parse_content_range(text: str) -> ContentRange | None:
    """Parse a Content-Range in bytes; None if it is not one.

    Example:
        >>> parse_content_range('bytes 2-3/4')
        ContentRange(first=2, last=3, length=4)
        >>> parse_content_range('bytes */4')
        ContentRange(first=None, last=None, length=4)
    """
    found = re.fullmatch(CONTENT_RANGE, text, re.IGNORECASE)
    if not found:
        return None
    return ContentRange(*(int(one) if one and one != '*' else None for one in found.groups()))


def is_validator(text: object) -> bool:
    """Tell whether a text may stand in If-Range: a strong entity tag, or a date."""
    return isinstance(text, str) and bool(STRONG.fullmatch(text) or parse_date(text) is not None)


def validator_of(headers: Headers) -> str | None:
    """Return the validator that identifies a representation byte for byte; None if it has none.

    That is a strong entity tag. Only without any tag it may be Last-Modified, if that is before
    Date: within the same second the representation could change again.
    """
    tag = headers.get('ETag')
    if tag is not None:
        return tag if STRONG.fullmatch(tag) else None
    changed = headers.get('Last-Modified', '')
    at, now = parse_date(changed), parse_date(headers.get('Date', ''))
    return changed if at is not None and now is not None and now > at else None


class NewFile:
    """A temporary file that ``keep`` renames and ``drop`` removes. Its methods block.

    Args:
        path: The final name. If it is a symbolic link, the file behind the link is replaced.
        mode: Permissions of the file; None keeps those of the file that is replaced, if any.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int | None = None) -> None:
        self._path, self._given_mode = path, mode
        self._file: IO[bytes] | None = None
        self._name = self._target = ''
        self._mode: int | None = None  # permissions of the file to be replaced

    @property
    def is_open(self) -> bool:
        """Whether the file was opened, and not yet kept or dropped."""
        return self._file is not None

    def open(self) -> None:
        """Create the file.

        Raises:
            OSError: It cannot be created, or the path exists and is not a regular file.
        """
        self._target = os.path.realpath(os.fsdecode(self._path))
        existing = _mode(self._target)
        self._mode = existing if self._given_mode is None else self._given_mode
        folder, name = os.path.split(self._target)
        self._name = os.path.join(folder, self._named(name))
        self._file = self._opened()
        if self._mode is not None:
            os.chmod(self._name, self._mode | stat.S_IWUSR)

    def _named(self, name: str) -> str:
        return f'.{os.urandom(8).hex()}.part'

    def _opened(self) -> IO[bytes]:
        # Private from the start: whoever opened it earlier could read what is written later.
        mode = 0o666 if self._given_mode is None else self._given_mode
        return open(self._name, 'xb', opener=lambda name, flags: os.open(name, flags, mode))

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes; they are in the file then, even if the process is killed."""
        assert self._file
        for start in range(0, len(data), WRITE):
            self._file.write(data[start : start + WRITE])
        self._file.flush()  # Python 3.14 buffers 128 KiB

    def keep(self) -> None:
        """Rename the file to its final name, replacing a file that has it."""
        assert self._file
        self._file.close()  # some file systems report a full disk only now
        if self._mode is not None:
            os.chmod(self._name, self._mode)
        os.replace(self._name, self._target)
        self._file = None

    def drop(self) -> None:
        """Remove the file."""
        assert self._file
        with suppress(OSError):  # a full disk fails the last write
            self._file.close()
        self._file = None
        self._remove()

    def _remove(self) -> None:
        _unlink(self._name)


class Notes(NamedTuple):
    """What is known of a part: its source, its version, and the length of the whole in bytes.

    Attributes:
        source: Identifies the URL that was requested.
        target: Identifies the URL that redirects led to from there.
        validator: The entity tag or date to send in If-Range.
        length: None if unknown.
    """

    source: str
    target: str
    validator: str
    length: int | None


class ResumableFile(NewFile):
    """A temporary file that continues an earlier one of the same name.

    It is called ``.name.part``, and ``.name.part.json`` has its ``Notes``. When dropped it stays
    if it can be resumed. It is locked against other processes, except on Windows.

    Args:
        path: The final name.
        source: Identifies the URL that was requested; a part from another one is not resumed.
    """

    def __init__(self, path: os.PathLike[str], source: str) -> None:
        super().__init__(path)
        self._source = source
        self._lock: int | None = None
        self.start: int = 0  # bytes that the part has already
        self.notes: Notes | None = None

    def _named(self, name: str) -> str:
        return f'.{name}.part'

    @property
    def _notes_name(self) -> str:
        return f'{self._name}.json'

    def _opened(self) -> IO[bytes]:
        with ExitStack() as stack:
            stack.callback(self._unlock)
            while not self._take():  # the lock was free because its holder renamed the file
                pass
            file = open(self._name, 'ab')  # noqa: SIM115 - keep or drop closes it
            self.notes = self._read_notes()
            self.start = os.path.getsize(self._name) if self.notes else 0
            stack.pop_all()
        return file

    def _take(self) -> bool:
        """Open or create the file and lock it; tell whether it still has its name then."""
        number = os.open(self._name, FLAGS, 0o666)
        with ExitStack() as stack:
            stack.callback(os.close, number)
            if fcntl is None:  # Windows cannot rename an open file
                return True
            _lock(fcntl, number, self._name)
            if taken := _is_at(number, self._name):
                stack.pop_all()
                self._lock = number
            return taken

    def _read_notes(self) -> Notes | None:
        try:
            with open(self._notes_name, encoding='utf-8') as file:
                given = json.load(file)
        except (OSError, ValueError, RecursionError):
            return None
        match given:
            case {
                'source': self._source,
                'target': str(target),
                'validator': str(validator),
                'length': int() | None as length,
            } if is_validator(validator):
                return Notes(self._source, target, validator, length)
        return None

    def begin(self, target: str, validator: str | None, length: int | None) -> None:
        """Empty the part and write new notes; without a validator it cannot be resumed."""
        assert self._file
        _unlink(self._notes_name)
        self._file.truncate(0)
        self.start, self.notes = 0, None
        if validator is not None:
            notes = Notes(self._source, target, validator, length)
            with open(self._notes_name, 'x', encoding='utf-8') as file:
                json.dump(notes._asdict(), file)
            self.notes = notes

    def keep(self) -> None:
        super().keep()
        _unlink(self._notes_name)
        self._unlock()

    def _remove(self) -> None:
        if self.notes is None or not os.path.getsize(self._name):
            _unlink(self._notes_name)
            _unlink(self._name)
        self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _mode(target: str) -> int | None:
    try:
        found = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        number = errno.EISDIR if stat.S_ISDIR(found) else errno.EINVAL
        raise OSError(number, os.strerror(number), target)
    return stat.S_IMODE(found) & 0o777


def _unlink(name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name)


def _lock(how: Any, number: int, name: str) -> None:
    try:
        how.flock(number, how.LOCK_EX | how.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, 'another download writes to it', name) from error


def _is_at(number: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(number), os.stat(name))
    except FileNotFoundError:
        return False
