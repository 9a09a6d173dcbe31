"""The commands of the command line that stand in files of their own; effbench/cli.py gives them their names."""
