//! Simulation, adversaries and invariants of bftkv.
