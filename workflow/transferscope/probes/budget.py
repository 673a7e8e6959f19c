"""How much memory the training of heads may take."""

# Heads that train together hold at most this much beside the embeddings.
HEADS_BYTES = 2**30
