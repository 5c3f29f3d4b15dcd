"""The rules of cookies: what is kept, what is sent where, limits, and hostile headers."""

import subprocess
import sys

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from aioluahttp.client import cookie_jar
from aioluahttp.client.cookie_jar import CookieJar, check_pair, is_public_suffix, parse_set_cookie
from aioluahttp.errors import TableError
from aioluahttp.headers import CONTROL
from aioluahttp.transports.encode import target_of

NOW = 1_800_000_000.0
EXAMPLE = 'http://www.example.com/a/b/c'


def jar_of(*fields, url=EXAMPLE, now=NOW):
    """Make a jar with what the Set-Cookie headers of a response set."""
    jar = CookieJar()
    jar.keep(fields, yarl.URL(url, encoded=True), now)
    return jar


def sent(jar, url=EXAMPLE, now=NOW):
    """Return the Cookie header for a URL."""
    found = jar.matching(yarl.URL(url, encoded=True), now)
    return '; '.join(f'{cookie.name}={cookie.value}' for cookie in found)


# Values


@pytest.mark.parametrize(
    'pair',
    [
        'v=x=y==',
        'w=a,b',
        'q="quoted"',
        'q="a',
        'j={"a": [1, "b"], "c": null}',
        'e=',
        'é=é',
        'latin=\udce9',
        'a\tb=c\td',
        'a b=c d',
        r'o="a\054b"',
        'p=%3B%2C',
        'a"b=c"d',
        'n=🍪',
        'f[x]=1, g=2',
    ],
)
def test_a_value_is_sent_as_it_was_set(pair):
    """Byte for byte (RFC 6265 5.4); blanks around the name and the value do not belong to them."""
    assert pair == sent(jar_of(f'{pair}; Path=/'))
    assert pair == sent(jar_of(f' \t{pair.replace("=", chr(9) + "= ", 1)} \t ;Path=/'))


@pytest.mark.parametrize(
    'field',
    [
        '',
        ';',
        'a',
        '=b',
        ' =b',
        'a; b=c',
        'a=b\0',
        'a=b; Path=/\x01',
        'a=b\r\nX: y',
        'a=\x7f',
        'a=\ud800',
        'a=b; c=\udfff',
    ],
)
def test_what_is_no_cookie_is_ignored(field):
    """No name, a control character anywhere, or text that cannot be encoded."""
    jar = jar_of('z=1; Path=/', field)
    assert 'z=1' == sent(jar)
    assert 1 == len(jar)


# Deletion and time


@pytest.mark.parametrize(
    'date',
    [
        'Thu, 01 Jan 1970 00:00:00 GMT',
        'Thu, 01-Jan-1970 00:00:00 GMT',
        'Thursday, 01-Jan-70 00:00:00 GMT',
        'Thu Jan  1 00:00:00 1970',
        'Thu, 01 Jan 1970 00:00:01 UTC',
        'Mon, 01-Jan-1601 00:00:00 GMT',
        '1 jan 1970 0:0:0',
        'Fri, 15 Jan 2027 08:00:00 GMT',  # NOW
    ],
)
def test_a_date_up_to_now_deletes_a_cookie(date):
    """In any of the accepted forms, whatever the value; other cookies stay."""
    jar = jar_of('s=1; Path=/', 't=1; Path=/')
    jar.keep([f's=; Expires={date}; Path=/'], yarl.URL(EXAMPLE), NOW)
    assert 't=1' == sent(jar)
    assert 1 == len(jar)


@pytest.mark.parametrize(
    ('attributes', 'seconds'),
    [
        ('Max-Age=0', 0),
        ('Max-Age=-1', 0),
        ('Max-Age=-' + '9' * 999, 0),
        ('max-age = 10 ', 10),
        ('Max-Age=0010', 10),
        ('Max-Age=10; Max-Age=20', 20),
        ('Max-Age=10; Max-Age=x', 10),
        ('Expires=Fri, 15 Jan 2027 08:00:10 GMT', 10),
        ('Expires=Fri, 15 Jan 2027 08:00:10 GMT; Expires=never', 10),
        ('Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT', 10),
        ('Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10', 10),
        ('Max-Age=0; Expires=Fri, 15 Jan 2099 08:00:10 GMT', 0),
        ('Max-Age=x; Expires=Fri, 15 Jan 2027 08:00:10 GMT', 10),
        ('Max-Age=99999999999', cookie_jar.LONGEST_AGE),
        ('Max-Age=' + '9' * 999, cookie_jar.LONGEST_AGE),
        ('Expires=Fri, 31 Dec 9999 23:59:59 GMT', cookie_jar.LONGEST_AGE),
        ('', None),
        ('Expires=', None),
        ('Expires=0', None),
        ('Expires=tomorrow', None),
        ('Max-Age=', None),
        ('Max-Age=-', None),
        ('Max-Age=+5', None),
        ('Max-Age=1.5', None),
        ('Max-Age=٣', None),
        ('Max-Age=1' + ' ' * 2000 + 'x', None),
        ('Max-Age=' + '1' * 1025, None),
    ],
)
def test_a_cookie_is_kept_for_its_time(attributes, seconds):
    """Max-Age beats Expires, the last valid one counts, and 400 days are the longest."""
    jar = jar_of('a=1; Path=/', f'a=2; Path=/; {attributes}')
    if not seconds:
        assert ('a=2' if seconds is None else '') == sent(jar, now=NOW + 10**9 * (seconds is None))
    else:
        assert 'a=2' == sent(jar, now=NOW + seconds - 0.5)
        assert '' == sent(jar, now=NOW + seconds)


# Domains


@pytest.mark.parametrize(
    ('url', 'domain', 'to'),
    [
        # Without a Domain, and with one that says nothing: the host alone.
        ('http://example.com', None, 'example.com'),
        ('http://example.com', '', 'example.com'),
        ('http://example.com', '.', 'example.com'),
        ('http://localhost', 'localhost', 'localhost'),
        # The host or a parent, and everything below it.
        ('http://example.com', 'example.com', '.example.com'),
        ('http://www.example.com', '.example.com', '.example.com'),
        ('http://www.example.com', 'EXAMPLE.Com', '.example.com'),
        ('http://www.example.com', 'www.example.com', '.www.example.com'),
        ('http://www.example.com:81', 'example.com', '.example.com'),
        # Refused: another site, a child, a part of a label, two dots.
        ('http://example.com', 'example.org', ''),
        ('http://example.com', 'www.example.com', ''),
        ('http://myexample.com', 'example.com', ''),
        ('http://www.example.com', '..example.com', ''),
        ('http://www.example.com', 'example.com, example.org', ''),
        ('http://www.example.com', 'example.com:80', ''),
        ('http://www.example.com', 'http://example.com', ''),
        ('http://www.example.com', '*.example.com', ''),
        # Supercookies.
        ('http://evil.com', 'com', ''),
        ('http://evil.com', '.com', ''),
        ('http://evil.com', 'com.', ''),
        ('http://evil.co.uk', 'co.uk', ''),
        ('http://evil.co.uk', '.CO.UK.', ''),
        ('http://a.evil.github.io', 'github.io', ''),
        ('http://x.foo.ck', 'foo.ck', ''),
        ('http://evil.xn--55qx5d.cn', '公司.cn', ''),
        # A host that is a suffix has cookies of its own (RFC 6265 5.3, step 5).
        ('http://co.uk', 'co.uk', 'co.uk'),
        ('http://github.io', '.github.io', 'github.io'),
        # A host with a dot at its end is the same host; a Domain with one is invalid.
        ('http://www.example.com.', None, 'www.example.com'),
        ('http://www.example.com.', 'example.com', '.example.com'),
        ('http://www.example.com', 'example.com.', ''),
        ('http://www.example.com.', 'www.example.com.', ''),
        ('http://www.example.com', '..', ''),
        # IDNA.
        ('http://xn--bcher-kva.example', 'bücher.example', '.xn--bcher-kva.example'),
        ('http://a.xn--bcher-kva.example', 'BÜCHER.example', '.xn--bcher-kva.example'),
        ('http://a.xn--bcher-kva.example', 'xn--bcher-kva.example', '.xn--bcher-kva.example'),
        # Addresses.
        ('http://127.0.0.1', None, '127.0.0.1'),
        ('http://127.0.0.1', '127.0.0.1', '127.0.0.1'),
        ('http://127.0.0.1', '.0.0.1', ''),
        ('http://127.0.0.1', '0.1', ''),
        ('http://127.0.0.1', '1', ''),
        ('http://[::1]', None, '[::1]'),
        ('http://[::1]', '[::1]', '[::1]'),
        ('http://[::1]', '::1', '[::1]'),
        ('http://[::ffff:1.2.3.4]', '2.3.4', ''),
        ('http://[fe80::1%25eth.evil.example]', 'evil.example', ''),
    ],
)
def test_a_cookie_is_sent_to_its_domain_only(url, domain, to):
    """Whatever the port and the case. Here a dot in front stands for the subdomains, too."""
    hosts = """example.com www.example.com a.b.example.com example.com. www.example.com.
        example.org evil.com victim.com com co.uk evil.co.uk victim.co.uk github.io
        evil.github.io victim.github.io victim.foo.ck xn--bcher-kva.example evil.example
        victim.xn--55qx5d.cn localhost 127.0.0.1 10.0.0.1 [::1] [::ffff:1.2.3.4]""".split()
    jar = jar_of('a=1' if domain is None else f'a=1; Domain={domain}', url=url)
    expected = {
        host
        for host in hosts
        if host.rstrip('.') == to.lstrip('.') or (to[:1] == '.' and host.rstrip('.').endswith(to))
    }
    assert expected == {host for host in hosts if sent(jar, f'http://{host}:8080/')}
    assert bool(to) == bool(jar)


def test_a_cookie_of_a_host_alone_is_not_sent_below_it():
    """Unlike one with a Domain; the two are kept side by side."""
    jar = jar_of(
        'a=1', 'b=2; Domain=example.com', 'a=3; Domain=example.com', url='http://example.com'
    )
    assert 'a=1; b=2; a=3' == sent(jar, 'http://example.com')
    assert 'b=2; a=3' == sent(jar, 'http://www.example.com')


def test_the_list_of_public_suffixes_is_loaded_late():
    """Not with the package, and not for a domain without a dot."""
    script = (
        'import sys, aioluahttp.client.cookie_jar as module\n'
        'assert module.is_public_suffix("com") and "publicsuffixlist" not in sys.modules\n'
        'assert module.is_public_suffix("co.uk") and "publicsuffixlist" in sys.modules'
    )
    subprocess.run([sys.executable, '-c', script], check=True)


@pytest.mark.parametrize('installed', [True, False])
def test_the_list_of_public_suffixes_is_optional(monkeypatch, installed):
    """Without the package only a domain without a dot is refused."""
    if not installed:
        monkeypatch.setitem(sys.modules, 'publicsuffixlist', None)
    monkeypatch.setattr(cookie_jar, '_suffix_list', cookie_jar._suffix_list.__wrapped__)
    assert is_public_suffix('com')
    assert installed == is_public_suffix('co.uk')
    assert not is_public_suffix('example.co.uk')
    jar = jar_of('a=1; Domain=co.uk', url='http://evil.co.uk')
    assert installed == (not jar)


# Paths


@pytest.mark.parametrize(
    ('url', 'path', 'to', 'not_to'),
    [
        ('/a/b/c', None, ['/a/b', '/a/b/', '/a/b/x/y', '/a/b?q'], ['/', '/a', '/a/bc', '/A/b/']),
        ('/a/b/', None, ['/a/b', '/a/b/x'], ['/a']),
        ('/a', None, ['/', '/x'], []),
        ('/', None, ['/', '/x'], []),
        ('*', None, ['/', '/x'], []),
        ('/a/b?/c/d', None, ['/a', '/a/x'], ['/']),
        ('/x', '/a', ['/a', '/a/', '/a/b', '/a?', '/a?b'], ['/', '/ab', '/x/a', '/%61']),
        ('/x', '/a/', ['/a/', '/a/b'], ['/a', '/']),
        ('/x', '/', ['/', '/a'], []),
        ('/a/b', '', ['/a', '/a/c'], ['/']),
        ('/a/b', 'x', ['/a', '/a/c'], ['/', '/x']),
        ('/a/b', '/x; Path=', ['/a', '/a/c'], ['/', '/x']),
        ('/x', '"/"', ['/'], []),
        ('/x', '/é', [], ['/', '/%C3%A9']),
    ],
)
def test_a_cookie_is_sent_to_its_path_and_below(url, path, to, not_to):
    """A path that does not begin with a slash is none (RFC 6265 5.2.4)."""
    target = target_of('http', 'h', 80, url)
    jar = CookieJar()
    jar.keep(['a=1' if path is None else f'a=1; Path={path}'], target, NOW)
    for one, expected in (*((one, 1) for one in to), *((one, 0) for one in not_to)):
        assert expected == len(jar.matching(target_of('http', 'h', 81, one), NOW)), one


def test_longer_paths_come_first_and_then_older_cookies():
    """A cookie that is set again keeps its place (RFC 6265 5.3, step 11, and 5.4)."""
    jar = jar_of('a=1; Path=/', 'b=1; Path=/a', 'c=1; Path=/', 'd=1; Path=/a/b')
    jar.keep(['e=1; Path=/', 'a=2; Path=/'], yarl.URL(EXAMPLE), NOW + 5)
    jar.keep(['c=; Path=/; Max-Age=0', 'c=2; Path=/'], yarl.URL(EXAMPLE), NOW + 6)
    assert 'd=1; b=1; a=2; e=1; c=2' == sent(jar)


# Secure


def test_a_secure_cookie_is_set_and_sent_over_https_only():
    """The scheme of the response counts as well as that of the request."""
    assert 0 == len(jar_of('a=1; Secure'))
    jar = jar_of('a=1; secure=no; Path=/', url='https://h/')
    assert ('a=1', '') == (sent(jar, 'https://h/'), sent(jar, 'http://h/'))


@pytest.mark.parametrize(
    ('field', 'url', 'kept'),
    [
        ('s=evil; Path=/', 'http://example.com/', 's=good'),
        ('s=; Max-Age=0; Path=/', 'http://example.com/', 's=good'),
        ('s=evil; Path=/in', 'http://example.com/', 's=good'),
        ('s=evil; Domain=example.com; Path=/', 'http://www.example.com/', 's=good'),
        ('s=evil; Path=/', 'http://www.example.com/', 's=good'),
        ('t=1; Path=/', 'http://example.com/', 's=good; t=1'),
        ('s=other; Path=/', 'http://example.org/', 's=good'),
        ('s=new; Path=/', 'https://example.com/', 's=new'),
        ('s=; Max-Age=0; Path=/', 'https://example.com/', ''),
    ],
)
def test_a_response_over_http_replaces_no_secure_cookie(field, url, kept):
    """Neither does it delete one, or hide one behind a longer path (RFC 6265bis 5.7)."""
    jar = jar_of('s=good; Secure; Path=/', url='https://example.com/')
    jar.keep([field], yarl.URL(url), NOW)
    assert kept == sent(jar, 'https://example.com/in/x')


def test_a_secure_cookie_of_a_subdomain_or_of_the_past_counts_rightly():
    """One of a subdomain is protected, too; one whose time is over is not."""
    jar = jar_of('s=good; Secure; Path=/', url='https://www.example.com/')
    jar.keep(['s=evil; Domain=example.com; Path=/'], yarl.URL('http://example.com/'), NOW)
    assert 's=good' == sent(jar, 'https://www.example.com/')
    jar = jar_of('s=good; Secure; Path=/; Max-Age=9', url='https://example.com/')
    jar.keep(['s=1; Path=/'], yarl.URL('http://example.com/'), NOW + 9)
    assert 's=1' == sent(jar, 'http://example.com/', NOW + 9)


@pytest.mark.parametrize(
    ('field', 'kept'),
    [
        ('__Secure-a=1; Secure', 1),
        ('__Secure-a=1', 0),
        ('__SECURE-a=1', 0),
        ('__Host-a=1; Secure; Path=/', 1),
        ('__host-a=1; Path=/', 0),
        ('__Host-a=1; Secure', 0),
        ('__Host-a=1; Secure; Path=/in', 0),
        ('__Host-a=1; Secure; Path=/; Domain=www.example.com', 0),
        ('__Host-a=1; Secure; Path=/; Domain=', 1),
        ('__Hosta=1', 1),
    ],
)
def test_a_name_with_a_prefix_keeps_its_promise(field, kept):
    """``__Secure-`` and ``__Host-`` in any case (RFC 6265bis 4.1.3)."""
    assert kept == len(jar_of(field, url='https://www.example.com/'))


# Limits


@pytest.mark.parametrize(
    ('name', 'value'), [('a', 'x' * 4095), ('a' * 4096, ''), ('é', 'é' * 2047)]
)
def test_a_cookie_of_4096_bytes_is_kept_and_no_longer_one(name, value):
    """Name and value together (RFC 6265bis 5.6)."""
    assert 1 == len(jar_of(f'{name}={value}'))
    assert 0 == len(jar_of(f'{name}={value}x'))


def test_an_attribute_over_1024_bytes_is_ignored():
    """As if it were not there."""
    jar = jar_of('a=1; Path=/' + 'x' * 1024, 'b=1; Domain=' + 'x' * 1025)
    assert 'a=1; b=1' == sent(jar)


def test_a_domain_has_a_limit():
    """First those go whose time is over, then the ones that were set longest ago, last Secure."""
    https = yarl.URL('https://h/')
    jar = CookieJar()
    jar.keep(['kept=1; Secure'], https, NOW)
    jar.keep(['over=1; Max-Age=5'], https, NOW)
    jar.keep([f'n{n}=1' for n in range(178)], https, NOW)
    jar.keep(['n0=again'], https, NOW)
    assert 180 == len(jar)
    jar.keep(['last=1'], https, NOW + 5)
    names = [cookie.name for cookie in jar]
    assert ['kept', 'n0', *(f'n{n}' for n in range(30, 178)), 'last'] == names


def test_all_domains_together_have_a_limit_and_no_site_drives_out_another():
    """The sites that have the most lose theirs; expired ones go first."""
    jar = jar_of('v=1', url='http://victim.example')
    jar.keep(['s=1; Secure'], yarl.URL('https://a0.evil.example2'), NOW)
    for host in range(30):
        fields = [f'n{n}=1; Max-Age={5 if host == 20 else 9}' for n in range(100)]
        jar.keep(fields, yarl.URL(f'http://a{host}.evil.example2'), NOW)
    assert 2702 + 300 - 1 > len(jar) > 2700
    assert 'v=1' == sent(jar, 'http://victim.example')
    assert 's=1' == sent(jar, 'https://a0.evil.example2')
    before = len(jar)
    for n in range(3001 - before):
        jar.keep(['n=1'], yarl.URL(f'http://h{n}.example'), NOW + 5)
    assert 3001 - 100 >= len(jar) > 2700
    assert '' == sent(jar, 'http://a20.evil.example2', NOW + 5)


def test_a_domain_without_cookies_takes_no_memory():
    """Deleting cookies that do not exist leaves nothing behind."""
    jar = CookieJar()
    for n in range(10):
        jar.keep(['a=; Max-Age=0'], yarl.URL(f'http://h{n}'), NOW)
    jar.keep(['a=1'], yarl.URL('http://h'), NOW)
    jar.keep(['a=1; Max-Age=0'], yarl.URL('http://h'), NOW)
    assert {} == jar._domains


@pytest.mark.parametrize(
    ('domain', 'left'),
    [
        (None, []),
        ('example.com', ['c']),
        ('www.example.com', ['a', 'c']),
        ('com', ['c']),
        ('xample.com', ['a', 'b', 'c']),
    ],
)
def test_the_cookies_of_a_domain_are_cleared(domain, left):
    """With those of its subdomains."""
    jar = jar_of('a=1; Domain=example.com', 'b=1')
    jar.keep(['c=1'], yarl.URL('http://127.0.0.1'), NOW)
    jar.clear(domain)
    assert left == [cookie.name for cookie in jar]


# What a user gives


@pytest.mark.parametrize('name', ['', 'a b', 'a=b', 'a;b', 'a,b', 'a\n', '\0', 5, None])
def test_a_name_that_cannot_be_sent_is_refused(name):
    """The error says what is right."""
    with pytest.raises(TableError, match=r"^'name' is .* without blanks"):
        check_pair(name, 'x')


@pytest.mark.parametrize(
    'value',
    [
        's3cret;',
        's3cret\r\nX: y',
        's3cret\0',
        ' s3cret',
        's3cret\t',
        b's3cret',
        None,
        True,
        's3cret\ud800',
        's3cret' * 700,
    ],
)
def test_a_value_that_cannot_be_sent_is_refused(value):
    """The error names the cookie, and hides the value."""
    with pytest.raises(TableError, match=r"^'cookies\[a\]' is \*\*\*; it must be ") as caught:
        check_pair('a', value)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('value', ['', 'x=y', 'a,b', '"q"', 'é', '\udce9', 5])
def test_any_other_value_is_taken_as_it_is(value):
    """Also an int, which is written as text."""
    assert ('a', str(value)) == check_pair('a', value)


# Hostile peers

HOSTS = ['evil.com', 'victim.com', 'a.evil.com', 'evil.co.uk', 'victim.co.uk', '1.2.3.4', '[::1]']
WORDS = """a =  ; , " Domain Path Secure Max-Age Expires Thu 01 Jan 1970 00:00:00 GMT / /a . .com
    com evil.com victim.com co.uk .co.uk victim.co.uk 2.3.4 __Host- __Secure- é \udce9 \ud800 \0
    \r\n \t \x7f 🍪 9999999999999999999999 - x""".split(' ')
FIELDS = st.text() | st.lists(st.sampled_from([*WORDS, '; ', '='])).map(''.join)
SCHEMES = st.sampled_from(['http', 'https'])


def site_of(host):
    """Return the part of a host that its owner has registered."""
    labels = 3 if host.endswith('co.uk') else 2
    return '.'.join(host.split('.')[-labels:]) if host[-1].isalpha() else host


@given(field=FIELDS)
def test_parsing_never_raises(field):
    """Nor does a name or a value have a control character, or pass its limit."""
    if parsed := parse_set_cookie(field, NOW):
        name, value, attributes = parsed
        assert name
        assert not CONTROL.search(name + value)
        assert len((name + value).encode('utf-8', 'surrogateescape')) <= 4096
        assert attributes.expires is None or attributes.expires <= NOW + cookie_jar.LONGEST_AGE


@given(
    responses=st.lists(st.tuples(SCHEMES, st.sampled_from(HOSTS), st.lists(FIELDS, max_size=4))),
    scheme=SCHEMES,
    host=st.sampled_from(HOSTS),
)
def test_nothing_that_one_site_set_is_sent_to_another(responses, scheme, host):
    """And what is sent has no control character."""
    jar = CookieJar()
    for number, (by, setter, fields) in enumerate(responses):
        fields = [f'{number}-{field}' for field in fields]
        jar.keep(fields, yarl.URL(f'{by}://{setter}/'), NOW)
    for cookie in jar.matching(yarl.URL(f'{scheme}://{host}/a/'), NOW):
        setter = responses[int(cookie.name.partition('-')[0])][1]
        assert site_of(host) == site_of(setter)
        assert not CONTROL.search(cookie.name + cookie.value)
        assert ';' not in cookie.name + cookie.value
