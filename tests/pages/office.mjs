// A post office with a portal's door, and the authority behind it: keys made here, content opened here, by the Web
// Cryptography of Node.js. Nothing of ours but URLs and field names.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, webcrypto as crypto } from "node:crypto";
import { appendFileSync, openSync, readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import { createServer } from "node:net";
import { join } from "node:path";

const BINARY = process.env.AMTSBOTE_BIN;
export const DESTINATION = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
export const SERVICE = "99050012104000";
export const REGION = "100410100100";
const EVENTS = "https://schema.fitko.de/fit-connect/events/";
export const SECRETS = { "portal-1": "portal " + "s".repeat(40), "town-1": "town & " + "t".repeat(40) };

const started = [];
/// Ends what was started here; it must drain, and its log have no error but those that were provoked.
export async function end() {
    for (const { child, log, name, expected } of started.reverse()) {
        const ended = new Promise((done) => child.once("exit", done));
        if (child.exitCode === null) {
            child.kill("SIGTERM");
            const cut = setTimeout(() => child.kill("SIGKILL"), 20_000);
            await ended;
            clearTimeout(cut);
        }
        assert.equal(child.exitCode, 0, `${name} ended badly: ${readFileSync(log, "utf8").slice(-2000)}`);
        const errors = readFileSync(log, "utf8").split("\n").filter((line) => /\bERROR\b/.test(line));
        const unexpected = errors.filter((line) => !expected.some((code) => line.includes(code)));
        assert.deepEqual(unexpected, [], `${name} logged an error`);
        for (const code of expected) assert.ok(errors.some((line) => line.includes(code)), `${name} did not log ${code}`);
    }
}

export function killAll() {
    started.forEach(({ child }) => child.kill("SIGKILL"));
}

export async function freePort() {
    const server = createServer();
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address();
    await new Promise((done) => server.close(done));
    return port;
}

/// `expected` are codes of errors that a test provokes.
export function start(name, binary, args, folder, expected = []) {
    const log = join(process.env.PAGES_WORK, `${name}.log`);
    const out = openSync(log, "a");
    const child = spawn(binary, args, { cwd: folder, stdio: ["ignore", out, out] });
    started.push({ child, log, name, expected });
    return { child, log };
}

export async function until(what, ask, seconds = 90) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
        const answer = await ask();
        if (answer) return answer;
        if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
        await new Promise((done) => setTimeout(done, 100));
    }
}

const rsa = (name, hash, usages) => crypto.subtle.generateKey(
    { name, hash, modulusLength: 4096, publicExponent: new Uint8Array([1, 0, 1]) }, true, usages);

export class Office {
    static async open() {
        const office = new Office();
        office.folder = join(process.env.PAGES_WORK, "office");
        const any = "127.0.0.1:0";
        execFileSync(BINARY, ["init", office.folder, "--xta", any, "--osci", any, "--operator", any], { stdio: "pipe" });
        const port = await freePort();
        office.url = `https://localhost:${port}`;
        office.authority = join(office.folder, "tls/ca.crt");
        const config = join(office.folder, "amtsbote.toml");
        const text = readFileSync(config, "utf8");
        const changed = text.replace('# address = "0.0.0.0:8445"', `address = "127.0.0.1:${port}"`)
            .replace('url = "https://localhost:8445"', `url = "${office.url}"`);
        assert.ok(changed.includes(office.url), "the configuration has no [portal]");
        writeFileSync(config, changed);
        await office.#takePart();
        const { child, log } = start("office", BINARY, ["serve"], office.folder);
        await until("the post office", async () => {
            assert.equal(child.exitCode, null, readFileSync(log, "utf8").slice(-2000));
            return office.get("/").then((answer) => answer.status === 200, () => false);
        });
        execFileSync(BINARY, ["participant", "apply", "participants.toml", "--yes", "--reason", "pages"],
            { cwd: office.folder, stdio: "pipe" });
        return office;
    }

    async #takePart() {
        const shown = async (key, kid, alg, use) => {
            const { n, e } = await crypto.subtle.exportKey("jwk", key);
            return JSON.stringify({ kty: "RSA", kid, alg, key_ops: [use], n, e });
        };
        const [sealing, signing] = await Promise.all([
            rsa("RSA-OAEP", "SHA-256", ["decrypt", "encrypt"]), rsa("RSA-PSS", "SHA-512", ["sign", "verify"])]);
        this.opening = sealing.privateKey;
        this.signing = signing.privateKey;
        const digest = (name) => createHash("sha256").update(SECRETS[name]).digest("hex");
        appendFileSync(join(this.folder, "participants.toml"), `
[[account]]
name = "portal-1"
identifiers = [{ value = "portal:one" }]
[[account.portal.client]]
id = "portal-1"
secret_sha256 = "${digest("portal-1")}"
sends = true

[[account]]
name = "town"
identifiers = [{ value = "portal:town" }]
[[account.portal.client]]
id = "town-1"
secret_sha256 = "${digest("town-1")}"
subscribes = true
[[account.portal.destination]]
id = "${DESTINATION}"
name = "Gewerbeamt <Süd> & Co"
encryption_kid = "town-enc"
keys = [{ jwk = '${await shown(sealing.publicKey, "town-enc", "RSA-OAEP-256", "wrapKey")}' },
        { jwk = '${await shown(signing.publicKey, "town-sig", "PS512", "verify")}' }]
serves = [{ services = ["${SERVICE}"], regions = ["${REGION}"] }]
`);
    }

    call(method, path, { body, type = "application/json", token } = {}) {
        const headers = {};
        if (body !== undefined) headers["content-type"] = type;
        if (token) headers.authorization = `Bearer ${token}`;
        return new Promise((done, failed) => {
            const asked = https.request(this.url + path,
                { method, headers, ca: readFileSync(this.authority), timeout: 60_000 }, (answer) => {
                    const parts = [];
                    answer.on("data", (part) => parts.push(part));
                    answer.on("end", () => done({ status: answer.statusCode, text: Buffer.concat(parts).toString() }));
                });
            asked.on("error", failed);
            asked.on("timeout", () => asked.destroy(new Error("time is over")));
            asked.end(body);
        });
    }

    get(path, token) {
        return this.call("GET", path, { token });
    }

    async #token() {
        const form = new URLSearchParams({
            grant_type: "client_credentials", client_id: "town-1", client_secret: SECRETS["town-1"] });
        const type = "application/x-www-form-urlencoded";
        const answer = await this.call("POST", "/token", { body: form.toString(), type });
        assert.equal(answer.status, 200, answer.text);
        return JSON.parse(answer.text).access_token;
    }

    /// What waits for the authority, opened with its key.
    async fetched() {
        const token = await this.#token();
        const list = JSON.parse((await this.get("/v2/submissions", token)).text).submissions;
        return Promise.all(list.map(async ({ submissionId, caseId }) => {
            const one = JSON.parse((await this.get(`/v2/submissions/${submissionId}`, token)).text);
            const attachments = {}, sealed = {};
            for (const id of one.attachments) {
                sealed[id] = (await this.get(`/v2/submissions/${submissionId}/attachments/${id}`, token)).text;
                attachments[id] = await this.#opened(sealed[id]);
            }
            const metadata = await this.#opened(one.encryptedMetadata), data = await this.#opened(one.encryptedData);
            return { ...one, submissionId, caseId, attachments, sealed, metadata, data };
        }));
    }

    async #opened(message) {
        const [header, key, iv, text, tag] = message.split(".");
        const bytes = (part) => Buffer.from(part, "base64url");
        const said = JSON.parse(bytes(header));
        assert.deepEqual([said.alg, said.enc, said.kid], ["RSA-OAEP-256", "A256GCM", "town-enc"]);
        const secret = await crypto.subtle.decrypt({ name: "RSA-OAEP" }, this.opening, bytes(key));
        const content = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["decrypt"]);
        return Buffer.from(await crypto.subtle.decrypt(
            { name: "AES-GCM", iv: bytes(iv), additionalData: Buffer.from(header) }, content,
            Buffer.concat([bytes(text), bytes(tag)])));
    }

    /// The authority's word about a submission: accept-submission or reject-submission.
    async says(event, one) {
        const tag = (message) => message.split(".")[4];
        const accepted = { authenticationTags: {
            metadata: tag(one.encryptedMetadata), data: tag(one.encryptedData),
            attachments: Object.fromEntries(Object.entries(one.sealed).map(([id, text]) => [id, tag(text)])) } };
        const rejected = { problems: [{ type: EVENTS + "problems/missing-data", title: "Angaben fehlen",
            detail: "Es fehlt <b>ein Nachweis</b>", instance: "data" }] };
        const claims = {
            jti: crypto.randomUUID(), iss: DESTINATION, iat: Math.floor(Date.now() / 1000),
            sub: `submission:${one.submissionId}`, txn: `case:${one.caseId}`,
            events: { [EVENTS + event]: event === "accept-submission" ? accepted : rejected } };
        const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
        const text = `${encoded({ alg: "PS512", typ: "secevent+jwt", kid: "town-sig" })}.${encoded(claims)}`;
        const signature = await crypto.subtle.sign({ name: "RSA-PSS", saltLength: 64 }, this.signing, Buffer.from(text));
        const body = `${text}.${Buffer.from(signature).toString("base64url")}`;
        const answer = await this.call("POST", `/v1/cases/${one.caseId}/events`,
            { body, type: "application/jose", token: await this.#token() });
        assert.equal(answer.status, 204, answer.text);
    }
}
