// The reference portal (examples/portal): an application from the form to the authority that opens it, with script and
// without, and everything that can be wrong on the way.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import { join } from "node:path";

import { judge, tabTo, window } from "./browser.mjs";
import { SECRETS, SERVICE, freePort, start, until } from "./office.mjs";

const NAME = "O'Neill <script>alert(1)</script> & Söhne";
const entered = {
    givenName: "Ute", familyName: NAME, email: "ute@example.org", start: "31.12.2026", activity: "Bäckerei\n\"Zum Korn\"" };
const sha512 = (bytes) => createHash("sha512").update(bytes).digest("hex");

async function open(office, name = "portal", at = office.url) {
    const secret = join(office.folder, "portal.secret");
    writeFileSync(secret, SECRETS["portal-1"] + "\n");
    const port = await freePort();
    const { child, log } = start(name, process.env.PAGES_PORTAL, ["--office", at, "--anchor", office.authority,
        "--client", "portal-1", "--secret-file", secret, "--listen", `127.0.0.1:${port}`], office.folder);
    const url = `http://127.0.0.1:${port}`;
    await until("the portal", async () => {
        assert.equal(child.exitCode, null, readFileSync(log, "utf8"));
        return fetch(url).then((answer) => answer.ok, () => false);
    });
    return url;
}

/// The line between portal and post office. It loses the answer, and nothing but the answer, to the next request that
/// `loses` describes.
async function lineTo(office) {
    const file = (name) => readFileSync(join(office.folder, "tls", name));
    const line = { loses: null, lost: 0, announced: 0 };
    const server = https.createServer({ cert: file("server.crt"), key: file("server.key") }, (asked, answer) => {
        const { method, url, headers, socket } = asked;
        line.announced += method === "POST" && url.endsWith("/submissions") ? 1 : 0;
        const loses = line.loses?.test(`${method} ${url}`);
        if (loses) line.loses = null;
        const on = https.request(office.url + url, { method, headers, ca: file("ca.crt") }, (told) => {
            if (!loses) return told.pipe(answer.writeHead(told.statusCode, told.headers));
            told.resume().on("end", () => { line.lost += 1; socket.destroy(); });
        });
        on.on("error", () => socket.destroy());
        asked.pipe(on);
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    line.url = `https://localhost:${server.address().port}`;
    line.close = () => { server.close(); server.closeAllConnections(); };
    return line;
}

const mistakes = (page) => page.locator("#summary li").allTextContents();

/// Fills the form by keys alone; the file's dialog belongs to the system, so the file is put into its field.
async function fill(page, file) {
    await page.locator("main").focus();
    for (const [name, keys] of [["place", "Saarbr"], ["service", "Gew"], ...Object.entries(entered)]) {
        await tabTo(page, `#${name}`);
        if (name === "activity") await page.keyboard.insertText(keys);
        else await page.keyboard.type(keys);
    }
    if (file) await page.locator("#attachment").setInputFiles(file);
    await tabTo(page, "#correct");
    if (!(await page.isChecked("#correct"))) await page.keyboard.press("Space");
}

async function send(page) {
    await tabTo(page, "button[type=submit]");
    await page.keyboard.press("Enter");
}

async function arrived(office, submission, content) {
    const all = await office.fetched();
    const one = all.find(({ submissionId }) => submissionId === submission);
    assert.ok(one, `nothing under ${submission} has arrived`);
    const data = JSON.parse(one.data);
    assert.deepEqual({ ...data, activity: data.activity.replaceAll("\r\n", "\n") }, entered);
    const { contentStructure, publicServiceType } = JSON.parse(one.metadata);
    assert.equal(publicServiceType.identifier, `urn:de:fim:leika:leistung:${SERVICE}`);
    assert.equal(contentStructure.data.hash.content, sha512(one.data));
    const [told] = contentStructure.attachments;
    assert.equal(contentStructure.attachments.length, 1);
    assert.deepEqual([told.filename, told.mimeType, told.hash.content], ["Plan ä.pdf", "application/pdf", sha512(content)]);
    assert.ok(one.attachments[told.attachmentId].equals(content), "the attachment is another");
    return one;
}

export async function portal(check, chromium, office) {
    const url = await open(office);
    const pdf = Buffer.concat([Buffer.from("%PDF-1.7\n"), randomBytes(200_000)]);
    for (const script of [true, false]) {
        const how = script ? "with script" : "without script";
        const view = await window(chromium, { script });
        const { page } = view;
        // What the script hands to the network; the browser tells nobody outside what a blob holds.
        const sent = [];
        if (script) {
            await page.exposeFunction("seen", (text) => { sent.push(text); });
            await page.addInitScript(() => {
                const { fetch } = globalThis;
                globalThis.fetch = async (path, { body, ...more } = {}) => {
                    for (const [name, value] of body ?? []) await seen(`${name} ${value.text ? await value.text() : value}`);
                    return fetch(path, { body, ...more });
                };
            });
        }

        await check(`portal ${how}: the form in German and English`, async () => {
            await page.goto(url);
            await judge(view, "form");
            assert.equal(await page.locator("html").getAttribute("lang"), "de");
            await page.getByRole("link", { name: "English" }).click();
            assert.equal(await page.locator("h1").textContent(), "Make an application");
            await judge(view, "form in English");
            await page.getByRole("link", { name: "Deutsch" }).click();
            const said = await page.locator("#privacy").textContent();
            assert.match(said, script ? /in Ihrem Browser verschlüsselt/ : /von diesem Portal verschlüsselt/);
            await page.keyboard.press("Tab");
            assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
        });

        await check(`portal ${how}: an empty form is answered at each field`, async () => {
            await page.goto(`${url}/?lang=en`);
            await send(page);
            await page.locator("#summary").waitFor();
            assert.deepEqual(await mistakes(page), [
                "Choose a municipality from the list.", "Choose a service from the list.", "Enter your given name.",
                "Enter your family name.", "Enter the day it begins.", "Describe the activity.",
                "Confirm that the entries are correct and complete."]);
            assert.equal(await page.evaluate(() => document.activeElement.id), "summary");
            assert.match(await page.title(), /^Error: /);
            await judge(view, "form with mistakes");
            await tabTo(page, "#summary a[href='#start']", 10);
            await page.keyboard.press("Enter");
            assert.equal(await page.evaluate(() => document.activeElement.id), "start");
            const described = await page.getAttribute("#start", "aria-describedby");
            assert.equal(described, "start-hint start-error");
            assert.equal(await page.textContent("#start-error"), "Enter the day it begins.");
        });

        await check(`portal ${how}: wrong entries are named, and nothing entered is lost`, async () => {
            await page.goto(url);
            await fill(page, { name: "plan.exe", mimeType: "application/pdf", buffer: Buffer.from("MZ") });
            await page.fill("#email", "ute@example");
            await page.fill("#start", "31.02.2026");
            await send(page);
            await page.locator("#summary").waitFor();
            assert.deepEqual(await mistakes(page), [
                "Geben Sie die E-Mail-Adresse so ein: name@beispiel.de.",
                "Geben Sie den Tag des Beginns als Tag.Monat.Jahr ein, zum Beispiel 31.12.2026.",
                "Wählen Sie eine Datei vom Typ PDF, PNG oder JPEG."]);
            assert.equal(await page.inputValue("#familyName"), NAME);
            assert.equal(await page.locator("script").count(), 1, "an entry became a script");
            await judge(view, "form with wrong entries");
            await page.locator("#attachment").setInputFiles(
                { name: "a.pdf", mimeType: "application/pdf", buffer: Buffer.alloc(5 * 1024 * 1024 + 1) });
            await page.fill("#email", "");
            await page.fill("#start", "2026-12-31");
            await send(page);
            await page.waitForFunction(() => document.querySelectorAll("#summary li").length === 1);
            assert.deepEqual(await mistakes(page), ["Die Anlage ist größer als 5 MB."]);
        });

        await check(`portal ${how}: a place without an authority is said at the place`, async () => {
            await page.goto(url);
            await fill(page);
            await page.selectOption("#place", { label: "Homburg, Kreisstadt" }).catch(
                () => page.selectOption("#place", { index: 5 }));
            await send(page);
            await page.locator("#place-error").waitFor();
            assert.match(await page.textContent("#place-error"), /noch keine Behörde/);
            await judge(view, "no authority");
        });

        for (const verdict of ["accept-submission", "reject-submission"]) {
            await check(`portal ${how}: sent by keyboard, opened by the authority, ${verdict}`, async () => {
                await page.goto(url);
                await fill(page, { name: "Plan ä.pdf", mimeType: "application/pdf", buffer: pdf });
                await send(page);
                await page.waitForURL(/\/applications\//);
                if (script) {
                    const sizes = ["metadata", "data", "attachment"].map(
                        (name) => sent.findLast((one) => one.startsWith(`${name} ey`))?.length ?? 0);
                    assert.ok(sizes[0] > 700 && sizes[1] > 700 && sizes[2] > pdf.length, `no ciphertext: ${sizes}`);
                    const clear = sent.filter((one) => /Zum Korn|Neill|%PDF|Plan/.test(one));
                    assert.deepEqual(clear, [], "the application left the browser in the clear");
                }
                const events = () => page.locator("#events [data-event]").evaluateAll(
                    (all) => all.map((one) => one.dataset.event));
                assert.deepEqual(await events(), ["create-submission", "submit-submission", "notify-submission"]);
                await judge(view, "state");
                const submission = await page.locator("code").first().textContent();
                const one = await arrived(office, submission, pdf);
                await office.says(verdict, one);
                if (script) {
                    await page.locator(`[data-event=${verdict}]`).waitFor();
                } else {
                    await tabTo(page, "a.button");
                    await page.keyboard.press("Enter");
                    await page.locator(`[data-event=${verdict}]`).waitFor();
                }
                assert.equal((await events()).length, 4);
                if (verdict === "reject-submission") {
                    assert.match(await page.textContent("#events"), /Angaben fehlen: Es fehlt <b>ein Nachweis<\/b>/);
                }
                await judge(view, verdict);
                await page.getByRole("link", { name: "English" }).click();
                assert.equal(await page.locator("h1").textContent(), "Your application");
                await judge(view, "state in English");
            });
        }
        await view.close();
    }

    await check("portal: a form sent twice is one application; without its token it is none", async () => {
        const view = await window(chromium, { script: false });
        const { page } = view;
        const answer = await page.goto(url);
        assert.ok(!/unsafe/.test(answer.headers()["content-security-policy"]));
        const hidden = async (name) => page.locator(`input[name=${name}]`).getAttribute("value");
        const form = { token: await hidden("token"), attempt: await hidden("attempt"), place: "100410100100",
            service: SERVICE, ...entered, correct: "yes" };
        const post = (multipart) => page.request.post(url, { multipart, maxRedirects: 0 });
        const before = (await office.fetched()).length;
        const both = await Promise.all([post(form), post(form)]);
        const places = both.map((one) => one.headers().location);
        assert.ok(both.every((one) => one.status() === 303) && places[0] === places[1], String(places));
        for (const wrong of [{ token: "" }, { token: form.attempt }, { attempt: "1" }]) {
            assert.equal((await post({ ...form, ...wrong })).status(), 403);
        }
        for (const site of ["cross-site", "same-site"]) {
            const headers = { "sec-fetch-site": site };
            const answer = await page.request.post(url, { multipart: { ...form, attempt: crypto.randomUUID() }, headers });
            assert.equal(answer.status(), 403, site);
        }
        // Another session's token.
        const stranger = await window(chromium);
        await stranger.page.goto(url);
        const token = await stranger.page.locator("input[name=token]").getAttribute("value");
        assert.equal((await post({ ...form, token, attempt: crypto.randomUUID() })).status(), 403);
        await stranger.close();
        for (const wrong of [{ place: "1" }, { service: "99000000000000" }]) {
            assert.equal((await post({ ...form, ...wrong, attempt: crypto.randomUUID() })).status(), 422);
        }
        assert.equal((await office.fetched()).length, before + 1);
        for (const path of ["/applications/1/2", `/applications/${places[0].split("/")[2]}/${crypto.randomUUID()}`, "/x"]) {
            assert.equal((await page.goto(url + path)).status(), 404, path);
        }
        await judge(view, "not found");
        await view.close();
    });
    await losses(check, chromium, office);
}

/// One application is one submission, whatever is clicked and whichever answer is lost.
async function losses(check, chromium, office) {
    const line = await lineTo(office);
    const url = await open(office, "portal-behind-a-line", line.url);
    const last = /^PUT \/v2\/submissions\/[^/]+$/, upload = /^PUT .*\/attachments\//, announcement = /^POST .*\/submissions$/;
    const content = randomBytes(300_000);
    const file = { name: "Plan ä.pdf", mimeType: "application/pdf", buffer: content };
    for (const script of [true, false]) {
        const how = script ? "with script" : "without script";
        const view = await window(chromium, { script });
        const { page } = view;
        await page.addInitScript(() => {
            const { fetch } = globalThis;
            globalThis.fetch = async (path, more) => {
                const answer = await fetch(path, more);
                if (!String(path).startsWith(globalThis.loses)) return answer;
                globalThis.loses = undefined;
                throw new TypeError("lost");
            };
        });
        const sendTwice = async (loses, change) => {
            const before = (await office.fetched()).length, { lost } = line;
            await page.goto(url);
            await fill(page, file);
            if (loses instanceof RegExp) line.loses = loses;
            else await page.evaluate((path) => { globalThis.loses = path; }, loses);
            await send(page);
            await page.locator("#summary").waitFor();
            assert.match((await mistakes(page))[0], /konnte nicht gesendet werden/);
            assert.equal(line.lost - lost, loses instanceof RegExp ? 1 : 0, "no answer was lost");
            if (!script) await page.locator("#attachment").setInputFiles(file);
            await change?.(page);
            await send(page);
            await page.waitForURL(/\/applications\//);
            const all = await office.fetched();
            assert.equal(all.length, before + 1, "one application became another number of submissions");
            return arrived(office, await page.locator("code").first().textContent(), content);
        };

        for (const [what, loses] of [["last", last], ["upload's", upload], ["announcement's", announcement]]) {
            await check(`portal ${how}: the ${what} answer is lost, and the same is sent again`, async () => {
                await office.says("accept-submission", await sendTwice(loses));
                assert.equal(await page.locator("#unsent").count(), 0);
            });
        }
        if (script) {
            for (const path of ["/prepare", "/send"]) {
                await check(`portal ${how}: the portal's answer at ${path} is lost, and the same is sent again`, async () => {
                    const { announced } = line;
                    await office.says("accept-submission", await sendTwice(path));
                    assert.equal(line.announced, announced + 1, "it was announced again");
                });
            }
        }
        await check(`portal ${how}: the last answer is lost, and other entries are sent from the same form`, async () => {
            const one = await sendTwice(last, () => page.fill("#activity", "Konditorei"));
            assert.match(await page.textContent("#unsent"), /die Änderungen wurden nicht gesendet/);
            await judge(view, "sent before");
            await office.says("accept-submission", one);
        });
        await view.close();
    }
    line.close();
}
