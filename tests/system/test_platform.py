"""The flat PC: what guests expect of a machine without asking for it, in each mode."""

import pytest
from rig import guest

OWN = {"mode": "dedicated", "cores": [1], "disengage": "guest"}
MODES = {
    "shared": ("", {}),
    "dedicated": ("", OWN),
    "strict": ("leave=1", OWN | {"after": "strict"}),
    "quiet": ("leave=1", OWN | {"after": "quiet"}),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_chipset_is_there(batch, mode):
    """Linux reads why an AMD machine was reset, and clears it, whatever else the machine has."""
    words, keys = MODES[mode]
    vm = batch(guest("pc", "platform", f"test=chipset {words}", **keys)).vms["pc"]
    assert (vm["reason"], vm["value"]) == (("poweroff", 0) if mode == "quiet" else ("exit_port", 0)), vm["message"]
