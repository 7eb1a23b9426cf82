"""Serves Aodh's or Gnocchi's API at a port of loopback: ``serve.py aodh|gnocchi CONFIG PORT``.

Run by an interpreter that has both.
"""

import sys
import warnings

service, config, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
warnings.simplefilter("ignore")
sys.argv = [f"{service}-api", "--config-file", config]

import waitress  # noqa: E402

if service == "aodh":
    from aodh.api import app

    application = app.build_wsgi_app(argv=sys.argv[1:])
else:
    from gnocchi.cli import api

    application = api.wsgi()
waitress.serve(application, host="127.0.0.1", port=port, threads=4, ident=service)
