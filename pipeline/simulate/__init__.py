"""Simulated neuropil with exact truth, written as precomputed volumes and annotation tables; imports no other stage."""
