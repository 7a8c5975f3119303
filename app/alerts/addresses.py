"""Which addresses a webhook may have: public ones; inner ones only where the settings name their host.

A name is resolved once, every address that comes back is looked at, and the connection goes to one of those that were
looked at: a second answer of the name server decides nothing.
"""

import ipaddress
import socket
from collections.abc import Callable

from app.errors import PlateauError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
_SPECIAL = tuple(ipaddress.ip_network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10"))
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class Forbidden(PlateauError):
    """This address is not one that alerts may reach."""

    status, kind = 422, "inner-address"


def resolve(host: str, port: int) -> list[str]:
    """Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def hosts(setting: str) -> frozenset[str]:
    """The hosts of the setting: names or addresses, compared as they are written."""
    return frozenset(host.strip().strip("[]").rstrip(".").lower() for host in setting.split(",") if host.strip())


def is_public(address: str) -> bool:
    """Neither private, loopback, link-local, multicast nor reserved, however it is wrapped into IPv6."""
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public(one) for one in (found, *_inside(found)))


def _is_public(found: Address) -> bool:
    if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped is not None or found.sixtofour or found.teredo):
        return True  # what is inside decides
    odd = found.is_multicast or found.is_reserved or found.is_loopback or found.is_link_local or found.is_unspecified
    site = isinstance(found, ipaddress.IPv6Address) and found.is_site_local
    nat = isinstance(found, ipaddress.IPv6Address) and found in _NAT64[0]
    special = isinstance(found, ipaddress.IPv4Address) and any(found in network for network in _SPECIAL)
    return nat or (found.is_global and not odd and not site and not special)


def _inside(found: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 address leads to: mapped, compatible, 6to4, Teredo, NAT64."""
    if not isinstance(found, ipaddress.IPv6Address):
        return []
    wrapped: list[Address] = [
        one for one in (found.ipv4_mapped, found.sixtofour, *(found.teredo or ())) if one is not None
    ]
    if any(found in network for network in _NAT64) or 1 < int(found) < 1 << 32:
        wrapped.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    return wrapped


def reachable(host: str, port: int, allowed: frozenset[str], resolve: Resolve = resolve) -> list[str]:
    """The addresses to connect to, all of them looked at. Raises Forbidden, OSError."""
    found = resolve(host, port)
    if host.strip("[]").rstrip(".").lower() in allowed:
        return found
    inner = [address for address in found if not is_public(address)]
    if inner:
        raise Forbidden(
            f"{host} is {inner[0]}, an inner address; alerts reach those only for hosts in PLATEAU_ALERT_HOSTS."
        )
    if not found:
        raise Forbidden(f"{host} has no address.")
    return found
