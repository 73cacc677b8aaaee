// What a person sees who opens the address of the portal's door.

import assert from "node:assert/strict";

import { judge, tabTo, window } from "./browser.mjs";

export async function door(check, chromium, office) {
    for (const script of [true, false]) {
        await check(`the door's own page, ${script ? "with" : "without"} script`, async () => {
            const view = await window(chromium, { script });
            for (const path of ["/", "/problems", "/problems/no-destination"]) {
                const answer = await view.page.goto(office.url + path);
                assert.equal(answer.status(), 200);
                await judge(view, path);
            }
            await view.page.goto(office.url);
            await tabTo(view.page, "a[href='/openapi.json']");
            await view.close();
        });
    }
}
