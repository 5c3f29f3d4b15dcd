"""Find the broken links of a site: ``python examples/crawler.py http://localhost:8080/``."""

import asyncio
import re
import sys
from urllib.parse import urljoin

import aioluahttp as http
from aioluahttp.middleware import limit

LINK = re.compile(r'<a\s[^>]*?href="([^"#]+)')


async def crawl(start, progress):
    """Return the status, or the error, of each page whose URL begins with ``start``."""
    found, results = {start}, {}

    async def visit(url):
        try:
            response = await get({'url': url})
            links = [urljoin(response.url, link) for link in LINK.findall(response.body)]
            found.update(link for link in links if link.startswith(start))
            results[url] = response.status
        except (http.Error, ValueError) as error:  # urljoin refuses some links
            results[url] = error
        progress(len(results), len(found))

    async with http.Client(timeout=10, max_body=1024 * 1024) as client:
        get = limit(client.request, rate=50, burst=10)
        while todo := found - results.keys():
            await http.parallel.map(visit, todo, limit=8)
    return results


if __name__ == '__main__':
    line = '\r{} of {}'.format
    results = asyncio.run(crawl(sys.argv[1], lambda *n: print(line(*n), end='', file=sys.stderr)))
    print(*(f'\n{result} {url}' for url, result in results.items() if result != 200))
