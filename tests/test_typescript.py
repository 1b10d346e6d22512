"""The front end's own checks, run with the Node that the build finds too."""

from __future__ import annotations

import pytest
from npm import install, npm


@pytest.fixture(scope="module", autouse=True)
def _node_modules() -> None:
    install()


@pytest.mark.timeout(700)
def test_types() -> None:
    npm("run", "check")


@pytest.mark.timeout(700)
def test_units() -> None:
    npm("test")
