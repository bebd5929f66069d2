"""API priority and fairness: who waits when more is asked than can be done (KEP-1040,
https://kubernetes.io/docs/concepts/cluster-administration/flow-control/).

    classify     which FlowSchema a request matches, and its flow
    dealing      which few of many queues a flow may use
    level        a priority level: its seats, its queues, who comes next
    shares       how many seats each level has
    traffic      a request's flow, looked up; what the pipeline asks
    config       keeps all that in line with the stored objects
    retrying     how long who is refused should wait
    metrics, dumps   what can be seen of it

Without waiting requests a level is two integers, and a request costs it two additions. Levels do not lend seats to
each other, and writes take no seats for the watches that they wake.
"""
