"""From the masks of fields to the target store: what segmentation learns and is scored on."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 1
# Side in px of the part of a mask that is looked at for doubts, which takes more memory than masks.
LOOKED_AT = 2048
