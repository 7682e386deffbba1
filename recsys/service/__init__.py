"""The HTTP service: `recsys serve`.

Routes parse a request, call the library and return its objects. `app` assembles the service, `state` has
what routes share; `api/` has the JSON routes and the MCP tools, `pages/` the HTML, `security/` keys, scopes
and rates, `transport/` what every request passes, `observability/` logs, metrics and traces.
"""
