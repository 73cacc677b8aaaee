// The form encrypts for the authority by itself; the state looks for news by itself. Without this script both work as
// plain pages. Whatever is wrong is said in the page's own words, at the field and in a summary on top.
"use strict";

const utf8 = new TextEncoder();

function base64url(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Compact JWE (RFC 7516): RSA-OAEP-256 wraps the content key, A256GCM encrypts under it.
async function seal(jwk, type, bytes) {
  const header = base64url(utf8.encode(JSON.stringify({ alg: "RSA-OAEP-256", enc: "A256GCM", kid: jwk.kid, cty: type })));
  const reader = await crypto.subtle.importKey(
    "jwk", { kty: "RSA", n: jwk.n, e: jwk.e }, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const wrapped = await crypto.subtle.encrypt({ name: "RSA-OAEP" }, reader, secret);
  const key = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt"]);
  const sealed = new Uint8Array(await crypto.subtle.encrypt(
    { name: "AES-GCM", iv, additionalData: utf8.encode(header), tagLength: 128 }, key, bytes));
  const parts = [new Uint8Array(wrapped), iv, sealed.subarray(0, -16), sealed.subarray(-16)];
  return [header, ...parts.map(base64url)].join(".");
}

async function hash(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", bytes));
  return { type: "sha512", content: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") };
}

const TYPES = { pdf: "application/pdf", png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg" };
const typeOf = (name) => TYPES[name.includes(".") ? name.split(".").pop().toLowerCase() : ""];

function isDay(text) {
  const parts = text.match(/^(\d{1,2})\s*\.\s*(\d{1,2})\s*\.\s*(\d{4})$/) ?? text.match(/^(\d{4})-(\d{1,2})-(\d{1,2})$/);
  if (!parts) return false;
  const [day, month, year] = (text.includes("-") ? parts.slice(1).reverse() : parts.slice(1)).map(Number);
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCDate() === day && date.getUTCMonth() === month - 1 && date.getUTCFullYear() === year;
}

function mistakeOf(field, form) {
  if (field.type === "checkbox") return field.required && !field.checked ? field.dataset.missing : "";
  if (field.type === "file") {
    const [file] = field.files;
    if (!file) return "";
    if (file.size > 5 * 1024 * 1024) return form.dataset.large;
    return typeOf(file.name) ? "" : field.dataset.malformed;
  }
  const text = field.value.trim();
  if (!text) return field.required ? field.dataset.missing : "";
  if ([...text].length > Number(field.dataset.max)) return field.dataset.long;
  const fits = { day: isDay, "e-mail": (mail) => /^[^\s@]+@[^\s@.][^\s@]*\.[^\s@]*[^\s@.]$/.test(mail) }[field.dataset.rule];
  return !fits || fits(text) ? "" : field.dataset.malformed;
}

const title = document.title;
function show(form, mistakes) {
  document.querySelectorAll(".error, #summary").forEach((old) => old.remove());
  for (const field of form.querySelectorAll("[data-rule]")) {
    field.removeAttribute("aria-invalid");
    const rest = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && !id.endsWith("-error"));
    if (rest.length) field.setAttribute("aria-describedby", rest.join(" ")); else field.removeAttribute("aria-describedby");
  }
  document.title = title.replace(form.dataset.error, "");
  const heading = document.querySelector("h1");
  heading.textContent = heading.textContent.replace(form.dataset.error, "");
  if (!mistakes.length) return;
  document.title = form.dataset.error + document.title;
  heading.textContent = form.dataset.error + heading.textContent;
  const make = (name, more = {}) => Object.assign(document.createElement(name), more);
  const list = make("ul");
  for (const { name, sentence } of mistakes) {
    const entry = make("li");
    entry.append(make("a", { href: "#" + (name || "content"), textContent: sentence }));
    list.append(entry);
    const field = name && form.elements[name];
    if (!field) continue;
    const error = make("p", { className: "error", id: name + "-error", textContent: sentence });
    (field.closest(".choice") ?? field).before(error);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", [field.getAttribute("aria-describedby"), error.id].filter(Boolean).join(" "));
  }
  const summary = make("div", { className: "summary", id: "summary", tabIndex: -1 });
  summary.setAttribute("role", "alert");
  summary.append(make("h2", { textContent: form.dataset.heading }), list);
  heading.after(summary);
  summary.focus();
}

class Refused extends Error {
  constructor({ field, sentence }) {
    super(sentence);
    this.mistake = { name: field, sentence };
  }
}

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", body });
  const told = await answer.json();
  if (!answer.ok) throw new Refused(told);
  return told;
}

// Says to the portal whether two clicks are of the same entries, and nothing else about them: the key stays in this page.
const secret = crypto.getRandomValues(new Uint8Array(32));
async function sameness(entries, content) {
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const said = utf8.encode(JSON.stringify([...entries, content ? (await hash(content)).content : ""]));
  return base64url(new Uint8Array(await crypto.subtle.sign("HMAC", key, said)));
}

async function send(form) {
  const { lang } = form.dataset;
  const text = (name) => form.elements[name].value.trim();
  const carried = { token: text("token"), attempt: text("attempt") };
  const [file] = form.elements.attachment.files;
  const fields = ["givenName", "familyName", "email", "start", "activity"].map((name) => [name, text(name)]);
  const data = utf8.encode(JSON.stringify(Object.fromEntries(fields)));
  const content = file && new Uint8Array(await file.arrayBuffer());
  const chosen = { place: text("place"), service: text("service"), attachments: file ? "1" : "0" };
  const entered = await sameness([...Object.values(chosen), ...fields, file?.name ?? ""], content);
  const told = await post(`/prepare?lang=${lang}`, new URLSearchParams({ ...carried, ...chosen, entered }));
  if (told.location) return told.location;
  const attachments = file ? [{
    attachmentId: told.attachment, hash: await hash(content), purpose: "attachment", filename: file.name,
    mimeType: typeOf(file.name) }] : [];
  const metadata = utf8.encode(JSON.stringify({
    contentStructure: {
      data: { hash: await hash(data),
        submissionSchema: { schemaUri: "urn:example:trade-registration:1", mimeType: "application/json" } },
      attachments },
    publicServiceType: told.service }));
  const body = new FormData();
  for (const [name, value] of Object.entries(carried)) body.append(name, value);
  const add = async (name, type, bytes) => body.append(name, new Blob([await seal(told.key, type, bytes)]), name);
  await add("metadata", "application/json", metadata);
  await add("data", "application/json", data);
  if (file) await add("attachment", typeOf(file.name), content);
  return (await post(`/send?lang=${lang}`, body)).location;
}

const form = document.getElementById("application");
// No Web Cryptography outside a secure context: then the portal encrypts, as it says.
if (form && globalThis.crypto?.subtle) {
  const privacy = document.getElementById("privacy"), progress = document.getElementById("progress");
  privacy.textContent = privacy.dataset.script;
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    const fields = [...form.querySelectorAll("[data-rule]")];
    const wrong = fields.map((field) => ({ name: field.name, sentence: mistakeOf(field, form) }));
    const mistakes = wrong.filter(({ sentence }) => sentence);
    show(form, mistakes);
    if (mistakes.length) return;
    busy = true;
    progress.textContent = form.dataset.working;
    try {
      location.assign(await send(form));
    } catch (error) {
      progress.textContent = "";
      show(form, [error instanceof Refused ? error.mistake : { name: "", sentence: form.dataset.failed }]);
    } finally {
      busy = false;
    }
  });
}

const events = document.getElementById("events");
if (events) {
  const pause = document.getElementById("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
  });
  const end = Date.now() + 30 * 60 * 1000;
  const look = async () => {
    if (pause.getAttribute("aria-pressed") !== "true" && !document.hidden) {
      const answer = await fetch(events.dataset.source).catch(() => null);
      if (answer?.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
        // Only what is new is told to whoever listens.
        if (fresh.textContent.trim() !== events.textContent.trim()) events.replaceChildren(...fresh.childNodes);
      }
    }
    if (Date.now() < end) setTimeout(look, 3000);
  };
  setTimeout(look, 3000);
}
