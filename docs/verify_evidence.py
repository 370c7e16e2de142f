"""Checks the evidence of an order, or a whole dump, without the engine: see evidence.md and dump.md."""

import argparse
import json
from base64 import b64decode
from hashlib import sha256 as new_sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def need(is_so, words):
    if not is_so:
        raise ValueError(words)


def sha256(*parts):
    return new_sha256(b"".join(parts)).digest()


def digest_of(before, position, version, stream, name, command, body):  # noqa: PLR0917
    words = stream.encode(), name.encode(), bytes.fromhex(command or "")
    numbers = [(position, 8), (version, 4), *((len(word), 2) for word in words)]
    packed = [number.to_bytes(size, "big") for number, size in numbers]
    return sha256(before, *packed, *words, b64decode(body, validate=True))


def root_of(leaf, index, size, path):  # RFC 6962, 2.1.1: the root that a proof leads to
    need(0 <= index < size and (size > 1) == bool(path), "a proof does not fit the seal")
    if size == 1:
        return leaf
    half = 1 << (size - 1).bit_length() - 1  # the largest power of two below: there the tree is split
    if index < half:
        return sha256(b"\1", root_of(leaf, index, half, path[:-1]), path[-1])
    return sha256(b"\1", path[-1], root_of(leaf, index - half, size - half, path[:-1]))


def open_note(note, keys):  # C2SP tlog-checkpoint: (size, root), signed by one of the keys
    text, _, signatures = note.rpartition("\n\n")
    origin, size, root = text.split("\n")
    is_signed = keys is None
    for _, name, raw in map(str.split, signatures.splitlines()):
        for key in [key for key in keys or () if key[:2] == [name, b64decode(raw)[:4].hex()]]:
            public = Ed25519PublicKey.from_public_bytes(b64decode(key[2])[1:])
            public.verify(b64decode(raw)[4:], f"{text}\n".encode())
            is_signed = name == origin
    need(is_signed, "no key that you gave has signed the checkpoint")
    return int(size), b64decode(root)


def check_bundle(bundle, _, size, root):
    mine, versions = bundle["checkpoint"].split("\n")[1], []
    need(mine == str(size), f"it is under a seal of {mine} facts: ask for `evidence --size {size}`")
    for fact in bundle["facts"]:
        words = [fact[word] for word in ("position", "version", "stream", "name", "command", "body")]
        digest, at = digest_of(bytes.fromhex(fact["before"]), *words), f"the fact at position {words[0]}"
        need(digest.hex() == fact["digest"], f"{at} is not as recorded")
        said = root_of(sha256(b"\0", digest), words[0] - 1, size, [*map(b64decode, fact["proof"])])
        need(said == root, f"{at} was not sealed")
        versions += [words[1]] if words[2] == bundle["order"] else []
        print("{:9} {:5} {} {}".format(*words))
    need(versions and versions == [*range(1, len(versions) + 1)], "a fact of the order is left out")
    return f"these of {size} sealed facts, not what is `shown` of them; the order may have later ones"


def check_dump(header, lines, size, root):
    digest, at, tree = bytes(32), 0, []
    for words in (words[1:] for words in map(json.loads, lines) if words[0] == "fact"):
        digest, at = digest_of(digest, *words[:6]), at + 1
        need([at, digest.hex()] == [words[0], words[6]], f"the fact at position {at} is not as recorded")
        tree += [sha256(b"\0", digest)][: at <= size]
    need(at == header["size"] >= size, f"it ends at {at} of {size} sealed facts: its tail was cut off")
    while len(tree) > 1:
        two = zip(tree[::2], tree[1::2], strict=False)
        tree = [sha256(b"\1", *pair) for pair in two] + tree[len(tree) & ~1 :]
    need(tree == [root], f"the facts to position {size} are not those that were sealed")
    return f"the {size} sealed facts of {at}, not the other lines"


parser = argparse.ArgumentParser(description=__doc__, epilog="exit code 0: proven, 1: not")
parser.add_argument("file", type=Path, help="a bundle, or a dump")
parser.add_argument("--key", type=Path, help="what `order-engine seal key` printed")
parser.add_argument("--checkpoint", type=Path, help="a seal that was kept elsewhere")
asked = parser.parse_args()
try:
    with asked.file.open("rb") as file:
        first = file.readline()
        is_dump = first.startswith(b'{"dump"')
        if not asked.checkpoint and (is_dump or not asked.key):
            parser.error("a dump needs --checkpoint" if is_dump else "give --key or --checkpoint")
        keys = [line.split("+", 2) for line in asked.key.read_text().split()] if asked.key else None
        document = json.loads(first if is_dump else first + file.read())
        note = asked.checkpoint.read_text("utf-8") if asked.checkpoint else document["checkpoint"]
        proven = (check_dump if is_dump else check_bundle)(document, file, *open_note(note, keys))
except OSError as error:
    parser.error(str(error))
except Exception as error:  # noqa: BLE001  whatever is odd about a file, it proves nothing
    raise SystemExit(f"NOT PROVEN: {str(error) or 'the signature is wrong'}") from None
print(f"PROVEN: {proven}.")
