"""One application for many tests: its paths are dear to make, a tenth of a second for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Standing:
    """Stands for what the present test has at work, in an application that was made for all of them.

    Attributes:
        present: what it stands for; it gives None while the application is made, and whatever is then asked of it is
            looked up when that is used.
    """

    def __init__(self, present: Callable[[], Any] = lambda: None) -> None:
        self.present = present

    def __getattr__(self, name: str) -> Any:
        present = self.present()
        if present is not None:
            return getattr(present, name)
        return Standing(lambda: None if self.present() is None else getattr(self.present(), name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.present()(*args, **kwargs)
