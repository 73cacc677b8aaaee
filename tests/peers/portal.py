"""Both ends of the portal door with jwcrypto: `prepare FOLDER` writes keys and participants, `drive FOLDER` goes through
the whole cycle, `token FOLDER` prints an access token of a client that both sends and fetches. Only the standard library and jwcrypto; nothing of ours but URLs and field names."""

import hashlib
import json
import os
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from jwcrypto import jwe, jwk, jws

URL = os.environ["PORTAL_URL"]
DESTINATION = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01"
SERVICE = "99050012104000"
EVENTS = "https://schema.fitko.de/fit-connect/events/"
SECRETS = {"portal-bund": "portal " + "s" * 40, "town-1": "town & " + "t" * 40, "both": "both " + "b" * 40, "lost": "lost " + "l" * 40}


def prepare(folder):
    config = folder / "amtsbote.toml"
    text = config.read_text()
    port = urllib.parse.urlparse(URL).port
    text = text.replace('# address = "0.0.0.0:8445"', f'address = "127.0.0.1:{port}"')
    text = text.replace('url = "https://localhost:8445"', f'url = "{URL}"')
    # Whoever looks for mistakes asks more often than a portal does.
    text = text.replace("requests_per_minute_max = 1200", "requests_per_minute_max = 1000000")
    assert URL in text, "the configuration has no [portal]"
    config.write_text(text)
    keys = {}
    for name, alg, private, public in [("enc", "RSA-OAEP-256", "unwrapKey", "wrapKey"), ("sig", "PS512", "sign", "verify")]:
        key = jwk.JWK.generate(kty="RSA", size=4096, kid=f"town-{name}", alg=alg)
        (folder / f"{name}.json").write_text(key.export())
        shown = json.loads(key.export_public())
        keys[name] = json.dumps({**shown, "key_ops": [public]})
    digest = {name: hashlib.sha256(secret.encode()).hexdigest() for name, secret in SECRETS.items()}
    participants = folder / "participants.toml"
    assert participants.read_text().rindex('name = "meldebehoerde"') > participants.read_text().rindex("[[account]]")
    with participants.open("a") as file:
        # The first of them belongs to the last account of the file, which has a certificate.
        file.write(f"""
[[account.portal.client]]
id = "by-certificate"
sends = true

[[account]]
name = "portal-bund"
identifiers = [{{ value = "portal:bund" }}]
[[account.portal.client]]
id = "portal-bund"
secret_sha256 = "{digest['portal-bund']}"
sends = true
# May fetch, and its account has no destination to fetch from.
[[account.portal.client]]
id = "lost"
secret_sha256 = "{digest['lost']}"
subscribes = true

[[account]]
name = "town"
identifiers = [{{ value = "portal:town" }}]
[[account.portal.client]]
id = "town-1"
secret_sha256 = "{digest['town-1']}"
subscribes = true
[[account.portal.client]]
id = "both"
secret_sha256 = "{digest['both']}"
sends = true
subscribes = true
[[account.portal.destination]]
id = "{DESTINATION}"
name = "Meldebehörde"
encryption_kid = "town-enc"
keys = [{{ jwk = '{keys['enc']}' }}, {{ jwk = '{keys['sig']}' }}]
serves = [{{ services = ["{SERVICE}"], regions = ["100410100100"] }}]
""")


class Client:
    def __init__(self, folder):
        self.context = ssl.create_default_context(cafile=folder / "tls/ca.crt")
        self.token = None

    def call(self, method, path, body=None, kind="application/json", headers=None, expect=200):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(URL + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", kind)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
                status, content, self.headers = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, content, self.headers = error.code, error.read(), error.headers
        assert status == expect, f"{method} {path}: {status}, not {expect}: {content[:500]}"
        if content and "json" in self.headers.get("Content-Type", ""):
            return json.loads(content)
        return content

    def show(self, certificate, key):
        self.context.load_cert_chain(certificate, key)
        return self

    def log_in(self, name):
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": SECRETS[name]}
        self.token = self.call("POST", "/token", urllib.parse.urlencode(form), "application/x-www-form-urlencoded")["access_token"]
        return self


def seal(key, content, kind="application/json"):
    header = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": key["kid"], "cty": kind}
    sealed = jwe.JWE(content, json.dumps(header))
    sealed.add_recipient(jwk.JWK(**{**key, "key_ops": ["wrapKey"]}))
    return sealed.serialize(compact=True)


def unseal(key, text):
    opened = jwe.JWE()
    opened.deserialize(text.decode() if isinstance(text, bytes) else text, key)
    return opened.payload


def verified(keys, token):
    read = jws.JWS()
    read.deserialize(token)
    read.verify(keys[read.jose_header["kid"]])
    assert read.jose_header["alg"] == "PS512" and read.jose_header["typ"] == "secevent+jwt"
    return json.loads(read.payload)


def sign(key, claims, **header):
    token = jws.JWS(json.dumps(claims))
    head = {"alg": "PS512", "typ": "secevent+jwt", "kid": key.get("kid"), **header}
    token.add_signature(key, None, json.dumps(head))
    return token.serialize(compact=True)


def event(name, submission, details):
    return {
        "jti": str(uuid.uuid4()), "iss": DESTINATION, "iat": int(time.time()), "sub": f"submission:{submission['submissionId']}",
        "txn": f"case:{submission['caseId']}", "events": {EVENTS + name: details},
    }


def drive(folder):
    done = []

    def cell(name):
        done.append(name)
        print(f"portal  {name:<60} ok")

    public, portal, town = Client(folder), Client(folder).log_in("portal-bund"), Client(folder).log_in("town-1")
    cell("tokens by client credentials")

    def by_certificate(client, name, expect):
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": name})
        return client.call("POST", "/token", form, "application/x-www-form-urlencoded", expect=expect)

    shown = Client(folder).show(folder / "tls/meldebehoerde.crt", folder / "tls/meldebehoerde.key")
    assert by_certificate(shown, "by-certificate", 200)["scope"] == "send"
    shown.call("POST", "/v2/submissions", {}, expect=400)
    public.call("POST", "/v2/submissions", {}, expect=401)
    other = Client(folder).show(folder / "tls/standesamt.crt", folder / "tls/standesamt.key")
    for client, name in ((public, "by-certificate"), (other, "by-certificate"), (shown, "portal-bund")):
        assert by_certificate(client, name, 401)["error"] == "invalid_client"
    cell("a TLS certificate of the account in place of a secret")
    service_keys = {key["kid"]: jwk.JWK(**key) for key in public.call("GET", "/.well-known/jwks.json")["keys"]}
    route = public.call("GET", f"/routing-api/v1/routes?ags=10041100&leikaKey={SERVICE}")["routes"][0]
    signature = jws.JWS()
    signature.deserialize(route["destinationSignature"])
    signature.verify(service_keys[signature.jose_header["kid"]])
    assert json.loads(signature.payload)["destinationId"] == route["destinationId"] == DESTINATION
    cell("route by AGS, its signature verified")
    destination = public.call("GET", f"/v2/destinations/{DESTINATION}")
    key = public.call("GET", f"/v2/destinations/{DESTINATION}/keys/{destination['encryptionKid']}")
    own = {name: jwk.JWK.from_json((folder / f"{name}.json").read_text()) for name in ("enc", "sig")}
    for version, verdict in (("v1", "accept"), ("v2", "reject"), ("v2", "accept")):
        attachments = {str(uuid.uuid4()): os.urandom(1_000_000) for _ in range(2)}
        service = {"name": "Anmeldung", "identifier": f"urn:de:fim:leika:leistung:{SERVICE}"}
        announcement = {"destinationId": DESTINATION, "announcedAttachments": list(attachments)}
        announcement["serviceType" if version == "v1" else "publicService"] = service
        submission = portal.call("POST", f"/{version}/submissions", announcement, expect=201)
        path = f"/{version}/submissions/{submission['submissionId']}"
        sealed = {}
        for name, content in attachments.items():
            sealed[name] = seal(key, content, "application/pdf")
            for _ in range(2):
                portal.call("PUT", f"{path}/attachments/{name}", sealed[name], "application/jose", expect=204)
        body = {"encryptedMetadata": seal(key, b"{}"), "encryptedData": seal(key, '{"name":"Müller"}'.encode())}
        for _ in range(2):
            portal.call("PUT", path, body)
        log_path = f"/v1/cases/{submission['caseId']}/events" if version == "v1" else f"{path}/events"
        keys = {**service_keys, own["sig"].get("kid"): jwk.JWK.from_json(own["sig"].export_public())}
        told = [verified(keys, token) for token in portal.call("GET", log_path)["eventLog"]]
        names = [next(iter(claims["events"])).removeprefix(EVENTS) for claims in told]
        assert names == ["create-submission", "submit-submission", "notify-submission"], names
        cell(f"{version}: announce, two attachments twice, submit twice")

        waiting = town.call("GET", f"/{version}/submissions")["submissions"]
        assert [one["submissionId"] for one in waiting] == [submission["submissionId"]], waiting
        fetched = town.call("GET", path)
        assert json.loads(unseal(own["enc"], fetched["encryptedData"])) == {"name": "Müller"}
        assert unseal(own["enc"], fetched["encryptedMetadata"]) == b"{}"
        for name in fetched["attachments"]:
            assert unseal(own["enc"], town.call("GET", f"{path}/attachments/{name}")) == attachments[name]
        cell(f"{version}: listed, fetched, decrypted")

        tags = {
            "metadata": fetched["encryptedMetadata"].rsplit(".", 1)[1], "data": fetched["encryptedData"].rsplit(".", 1)[1],
            "attachments": {name: text.rsplit(".", 1)[1] for name, text in sealed.items()},
        }
        details = {"authenticationTags": tags}
        if verdict == "reject":
            details = {"problems": [{"type": EVENTS + "problems/missing-data", "title": "t", "detail": "d", "instance": "data"}]}
        claims = event(f"{verdict}-submission", submission, details)
        wrong = {**claims, "sub": "submission:" + str(uuid.uuid4())}
        town.call("POST", log_path, sign(own["sig"], wrong), "application/jose", expect=422)
        town.call("POST", log_path, sign(own["sig"], claims, typ="JWT"), "application/jose", expect=422)
        token = sign(own["sig"], claims)
        for _ in range(2):
            town.call("POST", log_path, token, "application/jose", expect=204)
        log = portal.call("GET", log_path)["eventLog"]
        assert log[-1] == token and verified(keys, log[-1])["iss"] == DESTINATION
        assert town.call("GET", f"/{version}/submissions")["totalCount"] == 0
        cell(f"{version}: {verdict}ed; the portal verifies the authority's token")
    problem = town.call("GET", f"/v2/submissions/{uuid.uuid4()}", expect=404)
    assert problem["type"].endswith("/submission-not-found"), problem
    cell("a foreign id is not found")
    print(f"{len(done)} passed, 0 failed")


def token(folder):
    print(Client(folder).log_in("both").token)


if __name__ == "__main__":
    {"prepare": prepare, "drive": drive, "token": token}[sys.argv[1]](pathlib.Path(sys.argv[2]))
