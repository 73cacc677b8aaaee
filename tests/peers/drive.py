"""Takes messages through the whole XTA cycle with three foreign clients: each sends to each, each fetches from each.
gSOAP generates and compiles a client besides.

Started by `run`, which installs the clients and starts the server. Every check is one passed or failed; the table
shows client by step. Contents and attachments are compared byte for byte. Settings come from the environment:
PEER_URL, PEER_PKI (folder of ca.crt and NAME.crt, NAME.key, NAME.p12), PEER_WORK (scratch), PEER_JAVA_LIB (jars),
PEER_XTA (the xta-tool program). It runs on an interpreter that has zeep and PyYAML, a dependency of xta-tool.
"""

import datetime
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import time
import urllib.parse

import yaml

HERE = pathlib.Path(__file__).resolve().parent
URL = os.environ["PEER_URL"]
PKI = pathlib.Path(os.environ["PEER_PKI"])
WORK = pathlib.Path(os.environ["PEER_WORK"])
JAVA_LIB = os.environ["PEER_JAVA_LIB"]
WSDL = URL + "/services/XTAService?wsdl"
SERVICE = "http://www.osci.de/xmeld2511/xmeld2511Rueckmeldung.wsdl"
MESSAGE_TYPE = "rueckmeldung.auswertung.0201"
ATTACHMENTS = ("one.bin", "two.txt", "empty.bin", "large.bin")
CALL_SECONDS_MAX = 60
ALL_SECONDS_MAX = 900
STEPS = ("stubs", "check", "lookup", "new", "send", "list", "get", "close", "report", "cancel", "faults")
STARTED = time.monotonic()


class Failed(Exception):
    """What was seen where something else was expected."""


class Reply:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def lines(self):
        return self.out.split()

    def expect_success(self):
        if self.code != 0:
            said = (self.out + "\n" + self.err).strip().splitlines()
            raise Failed(f"exit code {self.code}: " + " | ".join(said[-4:]))
        return self


def call(program, env):
    if time.monotonic() - STARTED > ALL_SECONDS_MAX:
        raise Failed(f"the whole run took longer than {ALL_SECONDS_MAX} seconds")
    try:
        done = subprocess.run(
            program, env={**os.environ, **env}, capture_output=True, timeout=CALL_SECONDS_MAX, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {CALL_SECONDS_MAX} seconds") from None
    return Reply(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


class Client:
    """A program that does one call per run: check, lookup, new, send, list, get, close, report, cancel."""

    offers = frozenset(STEPS)
    keeps_line_ends = True

    def __init__(self, name, identifier, key=None):
        self.name, self.identifier, self.key = name, identifier, key or name

    def file(self, suffix):
        return str(PKI / f"{self.key}.{suffix}")

    def send(self, message_id, reader, folder, not_before=None):
        extra = [not_before] if not_before else []
        return self.run("send", message_id, reader, SERVICE, str(folder), *extra)

    def error_code(self, reply):
        """The XTA error code that the client made of a fault."""
        found = re.match(r"fault (\d+) (\w+)$", reply.out.strip())
        return found.group(1) if found else None


class Zeep(Client):
    """Sends content inline; on reading it strips line ends from both ends of a binary MIME part."""

    offers = frozenset(STEPS) - {"stubs"}
    keeps_line_ends = False

    def run(self, *arguments):
        env = {
            "PEER_CA": str(PKI / "ca.crt"),
            "PEER_CERT": self.file("crt"),
            "PEER_KEY": self.file("key"),
            "PEER_SELF": self.identifier,
        }
        return call([sys.executable, str(HERE / "zeep_driver.py"), *arguments], env)


class JaxWs(Client):
    classes = WORK / "jaxws-classes"

    def stores(self):
        return [
            f"-Djavax.net.ssl.keyStore={self.file('p12')}",
            "-Djavax.net.ssl.keyStoreType=PKCS12",
            "-Djavax.net.ssl.keyStorePassword=changeit",
            f"-Djavax.net.ssl.trustStore={PKI / 'trust.p12'}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
            "-Djavax.net.ssl.trustStorePassword=changeit",
        ]

    def make_stubs(self):
        sources = WORK / "jaxws-sources"
        sources.mkdir()
        self.classes.mkdir()
        options = ["-quiet", "-extension", "-Xnocompile", "-s", sources, "-d", sources, "-p", "peer.xta"]
        call(["wsimport", *map(str, options), WSDL], {"WSIMPORT_OPTS": " ".join(self.stores())}).expect_success()
        java = [str(file) for file in (sources / "peer" / "xta").glob("*.java")]
        if len(java) < 40:
            raise Failed(f"wsimport made {len(java)} classes only")
        compiler = ["javac", "-nowarn", "-cp", JAVA_LIB, "-d", str(self.classes)]
        call([*compiler, *java, str(HERE / "Driver.java")], {}).expect_success()

    def run(self, *arguments):
        java = ["java", *self.stores(), "-cp", f"{self.classes}:{JAVA_LIB}", "Driver"]
        return call([*java, *arguments], {"PEER_SELF": self.identifier})


class GSoap(Client):
    """Generates and compiles only. wsdl2h shows no client certificate, so it reads copies of what the server sends."""

    offers = frozenset({"stubs"})

    def make_stubs(self):
        folder = WORK / "gsoap"
        folder.mkdir()
        wanted = {"xta.wsdl": WSDL}
        for name in iter(lambda: next((name for name in wanted if not (folder / name).exists()), None), None):
            text = self.download(wanted[name])
            for place in re.findall(r'schemaLocation="([^"]+)"', text):
                copy = place.rpartition("=")[2]
                wanted[copy] = urllib.parse.urljoin(wanted[name], place)
                text = text.replace(f'schemaLocation="{place}"', f'schemaLocation="{copy}"')
            (folder / name).write_text(text, encoding="utf-8")
        if len(wanted) < 8:
            raise Failed(f"only these are served: {', '.join(wanted)}")
        help_files = HERE.parents[1] / "schemas" / "xta" / "2.1.1"
        typemap = pathlib.Path("/usr/share/gsoap/WS/typemap.dat").read_text() + (help_files / "gsoap-typemap.dat").read_text()
        (folder / "typemap.dat").write_text(typemap)
        header = str(folder / "xta.h")
        call(["wsdl2h", "-P", "-t", str(folder / "typemap.dat"), "-o", header, str(folder / "xta.wsdl")], {}).expect_success()
        call(["sed", "-i", "-E", "-f", str(help_files / "gsoap-message-id.sed"), header], {}).expect_success()
        make = ["soapcpp2", "-C", "-I/usr/share/gsoap/import", "-d", str(folder), header]
        if "Compilation successful" not in call(make, {}).expect_success().err:
            raise Failed("soapcpp2 made no client")
        call(["g++", "-fsyntax-only", "-I", str(folder), str(folder / "soapClient.cpp")], {}).expect_success()

    def download(self, url):
        keys = ["--cacert", str(PKI / "ca.crt"), "--cert", self.file("crt"), "--key", self.file("key")]
        return call(["curl", "-fsS", "-m", "20", *keys, url], {}).expect_success().out


class XtaTool(Client):
    """The published command line client, with the identifier `*` that it names by default."""

    offers = frozenset({"new", "send", "list", "get", "close", "report", "faults"})

    def run(self, command, *arguments):
        config = WORK / f"xta-tool-{self.key}"
        config.mkdir(exist_ok=True)
        settings = {
            "base-url": URL,
            "cafile": str(PKI / "ca.crt"),
            "certfile": self.file("crt"),
            "keyfile": self.file("key"),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        (config / "config.toml").write_text("\n".join(lines) + "\n")
        words = {"list": "ls", "report": "inspect"}
        env = {"XDG_CONFIG_HOME": str(config), "XDG_CONFIG_DIRS": str(config), "HOME": str(config)}
        program = [os.environ["PEER_XTA"], "-c", str(config / "config.toml")]
        if command == "get":
            pathlib.Path(arguments[1]).mkdir(parents=True, exist_ok=True)
        reply = call([*program, words.get(command, command), *arguments], env)
        if command == "report" and reply.code == 0:
            reply.out = str(yaml.safe_load(reply.out)["status"])
        if command == "get" and reply.code == 0:
            self.note_metadata(pathlib.Path(arguments[1]))
        return reply

    def send(self, message_id, reader, folder, not_before=None):
        def file(name, content_type):
            return {"fileName": name, "content": name, "contentType": content_type}

        order = {
            "metadata": {
                "service": SERVICE,
                "businessScenario": {
                    "code": "XMELD_DATA",
                    "listUri": "urn:de:xta:codeliste:business.scenario",
                    "listVersionId": "3.6",
                },
                "messageType": {"code": MESSAGE_TYPE},
                "messageTypePayloadSchema": "http://www.osci.de/xmeld2511",
                "author": {"value": self.identifier, "category": "Meldebehörde"},
                "reader": {"value": reader},
            },
            "message": file("message.xml", "application/xml"),
            "attachments": [file(name, "application/octet-stream") for name in ATTACHMENTS],
        }
        # JSON is YAML.
        (folder / "xta-message.yaml").write_text(json.dumps(order), encoding="utf-8")
        return self.run("send", message_id, str(folder))

    @staticmethod
    def note_metadata(folder):
        order = yaml.safe_load((folder / "xta-message.yaml").read_text(encoding="utf-8"))["metadata"]
        facts = (
            order["message_id"],
            order["author"]["value"],
            order["reader"]["value"],
            order["service"],
            order["message_type"]["code"],
        )
        (folder / "metadata.txt").write_text("".join(f"{fact}\n" for fact in facts), encoding="utf-8")

    def error_code(self, reply):
        found = re.search(r"\b(90\d\d|91\d\d)\b", reply.out + reply.err)
        return found.group(1) if found else None


class Tally:
    def __init__(self):
        self.cells = {}
        self.failures = []

    def check(self, client, step, what, action):
        passed, tried = self.cells.get((client.name, step), (0, 0))
        try:
            result = action()
            passed += 1
        except Failed as failure:
            result = None
            self.failures.append(f"{client.name} {step}: {what}: {failure}")
            print(f"FAIL {self.failures[-1]}", flush=True)
        self.cells[client.name, step] = (passed, tried + 1)
        return result

    def print(self, clients):
        width = max(len(client.name) for client in clients) + 2
        print("\n" + "client".ljust(width) + "".join(step.rjust(8) for step in STEPS))
        for client in clients:
            row = client.name.ljust(width)
            for step in STEPS:
                passed, tried = self.cells.get((client.name, step), (0, 0))
                cell = "-" if tried == 0 else "pass" if passed == tried else "FAIL"
                row += (cell if tried == 0 else f"{cell}:{tried}").rjust(8)
            print(row)
        print("('-': the client has no such call; the number is that of the checks)")
        passed = sum(passed for passed, _ in self.cells.values())
        print(f"{passed} passed, {len(self.failures)} failed")
        return 0 if passed and not self.failures else 1


def equal(seen, expected):
    if seen != expected:
        raise Failed(f"{seen!r} where {expected!r} was expected")


def make_message(folder, reader):
    """Fresh content, so that no comparison can succeed by an older message; traps for parsers of MIME and XML."""
    folder.mkdir(parents=True)
    nonce = secrets.token_hex(16).encode()
    parts = {
        "message.xml": b'<?xml version="1.0" encoding="UTF-8"?>\r\n<nachricht xmlns="urn:beispiel">Gr\xc3\xbc\xc3\x9fe '
        + nonce
        + b"</nachricht>\n",
        "one.bin": bytes(range(256)) + secrets.token_bytes(3001) + b"\x00",
        "two.txt": b"--\r\n--=_boundary\r\nContent-ID: <x>\r\n\r\n" + nonce + b"\r\n--",
        "empty.bin": b"",
        "large.bin": b"\x00" + secrets.token_bytes(1_500_000) + b"\x00",
    }
    for name, content in parts.items():
        if content and reader.keeps_line_ends:
            content = b"\r\n" + content + b"\r\n\r\n" if name != "message.xml" else content + b"\r\n"
        elif not reader.keeps_line_ends:
            content = content.strip(b"\r\n")
        (folder / name).write_bytes(content)
    return folder


def compare(sent, got, facts):
    for name in ("message.xml", *ATTACHMENTS):
        if not (got / name).is_file():
            raise Failed(f"{name} did not arrive")
        if (sent / name).read_bytes() != (got / name).read_bytes():
            raise Failed(f"{name} differs: {(got / name).stat().st_size} bytes of {(sent / name).stat().st_size}")
    equal((got / "metadata.txt").read_text(encoding="utf-8").splitlines(), facts)


def new_id(client):
    message_id = client.run("new").expect_success().out.strip()
    if not re.fullmatch(r"urn:de:xta:messageid:[A-Za-z0-9._-]{1,41}:[0-9a-fA-F-]{36}", message_id):
        raise Failed(f"{message_id!r} is no XTA message id")
    return message_id


def refused(client, code, reply):
    if reply.code == 0:
        raise Failed(f"was accepted where {code} was expected")
    seen = client.error_code(reply)
    if seen != code:
        said = " | ".join((reply.out + reply.err).strip().splitlines()[-3:])
        raise Failed(f"{seen} where {code} was expected ({said})")


def greet(tally, clients):
    """Account, services: what an author asks first."""
    for client in clients:
        if "stubs" in client.offers:
            tally.check(client, "stubs", "wsimport from the served WSDL", client.make_stubs)
        if "check" in client.offers:
            tally.check(client, "check", "account", lambda: client.run("check").expect_success())
        if "lookup" in client.offers:
            for reader in clients:
                answer = lambda: equal(client.run("lookup", reader.identifier, SERVICE).expect_success().out.strip(), "true")
                tally.check(client, "lookup", reader.identifier, answer)
            answer = lambda: equal(client.run("lookup", "ags:99999999", SERVICE).expect_success().out.strip(), "false")
            tally.check(client, "lookup", "nobody", answer)


def post(tally, clients):
    """Each to each. Returns (author, reader, id, folder)."""
    posted = []
    for author in clients:
        for reader in clients:
            message_id = tally.check(author, "new", f"for {reader.name}", lambda: new_id(author))
            if message_id is None:
                continue
            folder = make_message(WORK / "sent" / f"{author.name}-to-{reader.name}", reader)
            send = lambda: author.send(message_id, reader.identifier, folder).expect_success()
            if tally.check(author, "send", f"to {reader.name}", send):
                posted.append((author, reader, message_id, folder))
                still_open = lambda: equal(author.run("report", message_id).expect_success().out.strip(), "0")
                tally.check(author, "report", f"to {reader.name}, waiting", still_open)
    return posted


def fetch(tally, clients, posted):
    for reader in clients:
        own = [entry for entry in posted if entry[1] is reader]
        ids = [message_id for _, _, message_id, _ in own]
        listed = lambda: reader.run("list").expect_success().lines()
        tally.check(reader, "list", "oldest first", lambda: equal(listed(), ids))
        for author, _, message_id, folder in own:
            got = WORK / "got" / f"{author.name}-to-{reader.name}"
            facts = [message_id, author.identifier, reader.identifier, SERVICE, MESSAGE_TYPE]

            def get():
                reader.run("get", message_id, str(got)).expect_success()
                compare(folder, got, facts)

            tally.check(reader, "get", f"from {author.name}", get)
        tally.check(reader, "list", "handed out is not received", lambda: equal(listed(), ids))
        for author, _, message_id, _ in own:
            close = lambda: reader.run("close", message_id).expect_success()
            tally.check(reader, "close", f"from {author.name}", close)
            tally.check(reader, "close", f"from {author.name}, again", close)
            for asker in (author, reader):
                done = lambda: equal(asker.run("report", message_id).expect_success().out.strip(), "1")
                tally.check(asker, "report", f"{author.name} to {reader.name}, received", done)
        tally.check(reader, "list", "empty", lambda: equal(listed(), []))


def cancel(tally, clients, posted):
    tomorrow = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for client in clients:
        if "cancel" not in client.offers:
            continue
        reader = next(other for other in clients if other is not client)

        def round_trip():
            message_id = new_id(client)
            folder = make_message(WORK / "sent" / f"{client.name}-cancelled", reader)
            client.send(message_id, reader.identifier, folder, tomorrow).expect_success()
            if message_id in reader.run("list").expect_success().lines():
                raise Failed("a message is listed before its NotBefore")
            client.run("cancel", message_id).expect_success()

        tally.check(client, "cancel", "before its NotBefore", round_trip)
        for _, _, message_id, _ in [entry for entry in posted if entry[0] is client][:1]:
            tally.check(client, "cancel", "without NotBefore", lambda: refused(client, "9101", client.run("cancel", message_id)))


def break_rules(tally, clients, posted, stranger):
    for client in clients:
        nothing = "urn:de:xta:messageid:nobody:00000000-0000-4000-8000-000000000000"
        scratch = str(WORK / "got" / f"{client.name}-refused")
        tally.check(client, "faults", "unknown id", lambda: refused(client, "9070", client.run("get", nothing, scratch)))
        foreign = [entry for entry in posted if client not in entry[:2]]
        for _, _, message_id, _ in foreign[:1]:
            for word, rest in (("get", [scratch]), ("close", []), ("report", [])):
                reply = lambda: refused(client, "9070", client.run(word, message_id, *rest))
                tally.check(client, "faults", f"{word} of a stranger's message", reply)
        for _, reader, message_id, _ in [entry for entry in posted if entry[0] is client][:1]:
            other = make_message(WORK / "sent" / f"{client.name}-again", reader)
            again = lambda: refused(client, "9024", client.send(message_id, reader.identifier, other))
            tally.check(client, "faults", "used id with other content", again)
        impostor = type(client)(client.name, next(c for c in clients if c is not client).identifier)
        claim = make_message(WORK / "sent" / f"{client.name}-impostor", clients[0])

        def pretend():
            refused(client, "9014", impostor.send(new_id(client), clients[0].identifier, claim))

        tally.check(client, "faults", "an identifier of somebody else", pretend)
        unknown = type(client)(client.name, client.identifier, stranger)
        tally.check(client, "faults", "a certificate without account", lambda: refused(client, "9012", unknown.run("new")))


def main():
    clients = [
        XtaTool("xta-tool", "ags:10041100"),
        JaxWs("jaxws", "ags:05315000"),
        Zeep("zeep", "psw:053150000000"),
    ]
    gsoap = GSoap("gsoap", "none", "zeep")
    tally = Tally()
    tally.check(gsoap, "stubs", "wsdl2h and soapcpp2 from the served WSDL", gsoap.make_stubs)
    greet(tally, clients)
    posted = post(tally, clients)
    fetch(tally, clients, posted)
    cancel(tally, clients, posted)
    break_rules(tally, clients, posted, "stranger")
    return tally.print([*clients, gsoap])


if __name__ == "__main__":
    sys.exit(main())
