"""A mail server (aiosmtpd) that keeps what it takes: smtp_server.py FOLDER none|startTls|tls [CERTIFICATE KEY].

Prints its port (SMTP_PORT, or a free one). Each mail becomes a file in the folder. Under TLS it takes mail only from who logs in (ann, with the
password of the tests). It refuses `refused@` for ever.
"""

import asyncio
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, mode = sys.argv[1], sys.argv[2]
context = None
if mode != "none":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])


class Keeper:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 there is no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        Keeper.count += 1
        name = os.path.join(folder, f"{Keeper.count:04}.eml")
        with open(name + ".part", "wb") as file:
            file.write(f"X-To: {','.join(envelope.rcpt_tos)}\r\n".encode())
            file.write(f"X-Tls: {session.ssl is not None or mode == 'tls'}\r\n".encode())
            file.write(envelope.content)
        os.rename(name + ".part", name)
        return "250 kept"


def authenticator(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data == LoginPassword(b"ann", b"q7RkV2nLx0Zt")
    return AuthResult(success=good)


def protocol():
    return SMTP(
        Keeper(),
        hostname="localhost",
        tls_context=context if mode == "startTls" else None,
        require_starttls=mode == "startTls",
        authenticator=authenticator if mode != "none" else None,
        auth_required=mode != "none",
        # Over implicit TLS the protocol does not see that there is any.
        auth_require_tls=mode == "startTls",
    )


async def main():
    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", int(os.environ.get("SMTP_PORT", "0")), ssl=context if mode == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
