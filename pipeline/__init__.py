"""synapse-ei: is a neuron's identity, excitatory or inhibitory, written in one of its synapses?"""
