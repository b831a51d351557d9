"""`python -m golem_chain.broker.cli`: the same as the command `golem`."""

from golem_chain.broker.cli.main import main

if __name__ == "__main__":
    main()
