"""What a store is made of: its header, arrays, images, curation, and files that are old or new and never half."""
