"""A recording as another cluster would have it: everything renamed, moved in time and given other addresses, the same way in every file.

Each text of evidence and ground truth goes through the same mapping, so that what is equal stays equal: uids, audit ids, access keys,
instance ids, addresses, times, names and the words inside longer names. Sources: Kubernetes API conventions (uid is a UUID), rand.SafeEncodeString
(the letters of generated names), IAM "Unique identifiers" (prefixes of ids), RFC 5737 (addresses for documentation).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kit.training.decoys import AUDIT_FILE, with_decoys

AS_RECORDED = 0
"""The seed that changes nothing."""

TRUTH = "ground_truth.json"
DAEMON_SETS = "cluster/daemonsets.json"
_NODE_AGENT = {"name": "aws-eks-nodeagent", "image": "agent", "args": ["--enable-network-policy=true"]}
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"
_HEX = "0123456789abcdef"
_ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
NETS = ("192.0.2", "198.51.100", "203.0.113")
_REGIONS = (
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "sa-east-1",
    "us-east-2",
    "us-west-2",
)
_PEOPLE = (
    "amira", "bjorn", "chiara", "dmitri", "elif", "farid", "greta", "hiro", "ines", "jonas", "kavita", "lucia", "marek", "noor",
    "olga", "pablo", "quinn", "rosa", "sanjay", "tomasz", "uma", "viktor", "wei", "yusuf", "zofia",
)  # fmt: skip
THINGS = (
    "amber", "basalt", "cedar", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "juniper", "kelp", "lagoon", "maple", "nectar",
    "onyx", "pebble", "quartz", "raven", "saffron", "tundra", "umber", "velvet", "willow", "yarrow", "zenith", "acorn", "birch", "clover",
    "dune", "elm", "falcon", "glacier", "heron", "iris", "jasper", "koala", "lotus", "meadow", "nickel", "orchid", "pine", "quill",
    "river", "sierra", "topaz", "ursa", "violet", "walnut", "yucca", "zephyr", "aspen", "brook", "coral", "drift", "echo", "flint",
    "grove", "hazel", "isle", "jade", "karst", "lumen", "mesa", "nova", "opal", "prism",
)  # fmt: skip
_NAMED = (
    "namespaces",
    "deployments",
    "daemonsets",
    "statefulsets",
    "cronjobs",
    "services",
    "serviceaccounts",
    "secrets",
    "rolebindings",
)
# Keys of managedFields have names in them (`k:{"name":"x"}`): those go the way of the names.
KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')
_OF_THE_API = re.compile(r'"(?:apiGroup|apiVersion|kind|resource|subresource|verb|level|stage)":\s*"([^"]+)"')
WORD = re.compile(r"[A-Za-z0-9]+")
# An escape such as \n or %3D is no letter of the word after it.
_BETWEEN = re.compile(r"((?:%[0-9A-F]{2}|\\.|[^A-Za-z0-9\\])+)")
# All begin at the start of a word, with one of few letters: most places are passed over by that alone.
STARTS = r"(?:\b|(?<=%[0-9A-F]{2}))(?=[0-9a-fAi])"
IDS = (
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)"
    r"|(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
    r"|(?P<hex>(?:[0-9a-f]{16,64}|[0-9A-F]{32})\b)"
    r"|(?P<id>A(?:KIA|SIA|ROA|IDA|IPA|NPA|GPA)[A-Z0-9]{12,17}\b)"
)
"""Times and ids, whosever they are."""
_EXACT = re.compile(
    rf"{STARTS}(?:{IDS}"
    r"|(?P<node>ip-10-0-\d{1,3}-\d{1,3}\b)"
    r"|(?<![\d.])(?:(?P<private>10\.0\.\d{1,3}\.\d{1,3})|(?P<public>(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}))(?![\d.]))"
)


class Recording:
    """A recording as a seed has it: its files by name, each changed when it is asked for. decoys: another recording, whose reads are put in."""

    def __init__(self, folder: Path, seed: int, decoys: Path | None = None) -> None:
        self._given = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        texts = {name: _text(path) for name, path in self._given.items()}
        if decoys is not None and seed != AS_RECORDED:
            _put_in(texts, decoys, seed)
        self._change = Variation(seed, texts) if seed != AS_RECORDED else None
        self._texts = {self._change(name) if self._change else name: text for name, text in texts.items()}
        self._changed = dict[str, str]()

    @property
    def names(self) -> list[str]:
        """The names of its files, that of the ground truth among them."""
        return list(self._texts)

    def text(self, name: str) -> str:
        """The text of a file, without its compression."""
        if name not in self._changed:
            text = self._texts[name]
            self._changed[name] = "".join(map(self._change, text.splitlines(keepends=True))) if self._change else text
        return self._changed[name]

    def write(self, folder: Path) -> None:
        """All of its files below a folder, the ground truth with them."""
        for name in self._texts:
            written(self.text(name), folder / name)

    @property
    def truth(self) -> dict[str, Any]:
        """Its ground truth."""
        read: dict[str, Any] = json.loads(self.text(TRUTH))
        return read


def enforcing(name: str, text: str) -> str:
    """A file of a dump as a cluster would have it whose VPC CNI enforces network policies, which those of the recordings do not."""
    if name != DAEMON_SETS:
        return text
    listed = json.loads(text)
    for one in listed["items"]:
        running = one["spec"]["template"]["spec"]["containers"]
        if one["metadata"]["name"] == "aws-node" and _NODE_AGENT not in running:
            running.append(_NODE_AGENT)
    return json.dumps(listed)


def _put_in(texts: dict[str, str], decoys: Path, seed: int) -> None:
    other = json.loads(_text(decoys / TRUTH))
    texts[AUDIT_FILE] = with_decoys(
        texts[AUDIT_FILE], json.loads(texts[TRUTH]), _text(decoys / AUDIT_FILE), other, seed
    )


def written(text: str, path: Path) -> None:
    """A text as a file of evidence, with its folder, compressed by its name; the same text gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "surrogateescape")


def spoken_in(texts: dict[str, str]) -> set[str]:
    """The words that the API itself puts into texts, as values of its own members."""
    return {word for text in texts.values() for word in _OF_THE_API.findall(text)}


class _Words(dict[str, str]):
    """Word → what it becomes; what is met for the first time is asked for once."""

    def __init__(self, unknown: Callable[[str], str]) -> None:
        super().__init__()
        self._unknown = unknown

    def __missing__(self, word: str) -> str:
        return self.setdefault(word, self._unknown(word))


class Variation:
    """The mapping of one seed, for the texts of one recording. exact: what is told by its form, each by a method of its name."""

    exact = _EXACT

    def __init__(self, seed: int, texts: dict[str, str]) -> None:
        self._seed = seed
        self._known = dict[str, str]()
        truth = json.loads(texts[TRUTH])
        chance = self._chance("case")
        self._began = datetime.fromisoformat(truth["window"]["start"])
        self._later = timedelta(days=-chance.randrange(30, 330), minutes=chance.randrange(1440))
        self._second_octet, self._third_octet = chance.randrange(1, 100), 16 * chance.randrange(1, 16)
        self._octets = dict(zip(range(1, 255), chance.sample(range(1, 255), 254), strict=True))
        self._nets = dict(zip(NETS, chance.sample(NETS, len(NETS)), strict=True))
        self._region = truth["region"], chance.choice([one for one in _REGIONS if one != truth["region"]])
        self._words = _Words(self._number)
        self._words[truth["account"]] = str(chance.randrange(10**11, 10**12))
        generated = self._generated(texts, truth)
        self._words.update(self._renamed(texts, truth, chance, set(generated)) | generated)

    def __call__(self, text: str) -> str:
        """A text of the recording, changed. Words are told from one another by what is no letter or digit, so no line may be cut."""
        text = self.exact.sub(self._exact, text.replace(*self._region))
        words = self._words
        return "".join([words[part] for part in _BETWEEN.split(text)])

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self._seed}:{what}")  # noqa: S311 - not for secrecy

    def _exact(self, match: re.Match[str]) -> str:
        text = match[0]
        if text not in self._known:
            self._known[text] = getattr(self, f"_{match.lastgroup}")(text)
        return self._known[text]

    def _time(self, text: str) -> str:
        return (datetime.fromisoformat(text) + self._later).isoformat()

    def _uuid(self, text: str) -> str:
        made = self._letters(text, _HEX)  # version, variant and hyphens stay
        return "".join(text[place] if place in (8, 13, 14, 18, 19, 23) else letter for place, letter in enumerate(made))

    def _hex(self, text: str) -> str:
        if text.isdigit():
            return text  # a number
        made = self._letters(text, _HEX)
        return made.upper() if text.upper() == text else made

    def _id(self, text: str) -> str:
        return text[:4] + self._letters(text[4:], _ID)

    def _private(self, text: str) -> str:
        return ".".join(self._inside(text.split(".")))

    def _node(self, text: str) -> str:
        first, *octets = text.split("-")
        return "-".join([first, *self._inside(octets)])

    def _inside(self, octets: list[str]) -> list[str]:
        """An address of the VPC: machines of one subnet stay in one."""
        third, fourth = int(octets[2]), int(octets[3])
        return ["10", str(self._second_octet), str(third ^ self._third_octet), str(self._octets.get(fourth, fourth))]

    def _public(self, text: str) -> str:
        net, _, last = text.rpartition(".")
        return f"{self._nets[net]}.{self._octets.get(int(last), int(last))}"

    def _letters(self, text: str, of: str) -> str:
        number = int.from_bytes(hashlib.sha512(f"{self._seed}:{text}".encode()).digest())
        made = ""
        while len(made) < len(text):
            number, place = divmod(number, len(of))
            made += of[place]
        return made

    def _number(self, part: str) -> str:
        """A number that is a time (seconds, or the minutes in the names of a CronJob's jobs) is moved with the others."""
        if len(part) not in (8, 10) or not part.isdecimal():
            return part
        seconds = 60 if len(part) == 8 else 1
        near = abs(int(part) * seconds - self._began.timestamp()) < 10 * 86_400
        return str(int(part) + int(self._later.total_seconds()) // seconds) if near else part

    def _renamed(
        self, texts: dict[str, str], truth: dict[str, Any], chance: random.Random, generated: set[str]
    ) -> dict[str, str]:
        """The words of names that the cluster's owners gave, and what each becomes; words with another meaning somewhere stay."""
        names, people, upstream = {truth["cluster"]}, set[str](), set[str]()
        for kind in _NAMED:
            for item in json.loads(texts.get(f"cluster/{kind}.json", '{"items": []}'))["items"]:
                about = item["metadata"]
                ours = "kube-system" not in (about["name"], about.get("namespace")) and ":" not in about["name"]
                (names if ours else upstream).add(about["name"])
        for user in set(re.findall(r'"username":"((?!system:|eks:)[^"]+)"', texts.get("audit.jsonl.gz", ""))):
            name = user.rpartition("/")[2].partition("@")[0].removesuffix("-example.com")
            team, _, person = name.rpartition("-")
            (people if team or name != user else names).add(person)
            names.add(team)
        for pod in truth["all_pods"]:
            (upstream if pod["namespace"] == "kube-system" else names).update((pod["namespace"], pod["name"]))
        for image in re.findall(r'"image":\s*"([^"]+)"', texts.get("cluster/pods.json", "")):
            upstream.add("" if image.startswith(truth["account"]) else image)
        keys = {key for name, text in texts.items() if name != TRUTH for key in KEY.findall(text) if key[:2] != "k:"}
        fixed = {word for name in (*keys, *upstream, *spoken_in(texts), *FIXED) for word in WORD.findall(name)}
        used = {word for text in texts.values() if len(text) < 2**20 for word in WORD.findall(text)}
        found = dict[str, str]()
        for given, into in ((people - names, _PEOPLE), (names, THINGS)):
            words = {word for name in given for word in WORD.findall(name)}
            fit = sorted(
                word
                for word in words - fixed - generated - found.keys()
                if word.isalpha() and word.islower() and len(word) > 1
            )
            free = [word for word in into if word not in used]
            found |= dict(zip(fit, chance.sample(free, min(len(fit), len(free))), strict=False))
        return found

    def _generated(self, texts: dict[str, str], truth: dict[str, Any]) -> dict[str, str]:
        """The parts of names that Kubernetes or the attacker made up: letters as they are generated, or hex digits."""
        names = [pod["name"] for pod in truth["all_pods"]]
        for kind in (*_NAMED, "replicasets", "jobs"):
            items = json.loads(texts.get(f"cluster/{kind}.json", '{"items": []}'))["items"]
            names += [item["metadata"]["name"] for item in items]
        found = dict[str, str]()
        for name in names:
            for part in name.split("-")[1:]:
                if re.fullmatch(f"[{_GENERATED}]{{5}}|[{_GENERATED}]{{8,10}}", part) and part not in FIXED:
                    found[part] = self._letters(part, _GENERATED)
                elif re.fullmatch(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{4,5}", part):
                    found[part] = self._letters(part, _HEX)
        return found


FIXED = (
    "api", "apis", "default", "kube", "system", "kubernetes", "node", "aws", "eks", "admin", "cluster", "example", "com", "dashboard", "https", "pod", "pods",
    "role", "user", "users", "view", "edit", "get", "list", "watch", "create", "update", "patch", "delete", "exec", "root", "github",
)  # fmt: skip
"""Words that mean something to Kubernetes, to AWS or to the kit's readers."""
