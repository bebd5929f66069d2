"""API services of others: requests for their groups go on to an extension API server (k8s.io/kube-aggregator).

    aggregator     follows APIServices; the rest is loaded when the first one names a service
    services       which address is behind a service
    availability   the condition Available, decided
    headers        who asks, as a front proxy tells it
    connection     TLS to extension servers, with the front proxy's certificate
    proxy          a request's way there and its answer's way back
    documents      what the extension servers serve: for discovery and OpenAPI

Authentication and authorization happen here first; the extension server decides once more. No SPDY: upgrades are
WebSockets.
"""
