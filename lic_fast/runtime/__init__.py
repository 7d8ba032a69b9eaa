"""Pictures coded by portable models from files, without PyTorch."""
