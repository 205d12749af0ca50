"""Everything that drives a real Envoy: binary, process, stand-in provider, raw clients."""
