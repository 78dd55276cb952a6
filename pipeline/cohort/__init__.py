"""Which synapses, with which labels, in which split, and the audit of leakage; imports no other stage."""
