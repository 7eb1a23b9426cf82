"""Serves Heat's two APIs at ports of loopback: ``serve.py CONFIG PORT CFN_PORT``. Run by whoever has heat."""

import sys
import threading
import warnings

config, port, cfn_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
warnings.simplefilter("ignore")
sys.argv = ["heat-api", "--config-file", config]  # each application reads it again when it is made

import waitress  # noqa: E402
from heat.api.cfn import wsgi as cfn  # noqa: E402
from heat.api.openstack import wsgi as openstack  # noqa: E402


def served(application: object, at: int) -> waitress.server.BaseWSGIServer:
    return waitress.create_server(application, host="127.0.0.1", port=at, threads=6)


api = served(openstack.init_application(), port)
threading.Thread(target=served(cfn.init_application(), cfn_port).run, daemon=True).start()
api.run()
