"""What is secret in a URL, hidden."""

from __future__ import annotations

import re

__all__ = ['hide_query']

# Whole names, for much that is no secret has one of these words in its name: page_token, author.
SECRET = frozenset(
    """access_token api-key api_key apikey auth awsaccesskeyid client_secret key passwd password
    refresh_token secret sig signature token x-amz-credential x-amz-security-token
    x-amz-signature x-goog-credential x-goog-signature""".split()
)
PAIR = re.compile('(?<=[?&])([^=&#]*)=([^&#]*)')


def hide_query(text: str, instead: str = '***') -> str:
    """Hide the values of fields of a query whose names speak of secrets.

    Args:
        text: A URL, or a query with the question mark before it.
        instead: What stands in their place.

    Example:
        >>> hide_query('http://h/a?page=2&api_key=5')
        'http://h/a?page=2&api_key=***'
    """

    def hidden(pair: re.Match[str]) -> str:
        return f'{pair[1]}={instead}' if pair[1].lower() in SECRET else pair[0]

    return PAIR.sub(hidden, text)
