"""Every way in which networks and their training are refused says what is wrong."""

import pytest
from entries_network import REFUSALS


@pytest.mark.parametrize(
    ("name", "call", "error", "message"), REFUSALS, ids=[r[0] for r in REFUSALS]
)
def test_it_is_refused(name, call, error, message):
    for _ in range(2):  # and nothing has changed
        with pytest.raises(error, match=message):
            call()
