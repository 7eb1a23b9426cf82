"""What must not be shown of a URL, wherever it stands: in logs, errors and answers."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
_URL = re.compile(r"(?<=://)(?P<user>[^?#\s]*@)?(?P<place>[^?#\s]*)(?P<query>\?[^#\s]*)?(?P<fragment>#\S*)?")
_QUERY_VALUE = re.compile(r"(?<==)[^&]+|(?<=[?&])[^=&]+(?=&|$)")
_SECRET_VALUE = re.compile(r"(?i)(signature|token|secret|password|awsaccesskeyid)=[^&\s]+")


def redacted(text: str) -> str:
    """``text`` without what may be secret in its URLs: user and password, fragment, and every value of a query.

    Every value, since nobody can list the names under which signatures and tokens travel.
    """
    return _SECRET_VALUE.sub(r"\1=***", _URL.sub(_shown, text))


def _shown(url: re.Match[str]) -> str:
    user = "***@" if url["user"] else ""
    query = _QUERY_VALUE.sub("***", url["query"] or "")
    return f"{user}{url['place']}{query}{'#***' if url['fragment'] else ''}"
