"""Raw data as labs have it: sample sheets, files and their formats."""
