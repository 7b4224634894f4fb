"""Virtual devices of a dedicated VM that keeps its VMM: console, disk and LAN, on its core's real local APIC."""

from rig import linux


def test_a_dedicated_vm_has_disks_and_a_lan(batch):
    disk = [{"file": "ext4:8M", "mode": "volatile"}]
    run = batch(
        linux("own", mode="dedicated", disengage="never", cores=[2, 3], lan="office", disks=disk),
        linux("other", cores=[1], lan="office"),
        cores=4,
    )
    assert run.code == 0, run.errors + run.output
    assert "CHECK disk-vda ok" in run.logs["own"]
    for name in ("own", "other"):
        assert "HAIRLINE-CHECKS: ok" in run.logs[name], run.logs[name]
