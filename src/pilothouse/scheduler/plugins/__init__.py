"""The rules, one a file: which nodes a pod may have (filters), and how good they are (scores).

A filter gives a mask over all nodes and says why the others are out; a score gives a column from 0 to 100.
Beside each columnar rule stands the obvious scalar one, which its test takes for the truth.
"""
