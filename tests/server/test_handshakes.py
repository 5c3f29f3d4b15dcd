"""TLS handshakes that fail: the client is told why, on every kind of event loop."""

import asyncio
import contextlib
import logging
import ssl

import pytest
import trustme

import aioluahttp as http
from aioluahttp.server.handshakes import AlertingObject, send_alerts

LOOPS = {'asyncio': asyncio.SelectorEventLoop}
with contextlib.suppress(ImportError):  # there is none on Windows
    import uvloop

    LOOPS['uvloop'] = uvloop.new_event_loop

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def hello(request):
    """Respond at once."""
    return {'status': 200, 'body': 'hello'}


def context_for(certificates, version, authority=None):
    """Make the context of a client, with a certificate of an authority, or without one."""
    context = ssl.create_default_context(cafile=certificates.ca)
    context.minimum_version = context.maximum_version = version
    if authority:
        authority.issue_cert('me@example.com').configure_cert(context)
    return context


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize(
    ('authority', 'reason'), [(None, '(certificate|handshake)'), (trustme.CA(), 'ca')]
)
def test_a_client_without_its_certificate_is_told(
    certificates, caplog, loop, version, authority, reason
):
    """It gets a ConnectError with the alert, whatever it sends, and there is one log record."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    big, strict = b'x' * 3_000_000, certificates.strict

    async def run():
        async with asyncio.timeout(60), http.listen('127.0.0.1', 0, hello, tls=strict) as server:
            for fields in ({}, {'into': 'stream'}, {'method': 'POST', 'body': big}):
                context = context_for(certificates, version, authority)
                with pytest.raises(http.ConnectError, match='(?i)alert.*' + reason):
                    await http.request(url=server.url, tls=context, **fields)
            with pytest.raises(http.ConnectError):
                async with http.websocket(url=server.url, tls=context):
                    pass
            good = {'ca': certificates.ca, 'cert': certificates.cert, 'key': certificates.key}
            assert 'hello' == (await http.request(url=server.url, tls=good)).body

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
    records = [record for record in caplog.records if record.name == 'aioluahttp']
    assert ['TLS handshake with 127.0.0.1 failed: '] * 4 == [
        record.getMessage().partition('[')[0] for record in records
    ]


async def test_a_client_that_goes_on_after_the_alert_is_closed(certificates, caplog):
    """What it sends then is not kept."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    async with http.listen('127.0.0.1', 0, hello, tls=certificates.strict) as server:
        before = asyncio.all_tasks()
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
        writer.write(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
        await reader.read()
        writer.write(b'more')
        while asyncio.all_tasks() - before:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    (record,) = caplog.records
    assert 'HTTP_REQUEST' in record.getMessage()


async def test_a_context_may_be_in_use_elsewhere(certificates):
    """With a server of asyncio's it does as before; a class of the user's is kept."""

    class Own(ssl.SSLObject):
        pass

    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.sslobject_class = Own
    send_alerts(own)
    send_alerts(certificates.strict)
    assert (Own, AlertingObject) == (own.sslobject_class, certificates.strict.sslobject_class)
    opened = []
    server = await asyncio.start_server(
        lambda *streams: opened.append(streams), '127.0.0.1', 0, ssl=certificates.strict
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(b'no TLS\r\n\r\n')
        assert b'' == await reader.read()
        writer.close()
        await writer.wait_closed()
    assert [] == opened
