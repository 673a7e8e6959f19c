"""Labels given by hand: the page on which a person labels, and the table that comes back."""
