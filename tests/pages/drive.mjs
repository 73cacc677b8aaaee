// All pages, one after the other; each check is a line, the first that fails ends it unless PAGES_GO_ON is set.

import * as browser from "./browser.mjs";
import { Office, end, killAll } from "./office.mjs";
import { door } from "./door.mjs";
import { portal } from "./portal.mjs";
import { register } from "./register.mjs";

let passed = 0, failed = 0;
async function check(name, work) {
    try {
        await work();
    } catch (error) {
        if (!process.env.PAGES_GO_ON) throw error;
        failed += 1;
        return console.log(`pages  ${name.padEnd(88)} FAILED: ${String(error.message).split("\n").slice(0, 3).join(" | ")}`);
    }
    passed += 1;
    console.log(`pages  ${name.padEnd(88)} ok`);
}

let chromium;
try {
    chromium = await browser.open();
    const office = await Office.open();
    for (const [name, look] of Object.entries({ door, portal, register })) {
        if ([undefined, name].includes(process.env.PAGES_ONLY)) await look(check, chromium, office);
    }
    await check("what was started ends well, without an error in its log", end);
    console.log(`${passed} passed, ${failed} failed`);
    if (failed) process.exitCode = 1;
} catch (error) {
    console.error(error);
    killAll();
    console.log(`${passed} passed, ${failed + 1} failed`);
    process.exitCode = 1;
} finally {
    await chromium?.close();
}
