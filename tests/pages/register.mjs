// The register's own page (amtsbote register serve with [page]): signing in, a single enquiry, its payment at another
// site, a list, fetching again; and what a stranger may not.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import { join } from "node:path";
import tls from "node:tls";

import { judge, tabTo, window } from "./browser.mjs";
import { freePort, start, until } from "./office.mjs";
import { PaymentService, TOKEN } from "./payment.mjs";

const BINARY = process.env.AMTSBOTE_BIN;
const AGS = "10041100";
const PASSWORD = "ein langes Kennwort";
const NEUTRAL = /Aus dem Datenbestand kann keine Auskunft gegeben werden/;

function run(folder, args, input, codes = [0]) {
    const done = spawnSync(BINARY, args, { cwd: folder, input, encoding: "utf8" });
    assert.ok(codes.includes(done.status), `${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
}

/// Twenty invented persons, and three that are asked about: one plain, one locked, one whose names are markup.
function persons(folder) {
    const invented = run(folder, ["register", "synth", "--ags", AGS, "--persons", "20"]).trim().split("\n");
    const model = JSON.parse(invented[0]);
    const made = (mark, family, more = {}) => JSON.stringify({
        ...model, mark, family_names: [family], birth_names: [], given_names: ["Willi Ä."], used_given_name: "Willi",
        birth_dates: ["17031998"], sex: "m", ...more });
    const all = [...invented.slice(1), made("A1", "Adler"), made("L1", "Sperre", { locks: [3] }),
        made("X1", "Markup", { doctorate: "<b>Dr.</b>" })];
    writeFileSync(join(folder, "persons.jsonl"), all.join("\n") + "\n");
    run(folder, ["register", "load", "persons.jsonl", "--ags", AGS, "--generation", "1"]);
    return model.addresses[0];
}

async function open(office) {
    const folder = office.folder;
    const [, xta] = readFileSync(join(process.env.PAGES_WORK, "office.log"), "utf8").match(/XTA 2 at (https:[^ ,]+)/);
    run(folder, ["register", "init"]);
    const address = persons(folder);
    const secret = run(folder, ["register", "password"], PASSWORD + "\n").trim();
    const port = await freePort();
    const url = `https://localhost:${port}`;
    const service = await PaymentService.open(folder);
    writeFileSync(join(folder, "payment.token"), TOKEN + "\n");
    const file = join(folder, "register.toml");
    const text = readFileSync(file, "utf8").replace("https://localhost:8443/", xta)
        .replaceAll("tls/register.", "tls/standesamt.").replace("# bucket_milliseconds = 2000", "bucket_milliseconds = 300");
    const user = (name, kind) => `[[page.user]]\nname = "${name}"\nkind = "${kind}"\n${secret}\n`;
    writeFileSync(file, `${text}
[[rate]]
from = "2026-01-01"
cents = 1050
[payment]
url = "${service.url}"
originator = "meldeportal"
endpoint = "10"
anchors = ["tls/ca.crt"]
token_file = "payment.token"
answer_seconds = 5
[page]
address = "127.0.0.1:${port}"
url = "${url}"
certificate = "tls/server.crt"
key = "tls/server.key"
list_lines_max = 5
${user("kanzlei", "firm")}${user("frau.muster", "citizen")}`);
    const { child, log } = start("register", BINARY, ["register", "serve"], folder,
        ["register-payment-silent", "register-payment-disputed"]);
    const ca = readFileSync(join(folder, "tls/ca.crt"));
    await until("the register's page", async () => {
        assert.equal(child.exitCode, null, readFileSync(log, "utf8").slice(-2000));
        return new Promise((done) => https.get(url, { ca }, (answer) => {
            answer.resume();
            done(answer.statusCode === 200);
        }).on("error", () => done(false)));
    });
    return { url, folder, address, service, ca, port };
}

const mistakes = (page) => page.locator("#summary li").allTextContents();

async function signIn(page, url, user) {
    await page.goto(url);
    await tabTo(page, "#user");
    await page.keyboard.type(user);
    await tabTo(page, "#password");
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "Einzelne Anfrage stellen" }).waitFor();
}

/// Presses the button that has the focus, and waits for the page behind it.
async function enter(page) {
    const loaded = page.waitForEvent("load");
    await page.keyboard.press("Enter");
    await loaded;
}

/// The single enquiry by keys alone, as far as `data` goes.
async function ask(page, url, data, { tick = ["noTrade", "consent"], purpose = "privat" } = {}) {
    await page.goto(`${url}/enquiry?lang=de`);
    for (const [name, keys] of Object.entries(data)) {
        await tabTo(page, `#${name}`);
        await page.keyboard.type(keys);
    }
    if (purpose) {
        await tabTo(page, "#purpose");
        await page.keyboard.type(purpose);
    }
    for (const name of tick) {
        await tabTo(page, `#${name}`);
        await page.keyboard.press("Space");
    }
    await tabTo(page, "main button[type=submit]");
    await enter(page);
}

/// From the page with the bill to the payment service and back; by keys as long as the pages are ours.
async function pay(page, word = "PAYED") {
    await page.locator("#pay").waitFor();
    await tabTo(page, "#pay");
    await enter(page);
    await page.getByRole("button", { name: word, exact: true }).click();
    await page.waitForURL(/^https:\/\/localhost/);
}

const state = (page) => page.locator("#payment").getAttribute("data-state");
const person = (familyName) => ({ municipality: "Saarbr", familyName, givenNames: "Willi", birthDate: "17.03.1998", sex: "m" });
const number = (page) => page.locator("dd code").textContent();

export async function register(check, chromium, office) {
    const { url, folder, address, service, ca, port } = await open(office);
    const looks = () => Number(run(folder, ["register", "log"]).match(/(\d+) entries/)[1]);
    const view = await window(chromium, { script: false });
    const { page } = view;
    // Headers that never end; looked at when everything else is done.
    const slow = tls.connect({ host: "127.0.0.1", port, servername: "localhost", ca });
    const slowSince = Date.now();
    const slowClosed = new Promise((done) => slow.once("close", () => done(Date.now() - slowSince)));
    slow.on("error", () => {});
    slow.write("POST /enquiry HTTP/1.1\r\nhost: localhost\r\n");

    await check("register: nobody gets in without a password", async () => {
        const some = crypto.randomUUID();
        for (const path of ["/", "/enquiry", "/list", "/answer/1", "/list/1/result.csv", `/payment/${some}`, "/x"]) {
            await page.goto(url + path);
            assert.equal(await page.locator("h1").textContent(), "Anmelden", path);
        }
        await judge(view, "sign in");
        await page.fill("#user", "kanzlei");
        await page.fill("#password", "falsch");
        await page.keyboard.press("Enter");
        await page.locator("#summary").waitFor();
        assert.deepEqual(await mistakes(page), ["Benutzername oder Kennwort ist falsch."]);
        await judge(view, "sign in, wrong");
        const [cookie] = await page.context().cookies();
        assert.deepEqual([cookie.name, cookie.secure, cookie.httpOnly, cookie.sameSite],
            ["__Host-session", true, true, "Lax"]);
        await signIn(page, url, "kanzlei");
        await judge(view, "menu");
        await page.getByRole("link", { name: "English" }).click();
        await judge(view, "menu in English");
    });

    await check("register: each mistake is said at its field", async () => {
        await page.goto(`${url}/enquiry?lang=de`);
        await judge(view, "enquiry");
        await tabTo(page, "main button[type=submit]");
        await page.keyboard.press("Enter");
        await page.locator("#summary").waitFor();
        assert.equal((await mistakes(page)).length, 5);
        assert.equal(await page.evaluate(() => document.activeElement.id), "summary");
        await judge(view, "enquiry, empty");
        for (const path of ["enquiry", "list", "answer"]) {
            await page.goto(`${url}/${path}?lang=en`);
            await tabTo(page, "main button[type=submit]");
            await judge(view, `${path} in English`);
        }
        await page.goto(`${url}/enquiry?lang=en`);
        await tabTo(page, "main button[type=submit]");
        await enter(page);
        assert.deepEqual(await mistakes(page), [
            "Choose a municipality from the list.", "Enter at least one given name.", "State the purpose of the enquiry.",
            "Without the declaration about advertising and address trade no information is given.",
            "Confirm that you know about log, notice and fee."]);
        await judge(view, "enquiry in English, empty");
        const told = async (field, words) => {
            await page.locator(`#${field}-error`).waitFor();
            assert.match(await page.textContent(`#${field}-error`), words);
            assert.equal((await mistakes(page)).length, 1, String(await mistakes(page)));
        };
        const { birthDate, sex, ...bare } = person("Adler");
        for (const [data, how, field, words] of [
            [bare, {}, "birthDate", /zwei weitere Angaben/],
            [{ ...bare, birthDate: "31.02.1998", sex }, {}, "birthDate", /Tag\.Monat\.Jahr/],
            [{ ...bare, sex, maritalStatus: "led" }, {}, "sex", /reichen nicht/],
            [{ ...person("Ad*"), }, {}, "familyName", /Platzhalter/],
            [{ ...person("Adler"), number: "12345" }, {}, "number", /höchstens 4 Zeichen/],
            [{ ...person("Adler"), municipality: "Homb" }, {}, "municipality", /keine Kopie/],
            [person("Adler"), { tick: ["consent"] }, "noTrade", /Werbung und Adresshandel/],
            [person("Adler"), { tick: ["noTrade"] }, "consent", /Protokoll/],
            [person("Adler"), { purpose: "gew" }, "occasion", /gewerblichen Zweck/],
        ]) {
            // In the order of the fields, as the keyboard meets them.
            const order = ["municipality", "familyName", "givenNames", "number", "birthDate", "sex", "maritalStatus"];
            const sorted = Object.fromEntries(order.filter((name) => data[name]).map((name) => [name, data[name]]));
            await ask(page, url, sorted, how);
            await told(field, words);
        }
        assert.equal(looks(), 0, "a refused enquiry was looked up");
        assert.deepEqual(service.asked, [], "a refused enquiry is to be paid");
    });

    let first;
    await check("register: a single enquiry, answered", async () => {
        await ask(page, url, person("Adler"));
        assert.equal(await state(page), "open");
        assert.equal(await page.locator("#sum").textContent(), "10,50 €");
        await judge(view, "payment");
        const english = page.getByRole("link", { name: "English" });
        await english.click();
        assert.equal(await page.locator("#sum").textContent(), "€10.50");
        await judge(view, "payment in English");
        // Coming back proves nothing, by whatever way.
        await pay(page, "nothing");
        assert.equal(await state(page), "open");
        const open = await number(page);
        await page.goto(`${url}/payment/${open}/back?status=PAYED`);
        assert.equal(await state(page), "open");
        await page.goto(`${url}/answer/${open}.1?lang=de`);
        assert.equal(await state(page), "open");
        assert.equal(looks(), 0, "looked at before it was paid");
        assert.ok(!JSON.stringify(service.last.wanted).match(/Adler|Willi|kanzlei/), "the payment service learns who asks whom");
        await pay(page);
        await page.locator("#person").waitFor();
        assert.equal(looks(), 1);
        assert.equal(await number(page), open);
        const text = await page.locator("main").innerText();
        assert.match(text, /Adler/);
        assert.match(text, new RegExp(address.street));
        assert.ok(!text.includes("A1") && !text.includes("1998"), "more is told than the law gives");
        first = { number: await number(page), page: await page.locator("main").innerHTML() };
        await judge(view, "answer");
        await ask(page, url, person("Markup"));
        await pay(page);
        assert.match(await page.locator("#person").innerText(), /<b>Dr\.<\/b>/);
        await page.getByRole("link", { name: "English" }).click();
        await judge(view, "answer in English");
        assert.equal(looks(), 2);
    });

    await check("register: what is not paid as agreed is not put", async () => {
        const before = looks();
        for (const [word, expected] of [["CANCELED", "cancelled"], ["FAILED", "failed"]]) {
            await ask(page, url, person("Adler"));
            await pay(page, word);
            assert.equal(await state(page), expected);
            await judge(view, expected);
        }
        await ask(page, url, person("Adler"));
        service.last.amount = 0.01;
        await pay(page);
        assert.equal(await state(page), "disputed");
        await judge(view, "disputed");
        // A service that is away: nothing is lost, and it is asked again.
        service.mood = "away";
        await ask(page, url, person("Adler"));
        assert.match(await page.textContent("#payment"), /noch nicht geantwortet/);
        await judge(view, "payment service away");
        service.mood = "";
        await until("the payment service answers again", async () => {
            await page.locator("#look").click();
            return page.locator("#pay").count();
        });
        assert.equal(looks(), before);
        await page.getByRole("link", { name: "Übersicht" }).click();
    });

    await check("register: locked and unknown are one answer", async () => {
        const pages = [], bills = new Set();
        for (const name of ["Sperre", "Niemand"]) {
            await ask(page, url, person(name));
            const bill = (await page.locator("main").innerText()).replaceAll(await number(page), "NUMBER").replace(/bis .* Uhr/, "");
            bills.add(bill);
            await pay(page);
            await page.locator("#neutral").waitFor();
            const own = await number(page);
            pages.push((await page.content()).replaceAll(own, "NUMBER").replace(/token" value="[^"]*/g, "token"));
        }
        assert.match(pages[0], NEUTRAL);
        assert.equal(pages[0], pages[1]);
        assert.equal(bills.size, 1, [...bills].join());
        await judge(view, "neutral answer");
    });

    await check("register: an answer is fetched again, by its asker alone", async () => {
        const before = looks();
        await page.goto(`${url}/answer?lang=de`);
        await judge(view, "fetch again");
        await tabTo(page, "#number");
        await page.keyboard.type(first.number);
        await page.keyboard.press("Enter");
        await page.locator("#person").waitFor();
        assert.equal(await page.locator("main").innerHTML(), first.page);
        for (const wrong of ["1", crypto.randomUUID(), "<script>", `${first.number}.0`, `${first.number}.x`]) {
            await page.goto(`${url}/answer?lang=de&number=${encodeURIComponent(wrong)}`);
            assert.match(await page.textContent("#number-error"), /keine Anfrage gestellt/);
            assert.equal(await page.inputValue("#number"), wrong);
        }
        await judge(view, "no such answer");
        const other = await window(chromium);
        await signIn(other.page, url, "frau.muster");
        await ask(page, url, person("Adler"));
        await page.locator("#pay").waitFor();
        const unpaid = await number(page);
        for (const own of [first.number, unpaid]) {
            for (const path of ["answer/N", "answer/N.1", "list/N/result.csv", "payment/N", "payment/N/back"]) {
                const answer = await other.page.goto(`${url}/${path.replace("N", own)}?lang=de`);
                assert.equal(answer.status(), 404, path);
                assert.ok(!/Adler|10,50/.test(await other.page.content()), path);
            }
        }
        await other.close();
        assert.equal(looks(), before, "fetching again is no look");
    });

    await check("register: a list in, a table out", async () => {
        const before = looks();
        const send = async (text) => {
            await page.goto(`${url}/list?lang=de`);
            const buffer = Buffer.from(text);
            if (text) await page.setInputFiles("#file", { name: "l.csv", mimeType: "text/csv", buffer });
            await tabTo(page, "#purpose");
            await page.keyboard.type("gew");
            await tabTo(page, "#occasion");
            await page.keyboard.type("Forderungsmanagement");
            for (const name of ["noTrade", "consent"]) {
                await tabTo(page, `#${name}`);
                await page.keyboard.press("Space");
            }
            await tabTo(page, "main button[type=submit]");
            await enter(page);
        };
        await page.goto(`${url}/list?lang=de`);
        await judge(view, "list");
        const head = "gemeinde;familienname;vornamen;geburtsdatum;geschlecht";
        const line = (name) => `Saarbrücken;${name};Willi;17.03.1998;m`;
        for (const [text, words] of [
            ["", /Wählen Sie eine CSV-Datei/], ["gemeinde;alter;vornamen\n1;2;3", /„alter“ ist nicht bekannt/],
            [[head, ...Array(6).fill(line("Adler"))].join("\n"), /höchstens 5/], [`${head}\n1;2`, /Zeile 2 hat 2 Spalten/],
        ]) {
            await send(text);
            assert.match(await page.textContent("#file-error"), words);
        }
        await judge(view, "list, wrong file");
        assert.equal(looks(), before);
        const place = await page.request.get(`${url}/list/template.csv`);
        assert.match(await place.text(), /gemeinde;familienname/);
        const table = async (list) => page.request.get(`${url}/list/${list}/result.csv`, { maxRedirects: 0 });
        await send([head, `${AGS};Adler;;;`, `${AGS};Adler;Willi;;m`].join("\n"));
        assert.match(await page.textContent("#file-error"), /Zeile 2: .*Vornamen.* Zeile 3: .*zwei weitere Angaben/);
        await send([head, `${AGS};Adler;Willi;17.03.1998;M`, line("Sperre"), `${AGS};Adler;;;`, line("Niemand"),
            `99999999;Adler;Willi;17.03.1998;m`].join("\r\n"));
        assert.equal(await page.locator("#sum").textContent(), "31,50 €");
        assert.equal(await page.locator("#refused li").count(), 2);
        await judge(view, "list, to be paid");
        const list = await number(page);
        assert.equal((await table(list)).status(), 303, "answers before the payment");
        assert.equal(looks(), before);
        await pay(page);
        await page.locator("table").waitFor();
        assert.equal(await number(page), list);
        await judge(view, "list, answered");
        const text = async () => (await table(list)).text();
        const rows = (await text()).replace("\ufeff", "").trim().split("\r\n").map((row) => row.split(";"));
        assert.deepEqual(rows.map((row) => row[2]),
            ["ergebnis", "auskunft", "keine-auskunft", "abgelehnt", "keine-auskunft", "abgelehnt"]);
        assert.deepEqual(rows.map((row) => row[0]), ["zeile", "2", "3", "4", "5", "6"]);
        assert.deepEqual([rows[1][3], rows[2].slice(3).join(""), rows[4].slice(3).join("")], ["Adler", "", ""]);
        assert.match(rows[3].at(-1), /mindestens einen Vornamen/);
        assert.match(rows[5].at(-1), /Gemeinde aus der Liste/);
        assert.equal(await text(), await text());
        assert.equal(looks(), before + 3, "each line that was asked is one look");
        await page.goto(`${url}/answer/${rows[1][1]}?lang=de`);
        assert.match(await page.locator("#person").innerText(), /Adler/);
    });

    await check("register: sent twice is asked once; without its token not at all", async () => {
        const before = looks(), orders = service.kept.size;
        await page.goto(`${url}/enquiry?lang=de`);
        const hidden = (name) => page.locator(`main input[name=${name}]`).getAttribute("value");
        const form = { token: await hidden("token"), attempt: await hidden("attempt"), municipality: AGS,
            familyName: "Adler", givenNames: "Willi", birthDate: "17.03.1998", sex: "m", purpose: "private",
            noTrade: "yes", consent: "yes" };
        const post = (changed = {}) => page.request.post(`${url}/enquiry`, { form: { ...form, ...changed }, maxRedirects: 0 });
        const both = await Promise.all([post(), post()]);
        assert.deepEqual(both.map((one) => one.status()), [303, 303]);
        assert.equal(both[0].headers().location, both[1].headers().location);
        assert.equal(service.kept.size, orders + 1);
        await page.goto(url + both[0].headers().location);
        await pay(page);
        await page.locator("#person").waitFor();
        assert.equal(looks(), before + 1);
        assert.match((await post()).headers().location, /^\/answer\//);
        for (const [changed, status] of [
            [{ token: "" }, 403], [{ token: form.attempt }, 403], [{ attempt: "1" }, 403], [{ familyName: "Habicht" }, 409],
            [{ attempt: crypto.randomUUID(), sex: "y" }, 422], [{ attempt: crypto.randomUUID(), purpose: "task" }, 422],
            [{ attempt: crypto.randomUUID(), municipality: "09162000" }, 422],
            [{ attempt: crypto.randomUUID(), familyName: "x".repeat(70_000) }, 400],
        ]) {
            assert.equal((await post(changed)).status(), status, JSON.stringify(changed).slice(0, 80));
        }
        const fresh = { ...form, attempt: crypto.randomUUID() };
        const foreign = await page.request.post(`${url}/enquiry`,
            { form: fresh, maxRedirects: 0, headers: { "sec-fetch-site": "cross-site" } });
        assert.deepEqual([foreign.status(), foreign.headers()["set-cookie"]], [403, undefined]);
        const huge = Buffer.alloc(2 * 1024 * 1024 + 1, "x");
        const file = { name: "l.csv", mimeType: "text/csv", buffer: huge };
        const listed = await page.request.post(`${url}/list`, { multipart: { ...fresh, file } });
        assert.equal(listed.status(), 400);
        assert.match(await listed.text(), /größer als 2097152 Byte|larger than 2097152 bytes/);
        assert.deepEqual([looks(), service.kept.size], [before + 1, orders + 1]);
        const cases = run(folder, ["register", "cases", "--json"]);
        assert.equal(cases.match(/notice-to-person/g).length, 2, "one notice for each enquiry about the locked person");
    });

    await check("register: signed out is out, and signing in leads back", async () => {
        await page.goto(`${url}/?lang=de`);
        const copied = await page.context().cookies();
        await page.getByRole("button", { name: "Abmelden" }).click();
        await page.locator("#user").waitFor();
        await page.context().addCookies(copied);
        await page.goto(`${url}/?lang=de`);
        assert.equal(await page.locator("h1").textContent(), "Anmelden", "a copied cookie outlives the session");
        await page.goto(`${url}/answer/${first.number}?lang=de`);
        assert.equal(await page.locator("h1").textContent(), "Anmelden");
        await page.fill("#user", "kanzlei");
        await page.fill("#password", PASSWORD);
        await page.keyboard.press("Enter");
        await page.locator("#person").waitFor();
        const log = readFileSync(join(process.env.PAGES_WORK, "register.log"), "utf8");
        assert.ok(!/Adler|Sperre|Niemand|Willi|kanzlei|muster/.test(log), "the log has personal data");
        const bills = JSON.parse(run(folder, ["register", "payments", "--all", "--json"], undefined, [0, 1, 2, 3, 4, 5]));
        const count = (wanted) => bills.filter((bill) => bill.state === wanted).length;
        assert.deepEqual([count("disputed"), count("failed"), count("cancelled"), count("executed")], [1, 1, 1, 0]);
    });

    await check("register: whoever sends too slowly is cut off", async () => {
        const after = await slowClosed;
        assert.ok(after > 5_000 && after < 60_000, `after ${after} ms`);
    });
    await view.close();
    service.close();
}
