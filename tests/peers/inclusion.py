"""Walks from a log record to the root of the tree that a checkpoint signs (RFC 6962, section 2.1.1).

Arguments: the index; reads record-N.txt, record-N.path and checkpoint.txt in the current folder.
"""

import base64
import hashlib
import sys


def root_of(record, index, size, path):
    node, last = hashlib.sha256(b"\0" + record).digest(), size - 1
    for sibling in path:
        assert last > 0, "the path is too long"
        if index % 2 == 1 or index == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while index % 2 == 0 and index > 0:
                index, last = index // 2, last // 2
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        index, last = index // 2, last // 2
    assert last == 0, "the path is too short"
    return node


number = sys.argv[1]
record = open(f"record-{number}.txt", "rb").read()
path = [bytes.fromhex(line) for line in open(f"record-{number}.path")]
_, size, root = open("checkpoint.txt").read().splitlines()
assert root_of(record, int(number), int(size), path) == base64.b64decode(root), "another root"
