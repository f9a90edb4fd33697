#!/usr/bin/env python3
"""Exits with 0 if the server in this container answers HEALTH_PATH on PORT with 2xx within 4 s."""

import os
import sys
import urllib.error
import urllib.request

url = f"http://127.0.0.1:{os.environ['PORT']}{os.environ['HEALTH_PATH']}"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    direct.open(url, timeout=4).close()
except (OSError, urllib.error.URLError) as error:
    sys.exit(f"{url}: {error}")
