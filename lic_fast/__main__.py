"""``python -m lic_fast``: the ``lic-fast`` command."""

from lic_fast.cli.main import main

if __name__ == "__main__":
    main()
