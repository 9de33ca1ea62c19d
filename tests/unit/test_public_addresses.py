"""Which IP addresses are public."""

from __future__ import annotations

import pytest

from playhead.addresses import address_of, is_internal

METADATA = "169.254.169.254"
INTERNAL_V4 = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", METADATA, "100.64.0.1", "0.0.0.0"),
    *("192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("192.0.0.8", "192.0.0.192", "168.63.129.16", "100.100.100.200", "192.88.99.1", "198.51.100.1"),
)
INTERNAL_V6 = (
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00::1", "ff02::1", "ff0e::1"),
    *(
        "2001:db8::1",
        "2001::1",
        "2001:2::1",
        "2001:20::1",
        "100::1",
        "64:ff9b:1::808:808",
        "::ffff:0:808:808",
    ),
    *("4000::1", "5f00::1", "3fff::1", "3fff:fff::1", "3ffe::1", "2001:1::1", "fd00:ec2::254"),
)


@pytest.mark.parametrize("address", [*INTERNAL_V4, *INTERNAL_V6])
def test_an_address_that_is_not_public_is_internal(address: str):
    assert is_internal(address_of(address))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "168.63.129.15", "192.0.1.1", "223.255.255.254"),
        *("2606:4700::1111", "2a00:1450:4001::1", "2001:200::1", "3ffd::1"),
    ],
)
def test_a_public_address_is_not_internal(address: str):
    assert not is_internal(address_of(address))


@pytest.mark.parametrize(
    "form",
    [
        *("::ffff:{v4}", "::{v4}", "64:ff9b::{v4}", "64:ff9b:0:0:0:0:{hex}"),
        *("2002:{hex}::", "2002:{hex}::1", "2002:{hex}:1:2:3:4:5"),
    ],
)
@pytest.mark.parametrize(("inner", "internal"), [*((one, True) for one in INTERNAL_V4), ("8.8.8.8", False)])
def test_an_address_is_as_public_as_the_one_that_it_embeds(form: str, inner: str, internal: bool):
    numbers = [int(part) for part in inner.split(".")]
    words = f"{numbers[0] * 256 + numbers[1]:x}:{numbers[2] * 256 + numbers[3]:x}"
    assert is_internal(address_of(form.format(v4=inner, hex=words))) == internal
