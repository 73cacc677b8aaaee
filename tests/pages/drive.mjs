// All pages, one after the other; each check is a line, the first that fails ends it.

import * as browser from "./browser.mjs";
import { Office, end, killAll } from "./office.mjs";
import { door } from "./door.mjs";
import { portal } from "./portal.mjs";
import { register } from "./register.mjs";

let passed = 0;
async function check(name, work) {
    await work();
    passed += 1;
    console.log(`pages  ${name.padEnd(88)} ok`);
}

let chromium;
try {
    chromium = await browser.open();
    const office = await Office.open();
    await door(check, chromium, office);
    await portal(check, chromium, office);
    await register(check, chromium, office);
    await check("what was started ends well, without an error in its log", end);
    console.log(`${passed} passed, 0 failed`);
} catch (error) {
    console.error(error);
    killAll();
    console.log(`${passed} passed, 1 failed`);
    process.exitCode = 1;
} finally {
    await chromium?.close();
}
