"""Both ends of the portal door with SDKs that others made for FIT-Connect and published on PyPI, `fitconnect` (sender and
subscriber, version 1 of the API) and `fitconnect-client` (sender): `portal_sdk.py FOLDER`, with what portal.py prepared.
Of the SDKs nothing is changed but the two URLs that they know their environment by, and whom requests believes."""

import logging
import os
import pathlib
import sys
import uuid

folder = pathlib.Path(sys.argv[1])
os.environ["REQUESTS_CA_BUNDLE"] = str(folder / "tls/ca.crt")

import fitconnect
import fitconnect.fitconnect
import fitconnect_client
import fitconnect_client.client
from fitconnect_client.environment import ENV_CONFIG
from fitconnect_client.objects.exception import APIError
from jwcrypto import jwk

import portal

logging.disable(logging.INFO)
TESTING = fitconnect.Environment.TESTING
fitconnect.fitconnect._ENVIRONMENT_CONFIG[TESTING].update(TOKEN_URL=portal.URL + "/token", SUBMISSION_API_URL=portal.URL + "/v1")
ENV_CONFIG[fitconnect_client.Environment.TESTING].update(OAUTH_ENDPOINT=portal.URL + "/token", SUBMISSION_API=portal.URL + "/v1")
SERVICE = f"urn:de:fim:leika:leistung:{portal.SERVICE}"
done = []


def cell(name):
    done.append(name)
    print(f"portal  {name:<60} ok")


def client(name):
    return fitconnect.FITConnectClient(TESTING, name, portal.SECRETS[name])


def refused(words, call, *arguments, error=ValueError):
    """What the SDK makes of a refusal; it reads status, `error` and the problem's type."""
    try:
        call(*arguments)
    except error as seen:
        assert words in str(seen), f"{seen}, not {words}"
    else:
        raise AssertionError(f"nothing was refused: {words}")


def accept(town, submission, metadata, data, attachments):
    """Neither SDK writes events."""
    tags = {"metadata": metadata.rsplit(".", 1)[1], "attachments": {name: text.rsplit(".", 1)[1] for name, text in attachments.items()}}
    if data:
        tags["data"] = data.rsplit(".", 1)[1]
    claims = portal.event("accept-submission", submission, {"authenticationTags": tags})
    key = jwk.JWK.from_json((folder / "sig.json").read_text())
    town.call("POST", f"/v1/cases/{submission['caseId']}/events", portal.sign(key, claims), "application/jose", expect=204)


sender, subscriber = client("portal-bund"), client("town-1")
town = portal.Client(folder).log_in("town-1")
private = portal.json.loads((folder / "enc.json").read_text())
key = jwk.JWK.from_json((folder / "enc.json").read_text())
assert subscriber.available_submissions() == []
assert sender.get_destination(portal.DESTINATION).json()["status"] == "active"

form = {"$schema": "https://schema.example.org/registration.json", "name": "Müller & <Söhne>"}
# jwcrypto, which fitconnect decrypts with, inflates at most 256 KiB.
for attachments in ([], [os.urandom(150_000)]):
    told = sender.submission(portal.DESTINATION, SERVICE, data=form, attachments=attachments)
    [waiting] = subscriber.available_submissions()
    assert waiting["submissionId"] == told["submissionId"] and waiting["caseId"] == told["caseId"], (waiting, told)
    assert waiting["destinationId"] == portal.DESTINATION
    read = subscriber.retrieve_submission(told["submissionId"], private)
    assert read["data_json"] == form and list(read["attachments"].values()) == attachments
    assert read["serviceType"]["identifier"] == SERVICE
    cell(f"fitconnect: sent, listed, read with {len(attachments)} attachments")
    path = f"/v1/submissions/{told['submissionId']}"
    sealed = {name: town.call("GET", f"{path}/attachments/{name}").decode() for name in read["attachments"]}
    accept(town, told, read["encryptedMetadata"], read["encryptedData"], sealed)
    assert subscriber.available_submissions() == []
    log = sender._authorized_get(f"/cases/{told['caseId']}/events").json()["eventLog"]
    assert len(log) == 4, log
    cell("fitconnect: accepted, listed no more, and the sender sees it")

refused("client authentication", fitconnect.FITConnectClient(TESTING, "town-1", "wrong").available_submissions)
refused("assign a destination", client("lost").available_submissions)
refused("destination does not exist", sender.create_submission, str(uuid.uuid4()), SERVICE)
refused("Submission not found", subscriber.retrieve_submission, str(uuid.uuid4()), private)
cell("fitconnect: knows our refusals by type")
# It announces one id for all of several attachments, and would write one over the other.
refused("announced twice", sender.submission, portal.DESTINATION, SERVICE, None, None, form, None, None, None, [b"1", b"2"])
cell("fitconnect: one id for two attachments is refused before anything is lost")

other = fitconnect_client.FitconnectClient(fitconnect_client.Environment.TESTING, "portal-bund", portal.SECRETS["portal-bund"])
refused("token-invalid", other.create_submission, portal.DESTINATION, SERVICE, "Anmeldung", [], error=APIError)
other.obtain_access_token()
files = []
for name in ("Plan ä.pdf", "Bild.png"):
    (folder / name).write_bytes(os.urandom(140_000))
    files.append(fitconnect_client.client.Attachment(str(folder / name), description="Anlage"))
submission = other.create_submission(portal.DESTINATION, SERVICE, "Anmeldung", files)
metadata = other.create_metadata("2026-11-29", "A-1", form["$schema"], None, "ute@example.org", files)
told = other.send_submission(submission, metadata)
fetched = town.call("GET", f"/v1/submissions/{told['submissionId']}")
assert portal.json.loads(portal.unseal(key, fetched["encryptedMetadata"])) == metadata
sealed = {name: town.call("GET", f"/v1/submissions/{told['submissionId']}/attachments/{name}").decode() for name in fetched["attachments"]}
assert {name: portal.unseal(key, text) for name, text in sealed.items()} == {one.id: one.path.read_bytes() for one in files}
accept(town, told, fetched["encryptedMetadata"], None, sealed)
cell("fitconnect-client: sent with two attachments and no data")
print(f"{len(done)} passed, 0 failed")
