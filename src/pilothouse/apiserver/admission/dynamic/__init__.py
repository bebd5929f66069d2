"""What admission webhooks and admission policies share: which requests they are about, and what they see of them.

    rules         a rule and a resource → does it match
    matching      rules, equivalent versions and selectors → as what a webhook or policy sees a request
    seen          the request's objects in that version, and the changed one put back
    request       the request as AdmissionReviews and CEL expressions show it
    expressions   CEL with variables, the authorizer and a budget
    conditions    matchConditions
    hooks         configured webhooks, in order; calling: one of them asked
    bound         policies with their bindings; params: what bindings give them

Not here: what is valid in a configuration (api.validation.admissionregistration), and when plugins are asked (chain).
"""
