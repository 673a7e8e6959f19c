"""What a folder of images holds, and the sheet, card and study that describe it."""
