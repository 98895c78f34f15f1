/** One photo: labels, what is sent for it, and every kind of photo that is taken. */

import assert from "node:assert/strict";
import test from "node:test";
import { inspect } from "node:util";

import { client, errorOf, photo, Whippet } from "./world.mjs";

test("every kind of photo gets its labels", async () => {
  const bytes = photo("green.png");
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const address = `data:image/png;base64,${bytes.toString("base64")}`;
  const whippet = client();
  for (const kind of [bytes, buffer, new DataView(buffer), new Blob([bytes]), { uri: address }]) {
    const answer = await whippet.classify(kind, { topK: 2 });
    assert.deepEqual(answer.predictions.map(({ label }) => label), ["green", "red"]);
    assert.deepEqual([answer.decision, answer.model.name, answer.request_id], ["confident", "fake", "r"]);
  }
});

test("model and health", async () => {
  const whippet = client();
  const model = await whippet.model();
  assert.deepEqual([model.classes.length, model.input.resize], [3, 64]);
  assert.deepEqual(await whippet.health(), { status: "ok", model: { name: "fake", version: "v1" } });
});

test("what cannot be sent is told without a request", async () => {
  const whippet = client();
  const codes = [];
  for (const wrong of [new Uint8Array(), "dog.jpg", null, { uri: "file:///nowhere.jpg" }, new Uint8Array(101)]) {
    codes.push((await errorOf(whippet.classify(wrong))).code);
  }
  assert.deepEqual(codes, ["bad_image", "usage", "usage", "unreadable", "too_large"]);
});

test("settings that cannot be are told at once", () => {
  for (const wrong of [{}, { url: "example.org" }, { url: "https://me:secret@example.org" }, { url: "https://a.example?key=b" }]) {
    assert.throws(() => new Whippet(wrong), { code: "usage" });
  }
  assert.throws(() => new Whippet({ url: "https://a.example", timeoutMs: 0 }), { code: "usage" });
});

test("the key is shown nowhere", async () => {
  const secret = "very-secret";
  const lost = () => Promise.reject(new TypeError("fetch failed"));
  const whippet = client({ apiKey: secret, token: secret, retries: 0, fetch: lost });
  const error = await errorOf(whippet.classify(photo("green.png")));
  const odd = await errorOf(client({ apiKey: `${secret}\n` }).health());
  assert.deepEqual([error.code, odd.code], ["unreachable", "usage"]);
  for (const one of [whippet, error, odd]) {
    assert(!(inspect(one, { depth: 9, showHidden: true }) + JSON.stringify(one) + String(one)).includes(secret));
  }
});

test("a signed-in user's token is asked for each try", async () => {
  let asked = 0;
  const seen = [];
  const whippet = client({
    apiKey: undefined,
    token: async () => `token-${++asked}`,
    fetch: (url, { headers }) => {
      seen.push(headers);
      return fetch(url, { headers: { "x-api-key": process.env.WHIPPET_API_KEY } });
    },
  });
  await whippet.health();
  await whippet.model();
  assert.deepEqual(seen.map((headers) => headers.Authorization), ["token-1", "token-2"]);
  assert(seen.every((headers) => !("x-api-key" in headers)));
});

test("a function shrinks its own way", async () => {
  const sides = [];
  const shrink = (_, side) => (sides.push(side), new Blob([photo("red.png")]));
  const { predictions } = await client({ shrink }).classify(photo("green.png"));
  assert.equal(predictions[0].label, "red");
  assert.deepEqual(sides, [3 * 64]);
});
