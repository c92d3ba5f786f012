"""A small evaluator of identity policies, after AWS's rules, that refuses what it does not know.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html

An explicit Deny wins, then any Allow, else the call is refused. Action names are compared without
regard to case, resources with it; `*` and `?` are wildcards in both. All operators of a condition
must hold, and all keys of an operator; one of a key's values is enough. A key that the request does
not have fails its condition, unless the operator ends in IfExists. A variable in a resource, such
as ${aws:username}, stands for what the request says; if it says nothing the resource matches none.
"""

import re
from collections.abc import Iterable, Mapping


def matches(pattern, text):
    """Whether `pattern`, with * and ? as wildcards, stands for the whole of `text`."""
    known = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(known, text, re.DOTALL) is not None


OPERATORS = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringLike": matches,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
}
STATEMENT_KEYS = {"Sid", "Effect", "Action", "Resource", "Condition"}


def allows(
    policies: Iterable[Mapping], action: str, resource: str, context: Mapping[str, str] = {}
) -> bool:
    """Whether a principal with these policies may do this."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in as_list(policy["Statement"])
        if applies(statement, action, resource, context)
    }
    return "Allow" in effects and "Deny" not in effects


def unused(policy, needs):
    """Return what a policy grants and no need takes: statement, action and resource of each."""
    return {
        (statement["Sid"], action, resource)
        for statement in policy["Statement"]
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        if not any(
            applies({**statement, "Action": action, "Resource": resource}, *need) for need in needs
        )
    }


def applies(statement, action, resource, context):
    unknown = statement.keys() - STATEMENT_KEYS
    assert not unknown, f"the evaluator does not know {unknown}"
    return (
        any(matches(one.lower(), action.lower()) for one in as_list(statement["Action"]))
        and any(names(one, resource, context) for one in as_list(statement["Resource"]))
        and all(
            holds(operator, keys, context)
            for operator, keys in statement.get("Condition", {}).items()
        )
    )


def names(pattern, resource, context):
    """Whether a statement's resource is this one, with the request's values for variables."""
    variables = re.findall(r"\$\{([^}]*)\}", pattern)
    if any(variable not in context for variable in variables):
        return False
    for variable in variables:
        pattern = pattern.replace(f"${{{variable}}}", context[variable])
    return matches(pattern, resource)


def holds(operator, keys, context):
    base = operator.removesuffix("IfExists")
    compare = OPERATORS[base]
    for key, wanted in keys.items():
        if key not in context:
            if base == operator:
                return False
            continue
        if not any(compare(value, context[key]) for value in as_list(wanted)):
            return False
    return True


def as_list(value):
    return value if isinstance(value, list) else [value]


def deploy(account, parallelize, *words):
    """Make the stack, and return its policies."""
    assert parallelize("setup", "--yes", *words)[0] == 0
    iam = account.client("iam")
    found = {}
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")
        name = policy["PolicyName"].split("-")[1]
        found[name] = version["PolicyVersion"]["Document"]
    return found


def actions(policy):
    return {one for statement in policy["Statement"] for one in as_list(statement["Action"])}
