"""What a request and a response are: models, checks, conversion, handlers."""

from .models import Handler, Request, Response, SentRequest

__all__ = ['Handler', 'Request', 'Response', 'SentRequest']
