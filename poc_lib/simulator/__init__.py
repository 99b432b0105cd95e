"""Embedded simulated servers, so that everything runs without a model: a stand-in, never a measurement.

Each runs as a process of its own. The rest of the library meets them only as a URL; the code that sets up
a demo run starts and stops them with the functions exported here.
"""

from poc_lib.simulator.process import SimulatorProcess, simulated_server, start_simulator, stop_simulator

__all__ = ["SimulatorProcess", "simulated_server", "start_simulator", "stop_simulator"]
