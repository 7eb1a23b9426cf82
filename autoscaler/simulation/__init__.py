"""The real engine on memory adapters and a virtual clock."""
