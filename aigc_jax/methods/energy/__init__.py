"""Energy-based models: p(x) = exp(-E(x)) / Z, and the ways round Z."""
