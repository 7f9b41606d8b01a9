"""Clients in one process: `python company.py APP SERVER NAME…`. Ends with its standard input."""

import sys
from contextlib import ExitStack

from fedk_client.loading import load

spec, server, *names = sys.argv[1:]
app = load(spec)

with ExitStack() as running:
    for name in names:
        running.enter_context(app.start(server, name=name))
    sys.stdin.read()
