"""What a store is made of.

Its header, arrays, images, curation, and files that are old or new and never half.
"""
