"""Serves Keystone at a port of loopback: ``serve.py CONFIG PORT``. Run by an interpreter that has keystone."""

import os
import sys
import warnings

config, port = sys.argv[1], int(sys.argv[2])
warnings.simplefilter("ignore")
os.environ["OS_KEYSTONE_CONFIG_FILES"] = config
os.environ["OS_KEYSTONE_CONFIG_DIR"] = os.path.dirname(config)  # noqa: PTH120 - as text
sys.argv = ["keystone"]

import waitress  # noqa: E402
from keystone.server.flask import core  # noqa: E402

app = core.initialize_application(name="public", config_files=[config])
# one request at a time: Keystone's middleware keeps the last token, and would judge one request by another's scope
waitress.serve(app, host="127.0.0.1", port=port, threads=1, ident="keystone")
