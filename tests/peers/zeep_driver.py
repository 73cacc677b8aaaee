"""One call of the XTA web service per run, through zeep reading the server's own WSDL.

zeep sends content inline as base64 and reads it from MTOM parts. Data goes to standard output; a fault is one line
"fault CODE NAME" and exit code 3. Settings come from PEER_URL, PEER_CA, PEER_CERT, PEER_KEY and PEER_SELF.
"""

import datetime
import os
import pathlib
import sys

import requests
import zeep
import zeep.exceptions
import zeep.transports

ATTACHMENTS = ("one.bin", "two.txt", "empty.bin", "large.bin")


def connect():
    session = requests.Session()
    session.verify = os.environ["PEER_CA"]
    session.cert = (os.environ["PEER_CERT"], os.environ["PEER_KEY"])
    session.trust_env = False
    transport = zeep.transports.Transport(session=session, timeout=30, operation_timeout=60)
    return zeep.Client(os.environ["PEER_URL"] + "/services/XTAService?wsdl", transport=transport)


def party(value):
    return {"Identifier": {"_value_1": value, "type": "xoev"}}


def part(file, content_type):
    return {"_value_1": file.read_bytes(), "contentType": content_type, "filename": file.name}


class Driver:
    def __init__(self):
        client = connect()
        self.self_party = party(os.environ["PEER_SELF"])
        self.author = {"author": self.self_party}
        self.management = client.bind("XTAService", "ManagementPort")
        self.send_port = client.bind("XTAService", "SendXtaPort")
        self.box = client.bind("XTAService", "MsgBoxPort")

    def check(self):
        self.management.checkAccountActive(_soapheaders=self.author)

    def lookup(self, reader, service):
        question = [{"LookupService": {"Reader": party(reader), "ServiceType": service}}]
        result = self.management.lookupService(question, _soapheaders=self.author)
        answer = result[0] if isinstance(result, list) else result["LookupServiceResult"][0]
        if answer["ServiceType"] != service:
            raise SystemExit(f"the answer quotes another service: {answer['ServiceType']}")
        value = answer["IsServiceAvailableValue"]
        # zeep drops a choice whose one value is false.
        available = value["ServiceIsAvailable"] if "ServiceIsAvailable" in value else False
        print("unknown" if available is None else str(available).lower())

    def new(self):
        print(text(self.management.createMessageId(_soapheaders=self.author)))

    def send(self, message_id, reader, service, folder, not_before=None):
        folder = pathlib.Path(folder)
        delivery = {}
        if not_before:
            delivery["NotBefore"] = datetime.datetime.fromisoformat(not_before.replace("Z", "+00:00"))
        order = {
            "DeliveryAttributes": delivery,
            "Originators": {"Author": self.self_party},
            "Destinations": {"Reader": party(reader)},
            "MsgIdentification": {"MessageID": message_id},
            "Qualifier": {
                "Subject": "Prüfnachricht",
                "Service": service,
                "BusinessScenario": {
                    "Defined": {
                        "code": "XMELD_DATA",
                        "listURI": "urn:de:xta:codeliste:business.scenario",
                        "listVersionID": "3.6",
                    }
                },
                "MessageType": {
                    "code": "rueckmeldung.auswertung.0201",
                    "listURI": "urn:de:payloadSchema:elementName",
                    "listVersionID": "1.0",
                    "payloadSchema": "http://www.osci.de/xmeld2511",
                },
            },
        }
        content = {
            "Message": part(folder / "message.xml", "application/xml"),
            "Attachment": [part(folder / name, "application/octet-stream") for name in ATTACHMENTS],
        }
        self.send_port.sendMessage(ContentContainer=content, _soapheaders={"metadata": order})

    def list(self):
        reply = self.box.getStatusList(maxListItems=100, ListForm="MessageMetaData", _soapheaders=self.author)
        for entry in reply["body"]["MessageMetaData"]:
            print(text(entry["MsgIdentification"]["MessageID"]))

    def get(self, message_id, folder):
        reply = self.box.getMessage(MsgSelector={"MessageID": [message_id]}, _soapheaders=self.author)
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = reply["body"]["ContentContainer"]
        for piece in [content["Message"], *content["Attachment"]]:
            (folder / pathlib.Path(piece["filename"]).name).write_bytes(piece["_value_1"] or b"")
        order = reply["header"]["metadata"]
        facts = (
            text(order["MsgIdentification"]["MessageID"]),
            text(order["Originators"]["Author"]["Identifier"]),
            text(order["Destinations"]["Reader"]["Identifier"]),
            order["Qualifier"]["Service"],
            order["Qualifier"]["MessageType"]["code"],
        )
        (folder / "metadata.txt").write_text("".join(f"{fact}\n" for fact in facts), encoding="utf-8")

    def close(self, message_id):
        self.box.close(LastMsgReceived=[message_id], MsgBoxRequestID="1", _soapheaders=self.author)

    def report(self, message_id):
        report = self.management.getTransportReport(message_id, _soapheaders=self.author)
        print(report["MessageStatus"]["Status"])

    def cancel(self, message_id):
        self.management.cancelMessage(message_id, _soapheaders=self.author)


def text(value):
    """zeep gives a simple type with attributes as an object, and the bare value where there are none."""
    return value if isinstance(value, str) else value["_value_1"]


def main():
    command, *arguments = sys.argv[1:]
    try:
        getattr(Driver(), command)(*arguments)
    except zeep.exceptions.Fault as fault:
        detail = fault.detail[0] if fault.detail is not None and len(fault.detail) else None
        if detail is None:
            raise
        name = detail.tag.rpartition("}")[2]
        print("fault", detail.findtext(".//code"), name)
        sys.exit(3)


if __name__ == "__main__":
    main()
