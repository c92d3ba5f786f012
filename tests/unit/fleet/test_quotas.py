import pytest

from parallelize.fleet.quotas import STANDARD, quota_class, quota_code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("c7i.xlarge", STANDARD), ("m6a.large", STANDARD), ("t3.micro", STANDARD),
        ("i4i.xlarge", STANDARD), ("im4gn.large", STANDARD), ("is4gen.large", STANDARD),
        ("d3en.xlarge", STANDARD), ("z1d.large", STANDARD), ("hs1.8xlarge", STANDARD),
        ("g5.xlarge", "g"), ("g4dn.xlarge", "g"), ("gr6.4xlarge", "g"), ("vt1.3xlarge", "g"),
        ("p4d.24xlarge", "p"), ("x2idn.16xlarge", "x"), ("inf2.xlarge", "inf"),
        ("trn1.2xlarge", "trn"), ("dl1.24xlarge", "dl"), ("f1.2xlarge", "f"),
        ("u-6tb1.metal", "u"), ("hpc7a.96xlarge", "hpc"),
    ],
)  # fmt: skip
def test_a_family_counts_towards_its_class(name, expected):
    assert quota_class(name) == expected


def test_markets_have_different_quotas():
    assert quota_code("spot", "c7i.xlarge") == "L-34B43A08"
    assert quota_code("on-demand", "c7i.xlarge") == "L-1216C47A"


def test_a_class_whose_quota_is_not_known_has_no_code():
    assert quota_code("spot", "u-6tb1.metal") is None
