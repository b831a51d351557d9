"""How the server begins and ends: ports, certificates, what is said at the start, open requests at the stop."""
