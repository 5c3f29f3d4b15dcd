def proxy(origin):
    raise NotImplementedError
