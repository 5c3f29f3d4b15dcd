"""The access log: a record for each response."""

import logging
from types import SimpleNamespace

import pytest

import aioluahttp as http
from aioluahttp.exchange.access_log import AccessRecord, body_size


def asked(url='/a?b', **fields):
    """Make the table of a request as a server gives it to a handler."""
    return http.Request({'url': url, 'version': '1.1', 'ip': '::1', **fields})


def record(request):
    """Make the record of a request whose response has a body of 5 bytes."""
    writer = SimpleNamespace()
    made = AccessRecord(writer, 'GET', request)
    assert 0 == writer.sent
    writer.sent = 5
    return made


FACTS = {'ip': '::1', 'method': 'GET', 'target': '/a?b', 'status': 201, 'bytes': 5}


async def test_a_logger_gets_a_line_with_the_facts_as_attributes(caplog):
    """So that a formatter can write them as it likes."""
    caplog.set_level(logging.INFO)
    await record(asked()).write(logging.root, {}, {'status': 201})
    (line,) = caplog.records
    seconds = line.seconds
    assert 0 < seconds < 60
    assert f'::1 "GET /a?b HTTP/1.1" 201 5 {seconds:.6f}' == line.getMessage()
    assert FACTS == {name: getattr(line, name) for name in FACTS}


async def test_a_logger_without_that_level_gets_no_line(caplog):
    """The level is INFO."""
    caplog.set_level(logging.WARNING)
    await record(asked()).write(logging.root, {}, {'status': 201})
    assert [] == caplog.messages


async def test_a_function_gets_both_tables_and_the_same_facts(caplog):
    """They are the key ``record`` of the response table. What it raises is logged."""
    seen, request, response = [], asked(), http.to_response({'status': 201})
    await record(request).write(lambda *both: seen.append(both), request, response)
    assert [(request, response)] == seen
    assert FACTS.keys() | {'seconds'} == response['record'].keys()
    assert FACTS == {name: response['record'][name] for name in FACTS}
    await record(request).write(lambda *both: 1 / 0, request, response)
    assert ['access_log failed'] == caplog.messages


async def test_the_record_has_the_request_as_it_came(caplog):
    """Whatever the handler does to its table."""
    caplog.set_level(logging.INFO)
    request = asked(version='2')
    made = record(request)
    request.clear()
    await made.write(logging.root, request, {'status': 200})
    assert caplog.messages[0].startswith('::1 "GET /a?b HTTP/2" 200 5 ')


async def test_a_client_on_a_unix_socket_has_no_address(caplog):
    """It is a hyphen in the line, and None as an attribute."""
    caplog.set_level(logging.INFO)
    await record(asked(ip=None)).write(logging.root, {}, {'status': 200})
    assert caplog.messages[0].startswith('- "GET ')
    assert caplog.records[0].ip is None


@pytest.mark.parametrize(
    ('target', 'written'),
    [
        ('/"', r'/\x22'),
        ('/\\', r'/\x5C'),
        ('/é', r'/\xC3\xA9'),
        ('/\udcff', r'/\xFF'),
        ("/!$&'()*+,;=:@%20[]|~", "/!$&'()*+,;=:@%20[]|~"),
    ],
)
async def test_no_target_breaks_the_line(caplog, target, written):
    """Quotes, backslashes and bytes beyond ASCII are written as nginx does."""
    caplog.set_level(logging.INFO)
    await record(asked(target)).write(logging.root, {}, {'status': 200})
    assert f'"GET {written} HTTP/1.1"' in caplog.messages[0]
    assert target == caplog.records[0].target


def test_the_body_of_a_response_begins_behind_its_first_empty_line():
    """It may have empty lines itself."""
    assert 6 == body_size(b'HTTP/1.1 200 OK\r\nA: b\r\n\r\nx\r\n\r\ny'[:-1] + b'z')
    assert 0 == body_size(b'HTTP/1.1 204 OK\r\n\r\n')
