"""Request and response tables: models, checks, conversion to normal form, calls of handlers."""

from .models import Handler, Request, Response, SentRequest

__all__ = ['Handler', 'Request', 'Response', 'SentRequest']
