"""How the channels of a dataset meet the input slots of a backbone."""
