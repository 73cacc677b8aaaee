// A headless Chromium and what every page is held to: axe without a violation, no error on its console, nothing loaded
// from elsewhere, no sideways scrolling at 320 pixels, a visible focus on whatever the keyboard reaches.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";

const require = createRequire(process.env.PAGES_MODULES);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
// WCAG 2.2 AA is what is owed; best practices come on top.
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

export const open = () => chromium.launch({ executablePath: process.env.PAGES_CHROMIUM, args: ["--disable-gpu"] });

/// A window of its own, with an eye on what it loads and says.
export async function window(browser, { script = true, width = 1280, language = "de-DE" } = {}) {
    const context = await browser.newContext({
        viewport: { width, height: 900 }, locale: language, ignoreHTTPSErrors: true,
        reducedMotion: "reduce", colorScheme: "light",
    });
    context.setDefaultTimeout(60_000);
    const page = await context.newPage();
    // A session of our own, so that script can be switched on for axe alone.
    const session = await context.newCDPSession(page);
    await session.send("Emulation.setScriptExecutionDisabled", { value: !script });
    const faults = [];
    // A refusal is the page's or the script's business and judged there; the browser's own line about it says no more.
    page.on("console", (said) => ["error", "warning"].includes(said.type())
        && !said.text().startsWith("Failed to load resource: the server responded") && faults.push(said.text()));
    page.on("response", (answer) => answer.status() >= 400 && !["document", "fetch"].includes(answer.request().resourceType())
        && faults.push(`${answer.status()} for ${answer.url()}`));
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("request", (request) => {
        const { protocol, hostname } = new URL(request.url());
        const local = ["localhost", "127.0.0.1"].includes(hostname);
        if (!local && !["blob:", "about:"].includes(protocol)) faults.push(`loads ${request.url()}`);
    });
    return { page, session, faults, script, close: () => context.close() };
}

/// The page as it stands: what axe finds, at full width and at 320 pixels (WCAG 1.4.10), dark and light.
export async function judge({ page, session, faults, script }, what) {
    const html = await page.content();
    assert.ok(/<html[^>]* lang="(de|en)"/.test(html), `${what}: no language`);
    assert.ok(!/ style=|<style| on[a-z]+="/.test(html), `${what}: style or script inside the page`);
    for (const scheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: scheme });
        const found = await axe(session, script);
        assert.deepEqual(found, [], `${what} (${scheme})`);
    }
    await page.emulateMedia({ colorScheme: "light" });
    const size = page.viewportSize();
    await page.setViewportSize({ width: 320, height: 640 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 320, `${what}: ${wide} pixels wide in a window of 320`);
    await page.setViewportSize(size);
    assert.deepEqual(faults.splice(0), [], `${what}: console or foreign resources`);
}

// In a world of its own, beside the page's. Where script is off it is switched on for axe alone: the page's own scripts
// were passed over when it was loaded, and stay so.
async function axe(session, script) {
    await session.send("Emulation.setScriptExecutionDisabled", { value: false });
    const { frameTree } = await session.send("Page.getFrameTree");
    const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
    const evaluate = async (expression) => {
        const asked = { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true };
        const late = new Promise((_, failed) => setTimeout(failed, 60_000, new Error("axe does not answer")).unref());
        const { result, exceptionDetails } = await Promise.race([session.send("Runtime.evaluate", asked), late]);
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
    };
    await evaluate(AXE + "; undefined");
    const options = JSON.stringify({ runOnly: RULES, resultTypes: ["violations"] });
    const found = await evaluate(`axe.run(document, ${options}).then((all) => JSON.stringify(all.violations.map(
        (one) => one.id + ": " + one.help + " " + one.nodes.map((node) => node.target.join(" ") + " " + node.failureSummary))))`);
    await session.send("Emulation.setScriptExecutionDisabled", { value: !script });
    return JSON.parse(found);
}

/// Walks with the Tab key until `selector` has the focus; every stop on the way must show that it has it.
export async function tabTo(page, selector, steps = 60) {
    for (let step = 0; step < steps; step++) {
        await page.keyboard.press("Tab");
        const at = await page.evaluate((selector) => {
            const focused = document.activeElement;
            const look = getComputedStyle(focused);
            const shown = focused === document.body || (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2);
            return { there: focused.matches(selector), shown, what: focused.outerHTML.slice(0, 120) };
        }, selector);
        assert.ok(at.shown, `the focus cannot be seen on ${at.what}`);
        if (at.there) return;
    }
    assert.fail(`the keyboard does not reach ${selector}`);
}
