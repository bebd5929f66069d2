"""Custom resources: kinds that come and go with CustomResourceDefinitions
(k8s.io/apiextensions-apiserver/pkg/apiserver, pkg/controller).

    conditions   what a definition's status should say: pure decisions
    kinds        a definition → the kinds that it serves
    conversion   from one version to another, by name or by webhook; what a version sees of the store
    strategy     what custom resources do differently from all others
    table        additionalPrinterColumns
    registration APIServices of what is served
    serving      watches definitions: writes their status, serves their kinds, removes those that go

Not here: whether a definition is a good one (`api.validation.apiextensions`), what a schema does to an object
(`api.structural`).
"""
