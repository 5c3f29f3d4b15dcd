"""Hosts that end with a number, wherever a host is given."""

import pytest

import aioluahttp as http

HOSTS = ['127.1', '2130706433', '256.1.1.1', '1.2.3', '0', '0x7f.1']


@pytest.mark.parametrize('host', HOSTS)
async def test_what_ends_with_a_number_is_an_ipv4_address(host):
    """``127.1`` and the like are a ``TableError``, and nothing is sent."""
    url = f'http://{host}:81/'
    for table in ({'host': host}, {'url': url}, {'url': 'http://h/', 'proxy': url}):
        with pytest.raises(http.TableError, match=host):
            await http.request(table)
    with pytest.raises(http.TableError, match=f"^'base_url' is 'http://{host}:81/'"):
        http.Client(base_url=url)


@pytest.mark.parametrize('host', HOSTS)
async def test_a_redirect_to_such_a_host_is_not_followed(host):
    """The redirect itself is the response."""

    async def moved(request):
        return {'status': 302, 'headers': {'Location': f'http://{host}/'}}

    async with http.listen('127.0.0.1', 0, moved) as server:
        assert 302 == (await http.request(url=server.url)).status


@pytest.mark.parametrize('host', HOSTS)
async def test_such_a_host_header_is_a_400(host):
    """A server could not send its table on."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 204}) as server:
        response = await http.request(url=server.url, headers={'Host': host})
        assert 400 == response.status
