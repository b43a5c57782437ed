"""A case of one's own made unknown: names of owners, accounts, addresses and times become others, the same way in every file.

It is the mapping of `variation` for evidence that nobody invented: any address, any account, all words of names that somebody gave. What then
still stands there of the case is found, so that it can be refused. Sources: RFC 1918 and 6598 (private addresses), RFC 5737, 2544 and 3849
(addresses for documentation and tests), EKS User Guide (service ranges that a cluster gets without a choice).
"""

from __future__ import annotations

import json
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from random import Random
from typing import Any

from kit.training.variation import FIXED, IDS, KEY, NETS, STARTS, THINGS, TRUTH, WORD, Variation, spoken_in
from kit.words import Names

_EXACT = re.compile(
    rf"{STARTS}(?:{IDS}"
    r"|(?P<node>ip-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b)"
    r"|(?<![\d.])(?P<address>\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?![\d.])"
    r")"
)
_V6 = re.compile(r'(?<=")[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?=")')
_ACCOUNT = re.compile(r'(?:arn:aws[\w-]*:[\w-]*:[\w-]*:|(?<=[/"@]))(\d{12})(?=[:."])|\b(\d{12})\.dkr\b')
_IN_ARN = re.compile(
    r":(?:role|user|group|policy|instance-profile|assumed-role|federated-user|access-entry|cluster|nodegroup)/([^\"\\\s]+)"
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_HOST = re.compile(
    r"\b(?:[a-z0-9][a-z0-9-]*\.)+(?:com|net|org|io|dev|cloud|app|ai|co|eu|de|fr|uk|us|ch|at|nl|se|corp|lan|internal|local)\b"
)
_OF_EVERYBODY = (
    "amazonaws.com", "amazon.com", "aws.com", "k8s.io", "kubernetes.io", "k8s.aws", "eks.amazonaws.com", "docker.io", "docker.com", "quay.io", "ghcr.io",
    "gcr.io", "pkg.dev", "github.com", "golang.org", "cluster.local", "compute.internal", "ec2.internal", "example.com", "example.net", "example.org",
    "helm.sh", "istio.io", "cilium.io", "argoproj.io", "fluxcd.io", "cert-manager.io", "coreos.com", "projectcalico.org", "karpenter.sh", "fluentbit.io",
    "prometheus.io", "grafana.com", "googleapis.com", "elastic.co", "nginx.org", "openid.net", "curl.se", "python.org",
)  # fmt: skip
"""Domains of software and of AWS: they tell nothing of whose case it is."""
_OF_FILES = (
    "access", "entry", "entries", "associated", "policies", "policy", "provider", "config", "configs", "association", "associations", "nodegroups",
    "instances", "volumes", "groups", "attached", "inline", "profile", "trails", "describe", "list", "associate", "addons", "addon",
)  # fmt: skip
"""Words in the names of files that AWS's answers are kept in: labs find these files by them."""
_SERVICE_RANGES = (ip_network("172.20.0.0/16"), ip_network("10.100.0.0/16"))
_INSIDE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_BOOTSTRAP = "kubernetes.io/bootstrapping"
_OF_AWS = ("AWSServiceRole", "Amazon", "AWS")
_PUBLIC = ("docker.io/", "quay.io/", "ghcr.io/", "gcr.io/", "registry.k8s.io/", "public.ecr.aws/", "602401143452.")
_DIGITS, _SHORTEST = 12, 3
_KEPT_NAMES = ("kube-system", "kube-public", "kube-node-lease", "default")
_SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]


class Redaction(Variation):
    """The mapping of one case. rename: further words that are to go. keep: words that may stay."""

    exact = _EXACT

    def __init__(self, seed: int, texts: dict[str, str], rename: Names = (), keep: Names = ()) -> None:
        self._rename = {part for word in rename for part in WORD.findall(word)}
        self._keep = {part for word in keep for part in WORD.findall(word)}
        self._given = set[str]()
        self._inside_nets, self._outside, self._whole_nets = dict[str, str](), dict[str, str](), dict[str, str]()
        super().__init__(seed, texts)
        places = [f"{net}.{last}" for net in NETS for last in range(1, 255)]
        self._free = self._chance("addresses").sample(places, len(places))

    def __call__(self, text: str) -> str:
        """A text of the case, changed."""
        return super().__call__(_V6.sub(self._sixth, text))

    def _sixth(self, match: re.Match[str]) -> str:
        try:
            given = IPv6Address(match[0])
        except AddressValueError:
            return match[0]
        if given.is_loopback or given.is_unspecified:
            return match[0]
        return str(IPv6Address(f"2001:db8::{self._letters(given.compressed, '123456789abcdef')[:4]}"))

    def _address(self, text: str) -> str:
        try:
            given = IPv4Address(text)
        except AddressValueError:
            return text
        if (
            given.is_loopback
            or given.is_link_local
            or given.is_unspecified
            or any(given in one for one in _SERVICE_RANGES)
        ):
            return text
        if any(given in one for one in _INSIDE):
            return ".".join(self._moved(text.split(".")))
        if text.endswith(".0"):  # a network: it has no host of its own among the addresses for documentation
            return self._whole_nets.setdefault(text, f"198.19.{len(self._whole_nets) % 256}.0")
        if text not in self._outside:
            number = len(self._outside)
            beyond = f"198.18.{number // 254 % 256}.{number % 254 + 1}"
            self._outside[text] = self._free[number] if number < len(self._free) else beyond
        return self._outside[text]

    def _node(self, text: str) -> str:
        first, *octets = text.split("-")
        return "-".join([first, *self._moved(octets)])

    def _moved(self, octets: list[str]) -> list[str]:
        """An address of a network: machines of one subnet stay in one, and the first network becomes 10.0."""
        net = ".".join(octets[:2])
        first, second = self._inside_nets.setdefault(net, f"10.{len(self._inside_nets)}").split(".")
        third, fourth = int(octets[2]), int(octets[3])
        return [first, second, str(third ^ self._third_octet), str(self._octets.get(fourth, fourth))]

    def _renamed(
        self, texts: dict[str, str], truth: dict[str, Any], chance: Random, generated: set[str]
    ) -> dict[str, str]:
        """Every word of a name that somebody gave, but those that mean something to Kubernetes, to AWS or to everybody."""
        names, upstream = _names(texts, truth)
        vocabulary = {
            word
            for name in (*upstream, *spoken_in(texts), *FIXED, *_OF_FILES, *_OF_EVERYBODY)
            for word in WORD.findall(name)
        } | self._keep
        in_keys = {
            word
            for name, text in texts.items()
            if name != TRUTH
            for key in KEY.findall(text)
            for word in WORD.findall(key)
        }
        words = {word for name in names for word in WORD.findall(name) if not word.isdigit() and len(word) > 1}
        go = sorted(((words - vocabulary - in_keys) | self._rename) - generated)
        used = {word.lower() for text in texts.values() for word in WORD.findall(text)}
        free = [word for word in THINGS if word not in used]
        free = chance.sample(free, len(free))
        made = dict[str, str]()
        for word in go:
            low = word.lower()
            if low not in made:
                made[low] = free.pop() if free else _invented(chance, used | set(made.values()))
        found = {word: _cased(word, made[word.lower()]) for word in go}
        self._given = {name for name in names if len(name) > _SHORTEST and self._fits(name, vocabulary)}
        accounts = sorted(
            {one for text in texts.values() for pair in _ACCOUNT.findall(text) for one in pair if one}
            - {truth["account"]}
        )
        return found | {one: str(chance.randrange(10**11, 10**12)) for one in accounts if one not in self._keep}

    def left(self, changed: dict[str, str]) -> list[str]:
        """What of the case still stands in the changed texts, each once: names, mail addresses, hosts, accounts, ids and addresses."""
        whole = "\n".join([*changed, *changed.values()])
        exact = {match[0] for match in self.exact.finditer(whole)}
        ids = {
            given
            for given, made in self._known.items()
            if given != made and not set(".:") & set(given) and given[:3] != "ip-"
        }
        outside = self._outside.keys() - set(self._outside.values())
        accounts = {
            given for given in self._words if len(given) == _DIGITS and given.isdigit() and self._words[given] != given
        }
        found = exact & (ids | outside) | {*re.findall(r"\d{12}", whole)} & accounts
        standing = {*re.findall(r"[\w@.+-]+", whole), *re.findall(r"[\w.-]+", whole)}
        return sorted(found | {name for name in self._given if name in standing})

    def _fits(self, name: str, vocabulary: set[str]) -> bool:
        """Whether a name tells whose it is: by a word that means nothing to everybody."""
        words = {word for word in WORD.findall(name) if not word.isdigit() and len(word) > 1}
        return bool(words - vocabulary) and not words & self._keep


def _names(texts: dict[str, str], truth: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The names that somebody gave, and those that Kubernetes, AWS and add-ons bring with them."""
    names, upstream = {str(truth["cluster"])}, {*_KEPT_NAMES}
    for file in (one for one in texts if one.startswith("cluster/")):
        for item in json.loads(texts[file])["items"]:
            about = item["metadata"]
            name, space = str(about["name"]), str(about.get("namespace", ""))
            own = not {name, space} & {*_KEPT_NAMES} and ":" not in name and _BOOTSTRAP not in about.get("labels", {})
            (names if own else upstream).update((name, space) if own else (name,))
            for image in re.findall(r'"image":"([^"]+)"', json.dumps(item, separators=(",", ":"))):
                (names if own and not image.startswith(_PUBLIC) else upstream).add(image.partition("@")[0])
    for pod in truth["all_pods"]:
        own = pod["namespace"] not in _KEPT_NAMES
        (names if own else upstream).update((str(pod["name"]), str(pod["namespace"])) if own else (str(pod["name"]),))
    whole = "\n".join(text for name, text in texts.items() if name != TRUTH)
    names |= {one for one in re.findall(r'"username":"((?!system:|eks:)[^"]+)"', whole) if "/" not in one}
    names |= {part for one in _IN_ARN.findall(whole) for part in one.split("/") if not part.startswith(_OF_AWS)}
    hosts = {*_MAIL.findall(whole), *_HOST.findall(whole)}
    return names | {one for one in hosts if not one.endswith(_OF_EVERYBODY)}, upstream


def _cased(word: str, made: str) -> str:
    if word.isupper():
        return made.upper()
    return made.capitalize() if word[0].isupper() else made


def _invented(chance: Random, used: set[str]) -> str:
    while True:
        made = "".join(chance.choices(_SYLLABLES, k=3))
        if made not in used:
            return made
