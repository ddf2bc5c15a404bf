"""Measurements: icloudfs beside a yardstick in the same run, medians, as ratios.

``scripts/bench`` runs them. They never gate anything: absolute times say more about the machine.
"""
