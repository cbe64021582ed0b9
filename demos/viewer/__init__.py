"""The page on which a person looks through demonstrations and sorts bad ones out."""
