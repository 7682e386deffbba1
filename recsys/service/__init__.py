"""The HTTP service: `recsys serve`. Routes parse a request, call the library and return its nouns; nothing else.

app.py puts it together; gate.py bounds the work, middleware.py what every request passes,
problems.py turns errors into RFC 9457, records.py keeps events, sessions and traces.
"""
