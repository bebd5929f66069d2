"""CEL as Kubernetes speaks it: compile an expression against declared variables, and run it.

    syntax         text → tree (the parser is cel-expr-python's)
    types          what an expression can be
    declarations   functions: CEL's own and Kubernetes' libraries
    check          tree + declarations → the expression's type, or upstream's errors
    compiler       the door: what admission policies, device selectors and custom resources compile with
    evaluate       a tree and its variables → a value
    metering       the same with a limit on what it costs
    functions      what the declared functions do
    named_formats  formats that names must have, as a library of their own
    decl_types     a JSON schema as an expression sees it, with sizes
    cost           what an expression may cost at most; cost_functions: what functions do; cost_estimate: how to count

The checker is our own because the texts of its errors are part of the API, and because it must know objects
by their schema, which the runtime knows only as protobuf messages.
"""
