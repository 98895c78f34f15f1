/** React Native, as far as it differs: forms take { uri, type, name } and no Blob, and addresses of files can be fetched. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

import { all, client } from "./world.mjs";

/** React Native's form: it keeps what it is given until it is sent. */
class NativeForm {
  parts = [];

  append(name, value) {
    assert(typeof value === "string" || value.uri, "a Blob cannot be sent");
    this.parts.push([name, value]);
  }
}

/** Its fetch, which reads the files of a form while it sends it. */
async function nativeFetch(address, { body, ...options } = {}) {
  if (String(address).startsWith("file:")) return new Response(await readFile(new URL(address)));
  if (!(body instanceof NativeForm)) return RealFetch(address, { body, ...options });
  const form = new RealForm();
  for (const [name, { uri, type, name: file }] of body.parts) {
    form.append(name, new Blob([await readFile(new URL(uri))], { type }), file);
  }
  return RealFetch(address, { body: form, ...options });
}

const RealFetch = globalThis.fetch;
const RealForm = globalThis.FormData;

test("photos by their address, alone and in packs", async () => {
  Object.defineProperty(globalThis, "navigator", { value: { product: "ReactNative" }, configurable: true });
  globalThis.FormData = NativeForm;
  globalThis.fetch = nativeFetch;
  const uri = (name) => pathToFileURL(path.join(process.env.WHIPPET_PHOTOS, name)).href;
  const whippet = client();
  assert.equal((await whippet.classify({ uri: uri("blue.png") })).predictions[0].label, "blue");
  const some = ["red.png", "green.png", "blue.png"].map((name) => ({ uri: uri(name), type: "image/png" }));
  const outcomes = (await all(whippet.classifyMany(some, { concurrency: 1 }))).sort((a, b) => a.index - b.index);
  assert.deepEqual(outcomes.map(({ predictions }) => predictions[0].label), ["red", "green", "blue"]);
});
