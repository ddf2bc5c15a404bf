"""A local iCloud: faithful enough that programs which know nothing of it sign in, list and download.

    sim = Simulator(library=LibraryPlan(assets=300, seed=1), account=Account())
    async with sim.running() as address:
        ...  # address.url, address.endpoints; sim.phone, sim.faults, sim.traffic

It speaks Apple's paths at a plain door, and Apple's host names through a TLS door with a certificate
authority of its own. Everything it knows about the wire comes from facts/sign-in.md and
facts/cloudkit.md.
"""

from __future__ import annotations

from icloudfs.simulator.account import Account, TrustedPhone
from icloudfs.simulator.faults import FAULTS, Faults, Switches
from icloudfs.simulator.kinds import KINDS, ORDINARY, Kind
from icloudfs.simulator.library import DEFAULT_NOW, LibraryPlan, Spec
from icloudfs.simulator.phone import Added, Phone
from icloudfs.simulator.remote import ControlClient, ControlError
from icloudfs.simulator.server import Address, Simulator, SimulatorThread, serve
from icloudfs.simulator.traffic import Traffic

__all__ = [
    "DEFAULT_NOW",
    "FAULTS",
    "KINDS",
    "ORDINARY",
    "Account",
    "Added",
    "Address",
    "ControlClient",
    "ControlError",
    "Faults",
    "Kind",
    "LibraryPlan",
    "Phone",
    "Simulator",
    "SimulatorThread",
    "Spec",
    "Switches",
    "Traffic",
    "TrustedPhone",
    "serve",
]
