"""neo-mamba at work: a JSON list of tasks on the standard input, a list of results on the standard output.

The library is found by PYTHONPATH (scripts/fetch-wallets.sh).
"""

import base64
import json
import sys

from neo3.core import cryptography, serialization
from neo3.wallet import utils


def n3(task):
    """A text signed as it is, and in the envelope of NeoLine's signMessage."""
    pair = cryptography.KeyPair(bytes.fromhex(task["key"]))
    text = task["text"].encode()
    writer = serialization.BinaryWriter()
    writer.write_bytes(bytes.fromhex("010001f0"))
    writer.write_var_bytes(text)
    writer.write_bytes(bytes(2))
    script_hash = utils.public_key_to_script_hash(pair.public_key)
    return {
        "address": utils.script_hash_to_address(script_hash),
        "scriptHash": str(script_hash),
        "publicKey": pair.public_key.to_array().hex(),
        "plain": cryptography.sign(text, pair.private_key).hex(),
        "classic": cryptography.sign(writer.to_array(), pair.private_key).hex(),
    }


def nep20(task):
    """The response to a challenge, in the order of the accepted text of the NEP."""
    pair = cryptography.KeyPair(bytes.fromhex(task["key"]))
    challenge = task["challenge"]
    network = challenge["networks"][0]
    timestamp = challenge["timestamp"] + 1
    script_hash = utils.public_key_to_script_hash(pair.public_key)
    writer = serialization.BinaryWriter()
    writer.write_uint64(int(challenge["nonce"]))
    writer.write_uint32(timestamp)
    writer.write_uint32(network)
    writer.write_serializable(script_hash)
    writer.write_var_string(challenge["action"])
    writer.write_var_string(challenge["domain"])
    return {
        "algorithm": challenge["allowed_algorithms"][0],
        "network": network,
        "pubkey": pair.public_key.to_array().hex(),
        "address": utils.script_hash_to_address(script_hash),
        "nonce": challenge["nonce"],
        "timestamp": timestamp,
        "signature": base64.b64encode(cryptography.sign(writer.to_array(), pair.private_key)).decode(),
    }


TASKS = {"n3": n3, "nep20": nep20}
json.dump([TASKS[task["do"]](task) for task in json.load(sys.stdin)], sys.stdout)
