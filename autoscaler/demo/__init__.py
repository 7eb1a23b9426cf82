"""A group of real worker processes under a load that rises and falls, scaled by the controller as shipped."""
