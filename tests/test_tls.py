"""TLS settings as tables."""

import doctest
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from aioluahttp import tls
from aioluahttp.errors import TableError
from aioluahttp.tls import check_tls, client_context, server_context


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return the paths of an authority, a certificate of it for localhost, and its keys."""
    folder = tmp_path_factory.mktemp('tls')
    paths = {name: folder / f'{name}.pem' for name in ('ca', 'cert', 'key', 'locked')}
    authority = trustme.CA()
    issued = authority.issue_cert('localhost')
    authority.cert_pem.write_to_path(paths['ca'])
    issued.cert_chain_pems[0].write_to_path(paths['cert'])
    issued.private_key_pem.write_to_path(paths['key'])
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    paths['locked'].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b'secret'),
        )
    )
    return paths


def pair(files):
    """Return the certificate and key of a server."""
    return {'cert': files['cert'], 'key': files['key']}


def handshake(client, server, name='localhost'):
    """Do a handshake of two contexts in memory; return a byte received and the server's names."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [one, other]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    # TLS 1.3: the client learns only by a read whether its certificate was accepted.
    other.write(b'x')
    one.read(1)
    one.write(b'y')
    return other.read(1), one.getpeercert() and one.getpeercert()['subjectAltName']


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(tls).failed


def test_contexts_and_bools_are_kept():
    """A context is used as it is; True is the default context, False verifies nothing."""
    context = ssl.create_default_context()
    assert [context, True, False] == [client_context(check_tls(x)) for x in (context, True, False)]


def test_paths_become_text():
    """Paths are checked to str, None to an absent key, and a second check changes nothing."""
    table = {'ca': Path('/a'), 'cert': 'b', 'key': None, 'verify': False, 'server_name': 'é.de'}
    checked = check_tls(table)
    expected = {'ca': str(Path('/a')), 'cert': 'b', 'verify': False, 'server_name': 'é.de'}
    assert [expected, expected, Path('/a')] == [checked, check_tls(checked), table['ca']]


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (5, "'tls' is 5; it must be an ssl.SSLContext, a table, or False"),
        ('x.pem', "'tls' is 'x.pem'; it must be an ssl.SSLContext"),
        ({'verfy': False}, "unknown key 'verfy': did you mean 'verify'?"),
        ({'verify': 0}, "'tls.verify' is 0; it must be True or False"),
        ({'ca': b'x'}, "'tls.ca' is b'x'; it must be a path"),
        ({'ca': ''}, "'tls.ca' is ''; it must be a path"),
        ({'cert': 'a\0b'}, "'tls.cert' is 'a\\x00b'; it must be a path"),
        ({'key': '\ud800', 'cert': 'c'}, "'tls.key' is '\\ud800'; it must be a path"),
        ({'server_name': Path('x')}, 'it must be a name'),
        ({'server_name': '.x'}, "'tls.server_name' is '.x'; it must be a name"),
        ({'server_name': 'a\0b'}, "'tls.server_name' is 'a\\x00b'; it must be a name"),
        (
            {'key': 'k'},
            "'tls' is {'key': 'k'}; it must be a table with cert as well as key",
        ),
    ],
)
def test_a_malformed_setting_is_refused(table, message):
    """The error names the key and the value and says what would be right."""
    with pytest.raises(TableError) as caught:
        check_tls(table)
    assert message in str(caught.value)


def test_contexts_are_cached_by_value(files):
    """Equal tables share a context, so that connections are reused; different tables do not."""
    first = client_context(check_tls({'ca': files['ca']}))
    again = client_context(check_tls({'ca': str(files['ca']), 'server_name': 'x'}))
    other = client_context(check_tls({'ca': files['ca'], 'verify': False}))
    assert (True, False) == (first is again, first is other)


@pytest.mark.parametrize('table', [{}, {'server_name': 'localhost'}])
def test_a_table_that_sets_nothing_is_the_default(table):
    """A table without files or verify uses the default context."""
    assert client_context(check_tls(table)) is True


def test_a_client_trusts_the_authority_that_is_named(files):
    """With ``ca`` a certificate of that authority is accepted, but only for its own name."""
    client = client_context(check_tls({'ca': files['ca']}))
    server = server_context(pair(files))
    assert (b'y', (('DNS', 'localhost'),)) == handshake(client, server)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, 'example.com')


def test_a_client_verifies_by_default(files):
    """A certificate of an unknown authority is refused."""
    client = client_context(check_tls({'verify': True}))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server_context(pair(files)))


def test_verify_false_accepts_any_certificate(files):
    """``verify`` of False accepts any certificate for any name."""
    client = client_context(check_tls({'verify': False}))
    server = server_context(pair(files))
    assert b'y' == handshake(client, server, 'example.com')[0]


def test_a_server_with_ca_asks_clients_for_certificates(files):
    """With ``ca`` a server accepts only clients with a certificate of that authority."""
    server = server_context({**pair(files), 'ca': files['ca']})
    trusted = client_context(check_tls({**pair(files), 'ca': files['ca']}))
    assert b'y' == handshake(trusted, server)[0]
    with pytest.raises(ssl.SSLError):
        handshake(client_context(check_tls({'ca': files['ca']})), server)


def test_a_server_may_leave_clients_unverified(files):
    """With ``verify`` of False it accepts clients without a certificate."""
    server = server_context({**pair(files), 'ca': files['ca'], 'verify': False})
    assert b'y' == handshake(client_context(check_tls({'ca': files['ca']})), server)[0]


def test_a_folder_of_authorities_is_trusted(files):
    """``ca`` may be a folder."""
    assert isinstance(client_context(check_tls({'ca': files['ca'].parent})), ssl.SSLContext)


def test_a_server_takes_a_context():
    """A context is used as it is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert context is server_context(context)


@pytest.mark.parametrize('table', [True, False, {}, {'verify': False}])
def test_a_server_needs_a_certificate(table):
    """A server without a certificate is refused before it listens."""
    with pytest.raises(TableError, match=r"^'tls' is .*; it must be .* a table with cert and key"):
        server_context(table)


@pytest.mark.parametrize('key', ['missing', 'ca', 'locked'])
def test_files_that_cannot_be_loaded_are_named(files, key):
    """No file, a wrong file, and a key with a password, which is never prompted for, are errors."""
    path = str(files.get(key, files['ca'].with_name('missing')))
    with pytest.raises(TableError) as caught:
        client_context(check_tls({'cert': files['cert'], 'key': path}))
    assert (True, True) == ('cannot be loaded' in str(caught.value), path in str(caught.value))
