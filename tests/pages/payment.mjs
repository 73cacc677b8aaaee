// A payment service with the interface XBezahldienste, and the page on which a person pays there: by another host name, so
// that it is another site to the browser. It does what it is told, which need not be what the register expects.

import { readFileSync } from "node:fs";
import https from "node:https";
import { join } from "node:path";

export const TOKEN = "geheim-" + "p".repeat(20);
const BASE = "/xb/paymenttransaction/meldeportal/10";

export class PaymentService {
    /// By request id: what was asked for, and how it stands.
    kept = new Map();
    /// Questions and requests of the register, in order.
    asked = [];
    /// "" or "away".
    mood = "";

    static async open(folder) {
        const service = new PaymentService();
        const tls = { key: readFileSync(join(folder, "tls/server.key")), cert: readFileSync(join(folder, "tls/server.crt")) };
        service.server = https.createServer(tls, (request, response) => service.#take(request, response));
        await new Promise((done) => service.server.listen(0, "127.0.0.1", done));
        const { port } = service.server.address();
        service.url = `https://localhost:${port}/xb`;
        service.page = `https://127.0.0.1:${port}`;
        return service;
    }

    close() {
        this.server.closeAllConnections();
        this.server.close();
    }

    get last() {
        return [...this.kept.values()].at(-1);
    }

    async #take(request, response) {
        const parts = [];
        for await (const part of request) parts.push(part);
        const [path] = request.url.split("?");
        const say = (status, value, type = "application/json") => {
            response.writeHead(status, { "content-type": type });
            response.end(typeof value === "string" ? value : JSON.stringify(value));
        };
        if (path === "/favicon.ico") return say(204, "", "image/x-icon");
        if (path.startsWith("/pay/")) return this.#person(request.method, path, response, say);
        this.asked.push(`${request.method} ${path}`);
        if (this.mood === "away") return say(503, {});
        if (request.headers.authorization !== `Bearer ${TOKEN}`) return say(403, { type: "FORBIDDEN" });
        if (request.method === "POST" && path === BASE) {
            const wanted = JSON.parse(Buffer.concat(parts));
            if (this.kept.has(wanted.requestId)) return say(409, { type: "PAYMENT_EXISTS" });
            const one = { id: `t-${this.kept.size + 1}`, wanted, status: "INITIAL", amount: wanted.grosAmount };
            this.kept.set(wanted.requestId, one);
            return say(200, this.#told(one));
        }
        const id = path.slice(BASE.length + 1);
        const one = [...this.kept.values()].find((known) => known.id === id || known.wanted.requestId === id);
        return one && path.startsWith(BASE) ? say(200, this.#told(one)) : say(404, "", "text/plain");
    }

    #told({ id, wanted, status, amount }) {
        const more = status === "INITIAL" ? { transactionRedirectUrl: `${this.page}/pay/${id}` }
            : { transactionReference: "KZ-<7>" };
        return { paymentInformation: { transactionUrl: "https://elsewhere.invalid/", transactionId: id, status, ...more },
            paymentRequest: { ...wanted, grosAmount: amount } };
    }

    /// What the person who pays sees; each button is a way to come back.
    #person(method, path, response, say) {
        const [, , id, verdict] = path.split("/");
        const one = [...this.kept.values()].find((known) => known.id === id);
        if (!one) return say(404, "", "text/plain");
        if (method === "GET") {
            const button = (word) => `<button formaction="/pay/${id}/${word}">${word}</button>`;
            return say(200, `<!doctype html><title>Bezahldienst</title><form method="post">${
                ["PAYED", "CANCELED", "FAILED", "nothing"].map(button).join("")}</form>`, "text/html");
        }
        if (verdict !== "nothing") one.status = verdict;
        response.writeHead(303, { location: one.wanted.redirectUrl });
        response.end();
    }
}
