"""The history of the schema: revisions in `versions/`, what they do in `sql/`, numbered alike.

Owns: the schema. A revision that was released is never changed; the next one is a new number.
"""
