"""Methods of pretraining: networks, losses and views.

`settings` is light and describes what a card says of each method; `registry` builds them.
"""
