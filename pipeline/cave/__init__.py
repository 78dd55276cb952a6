"""The real caveclient: queries, and the loopback sandbox that stands in for the service; imports no other stage."""
