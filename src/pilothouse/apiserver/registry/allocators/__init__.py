"""What services are given: cluster IPs and node ports. Taken at once, given back when the store refuses.

The truth is in the objects: IPAddress objects for addresses (KEP-1880), services for ports. What is reserved
by requests under way is kept here, so that two of them never get the same; it is no cache of what is taken.

    reserve (no await: nobody can come between) ─▶ validate ─▶ commit (IPAddress objects) ─▶ store ─▶ settle
"""
