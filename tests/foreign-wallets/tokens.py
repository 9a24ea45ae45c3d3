"""PyJWT at work: {jwks, token, issuer, audience} as JSON on the standard input; the header and the claims of the token
on the standard output, or an error where it does not verify by the keys at the address `jwks`.

The library is found by PYTHONPATH (scripts/fetch-wallets.sh).
"""

import json
import sys

import jwt

task = json.load(sys.stdin)
token = task["token"]
key = jwt.PyJWKClient(task["jwks"]).get_signing_key_from_jwt(token)
claims = jwt.decode(
    token,
    key,
    algorithms=["EdDSA"],
    issuer=task["issuer"],
    audience=task["audience"],
    # RFC 9068, section 2.2.
    options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]},
)
json.dump({"header": jwt.get_unverified_header(token), "claims": claims}, sys.stdout)
