"""The demo: generated screenshots in an Escribano database, and simulated servers that look at them."""
